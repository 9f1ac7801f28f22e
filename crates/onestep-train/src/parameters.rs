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

/// The module with new values, given as [`flat`] gives them; autodiff and `require_grad` stay as they are.
///
/// # Panics
/// If `values` were not made for this module.
pub fn with_flat<M: Module>(module: M, values: Vec<Tensor<1>>) -> M {
    struct Replace(std::vec::IntoIter<Tensor<1>>);
    impl ModuleMapper for Replace {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            #[allow(clippy::expect_used, reason = "the caller's contract")]
            let value = self.0.next().expect("one value per parameter");
            replace(param, value)
        }
    }
    module.map(&mut Replace(values.into_iter()))
}

/// A parameter with a new flat value.
pub(crate) fn replace<const D: usize>(param: Param<Tensor<D>>, value: Tensor<1>) -> Param<Tensor<D>> {
    let (id, old, mapper) = param.consume();
    let new = value.reshape(old.shape());
    let new = if old.device().is_autodiff() { Tensor::from_inner(new).set_require_grad(old.is_require_grad()) } else { new };
    Param::from_mapped_value(id, new, mapper)
}

/// `ema ← decay · ema + (1 − decay) · model`, for all parameters together.
pub fn average<M: Module>(ema: M, model: &M, decay: f64) -> M {
    let (old, new) = (flat(&ema), flat(model));
    if old.is_empty() {
        return ema;
    }
    let sizes: Vec<usize> = old.iter().map(|value| value.shape().num_elements()).collect();
    let mean = Tensor::cat(old, 0).mul_scalar(decay) + Tensor::cat(new, 0).mul_scalar(1.0 - decay);
    let begins = sizes.iter().scan(0, |begins, size| Some(std::mem::replace(begins, *begins + size)));
    let values = begins.zip(&sizes).map(|(begins, &size)| mean.clone().narrow(0, begins, size)).collect();
    with_flat(ema, values)
}
