//! A module's float parameters as flat vectors, in the module's own order.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// All float parameters, each flattened to [elements], outside autodiff.
pub fn flat<M: Module>(module: &M) -> Vec<Tensor<1>> {
    struct Collect(Vec<Tensor<1>>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val().inner();
            let elements = value.shape().num_elements();
            self.0.push(value.reshape([elements]));
        }
    }
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    collect.0
}

/// The module with new values for the parameters that `is_given` selects by their `require_grad`, taken from one flat vector in the module's order.
/// Autodiff and `require_grad` stay as they are.
///
/// # Panics
/// If `values` has fewer elements than the selected parameters.
pub(crate) fn with_flat<M: Module>(module: M, values: Tensor<1>, is_given: fn(bool) -> bool) -> M {
    struct Replace {
        values: Tensor<1>,
        offset: usize,
        is_given: fn(bool) -> bool,
    }
    impl ModuleMapper for Replace {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !(self.is_given)(param.is_require_grad()) {
                return param;
            }
            let elements = param.val().shape().num_elements();
            let value = self.values.clone().narrow(0, self.offset, elements);
            self.offset += elements;
            replace(param, value)
        }
    }
    module.map(&mut Replace { values, offset: 0, is_given })
}

/// A parameter with a new flat value.
fn replace<const D: usize>(param: Param<Tensor<D>>, value: Tensor<1>) -> Param<Tensor<D>> {
    let (id, old, mapper) = param.consume();
    let new = value.reshape(old.shape());
    let new = if old.device().is_autodiff() { Tensor::from_inner(new).set_require_grad(old.is_require_grad()) } else { new };
    Param::from_mapped_value(id, new, mapper)
}

/// `ema ← decay · ema + (1 − decay) · model`, for all parameters at once.
pub fn average<M: Module>(ema: M, model: &M, decay: f64) -> M {
    let (old, new) = (flat(&ema), flat(model));
    if old.is_empty() {
        return ema;
    }
    let mean = Tensor::cat(old, 0).mul_scalar(decay) + Tensor::cat(new, 0).mul_scalar(1.0 - decay);
    with_flat(ema, mean, |_| true)
}
