//! Mixed precision.
//!
//! A network computes in the element type of its weights. With 16-bit weights, products and activations take half of the memory and, on hardware
//! that supports them, a fraction of the time. Statistics of norms, timestep features and everything after a network's last layer (x̂₀, logits,
//! losses) are computed in f32, because 16 bits are not precise enough for them.

use burn::{
    module::{Module, ModuleMapper, Param},
    nn::{GroupNorm, LayerNorm},
    tensor::{DType, Tensor},
};

/// A copy of a module that computes in another element type. On an autodiff device, a loss of the copy has gradients with respect to the
/// parameters of the original module, in their type.
#[must_use]
pub fn in_dtype<M: Module>(module: &M, dtype: DType) -> M {
    struct Cast(DType);
    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let id = param.id;
            let value = param.val();
            if value.dtype() == self.0 { param } else { Param::initialized(id, value.cast(self.0)) }
        }
    }
    module.clone().map(&mut Cast(dtype))
}

/// Casts a tensor; does nothing if it already has the type, so that a captured graph has no cast.
pub(crate) fn cast<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// A group norm, computed in f32; the result has the type of `x`.
pub(crate) fn group_norm<const D: usize>(norm: &GroupNorm, x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 => norm.forward(x),
        dtype => in_dtype(norm, DType::F32).forward(x.cast(DType::F32)).cast(dtype),
    }
}

/// A layer norm, computed in f32; the result has the type of `x`.
pub(crate) fn layer_norm<const D: usize>(norm: &LayerNorm, x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 => norm.forward(x),
        dtype => in_dtype(norm, DType::F32).forward(x.cast(DType::F32)).cast(dtype),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{
        nn::{GroupNormConfig, LayerNormConfig},
        tensor::{Device, TensorData},
    };

    fn distance<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f64 {
        let norm = |x: Tensor<D>| f64::from(x.square().sum().into_scalar::<f32>()).sqrt();
        norm(found - expected.clone()) / norm(expected)
    }

    /// Features far from zero, as in deep layers. In 16 bits, the error of their mean would be of the order of their standard deviation.
    #[test]
    fn norms_lose_nothing_but_the_rounding_of_their_result() {
        let device = Device::flex();
        // Steps of 0.25 from 46 to 50 are exact in bf16.
        let values: Vec<f32> = (0..512u32).map(|i| 46.0 + (i.wrapping_mul(2_654_435_761) >> 28) as f32 * 0.25).collect();
        let x = Tensor::<3>::from_data(TensorData::new(values, [1, 8, 64]), &device);
        let half = x.clone().cast(DType::BF16);
        // Half a unit in the last place of an eight-bit mantissa, relative.
        let rounding = 1.0 / 256.0;

        let norm = GroupNormConfig::new(2, 8).init(&device);
        let expected = norm.forward(x.clone());
        let found = group_norm(&in_dtype(&norm, DType::BF16), half.clone());
        assert_eq!(found.dtype(), DType::BF16);
        assert!(distance(found.cast(DType::F32), expected) < rounding);

        let norm = LayerNormConfig::new(64).init(&device);
        let expected = norm.forward(x.clone());
        let found = layer_norm(&in_dtype(&norm, DType::BF16), half.clone());
        assert_eq!(found.dtype(), DType::BF16);
        assert!(distance(found.cast(DType::F32), expected) < rounding);

        // For comparison, the same in 16 bits.
        let [mean, spread] = [half.clone().mean_dim(2), half.clone().sub(half.clone().mean_dim(2)).square().mean_dim(2).sqrt()];
        let naive = half.sub(mean).div(spread).cast(DType::F32);
        assert!(distance(naive, LayerNormConfig::new(64).init(&device).forward(x)) > 2.0 * rounding);
    }
}
