//! Attention: in one pass over the keys, or, for heads too wide for registers, with stored scores.

use onestep_program::Node;
use onestep_shaders::{self as shaders, Kernel};

use super::{Lowering, Params, UNIT, View, constant, elements, unit_strides};
use crate::{error::RunError, plan::AttentionForm};

/// The widest head of the one-pass kernel, which computes the scores anew for every tile of features; of wider heads the scores are stored.
const WIDE: usize = 192;

/// The fewest queries and the narrowest heads for which workgroups share tiles: of fewer, most of a tile would be empty.
const SHARED: usize = 32;

/// The kernels over tiles that workgroups share, by the widest head of each.
static TILES: [(usize, &Kernel); 4] =
    [(40, &shaders::ATTENTION_40), (64, &shaders::ATTENTION_64), (80, &shaders::ATTENTION_80), (160, &shaders::ATTENTION_160)];

impl Lowering<'_> {
    pub(super) fn attention(&mut self, node: &Node, scale: f32, causal: bool) -> Result<(), RunError> {
        let (q, k, v) = (self.input(node, 0)?, self.input(node, 1)?, self.input(node, 2)?);
        let (qs, ks, vs) = (self.shape(q), self.shape(k), self.shape(v));
        let (batch, heads, queries, depth, keys, features) = (qs[0], qs[1], qs[2], qs[3], ks[2], vs[3]);
        let (q, k, v) = (self.along(q, 3)?, self.along(k, 3)?, self.along(v, 3)?);
        // Tokens outside, heads inside: what follows joins the heads.
        let y = self.output(node, &[0, 2, 1, 3], &[&q, &k, &v])?;
        if elements(self.shape(node.output)) == 0 {
            return Ok(());
        }
        let bytes = (queries as u64).saturating_mul(keys.next_multiple_of(UNIT) as u64).saturating_mul(if self.options.narrow { 2 } else { 4 });
        let stored = bytes <= self.options.stored_scores.min(self.capabilities.max_storage_binding);
        if stored && !causal && keys > 0 && depth.max(features) > WIDE {
            for head in 0..batch * heads {
                let start = [head / heads, head % heads, 0, 0];
                let of = |view: &View, shape: &[usize]| {
                    let part = view.part(shape, &start, &[1, 1, shape[2], shape[3]]);
                    View { inner: Some(1), strides: part.strides[2..].to_vec(), ..part }
                };
                let (q, k, v, y) = (of(&q, qs), of(&k, ks), of(&v, vs), of(&y, self.shape(node.output)));
                self.stored(&[queries, keys, depth, features], scale, [&q, &k, &v, &y])?;
            }
            return Ok(());
        }
        let shared = self.capabilities.forms.attention == AttentionForm::Tile && queries.min(depth).min(features) >= SHARED;
        let tile = TILES.iter().find(|(widest, _)| shared && depth.max(features) <= *widest).map(|(_, kernel)| *kernel);
        let kernel = self.form(tile.unwrap_or(&shaders::ATTENTION));
        let query_tiles = queries.div_ceil(constant(kernel, "QUERIES")?);
        let mut params = Params::new(kernel);
        for (name, value) in [
            ("query_tiles", query_tiles),
            ("heads", heads),
            ("queries", queries),
            ("keys", keys),
            ("depth", depth.div_ceil(UNIT)),
            ("features", features.div_ceil(UNIT)),
        ] {
            params.set(name, value);
        }
        params.flag("causal", causal);
        params.float("scale", scale);
        for (name, view) in [("q", &q), ("k", &k), ("v", &v), ("y", &y)] {
            params.set(&format!("{name}_start"), view.start / UNIT);
            for (axis, stride) in ["n", "head", "token"].into_iter().zip(unit_strides(view, &[0, 1, 2])) {
                params.set(&format!("{name}_{axis}"), stride);
            }
        }
        let bound = vec![("q", q.bound), ("k", k.bound), ("v", v.bound), ("y", y.bound)];
        let tiles = batch * heads * query_tiles;
        if tile.is_some() {
            params.set("count", tiles);
            self.step(kernel, params, bound, tiles, 1);
            return Ok(());
        }
        let feature_tiles = features.div_ceil(UNIT).div_ceil(constant(kernel, "FEATURES")?);
        params.set("feature_tiles", feature_tiles);
        self.items(kernel, params, bound, tiles * feature_tiles);
        Ok(())
    }

    /// One head in matrices: scores, their softmax, and the values that they weigh.
    fn stored(&mut self, &[queries, keys, depth, features]: &[usize; 4], scale: f32, [q, k, v, y]: [&View; 4]) -> Result<(), RunError> {
        let scaled = self.units(&[queries, depth], 1)?;
        self.apply(&[queries, depth], 1, "AFFINE", [scale, 0.0], q, &scaled)?;
        let scores = self.units(&[queries, keys], 1)?;
        self.product_of([queries, keys, depth], &scaled, k, &scores)?;
        let shares = self.units(&[queries, keys], 1)?;
        self.softmax(&[queries, keys], 1, &scores, &shares)?;
        self.product_of([queries, features, keys], &shares, &v.permuted(&[1, 0]), y)
    }
}
