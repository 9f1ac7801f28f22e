//! Multi-head attention over sequences; the heads are concatenated along the feature axis.

use burn::tensor::{Tensor, module::attention, ops::AttentionModuleOptions};

/// `softmax(q kᵀ / sqrt(d)) v` for each head.
///
/// `query` is `[batch, queries, heads * d]`, `key` and `value` are `[batch, keys, heads * d]`; the result has the shape of
/// `query`. With `causal`, query `i` sees the keys `0..=i` only.
pub(crate) fn scaled_dot_product(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let [batch, queries, features] = query.dims();
    let split = |x: Tensor<3>| {
        let [batch, tokens, features] = x.dims();
        x.reshape([batch, tokens, heads, features / heads]).swap_dims(1, 2)
    };
    let options = AttentionModuleOptions { scale: None, softcap: None, is_causal: causal };
    attention(split(query), split(key), split(value), None, None, options).swap_dims(1, 2).reshape([batch, queries, features])
}
