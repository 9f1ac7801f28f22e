//! Mixed precision of the distillation.

use burn::{module::Module, tensor::DType};
use onestep_nets::in_dtype;
use serde::{Deserialize, Serialize};

/// Compute dtype of student and discriminator: the element type of their products and activations.
///
/// Parameters, averages, moments, losses, the metric and R1 are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16: the range of f32, so that no loss scaling is needed, with about three significant digits.
    Bf16,
}

impl Precision {
    /// A copy of `net` that computes in this dtype, for one forward and backward pass. Its gradients are those of `net`'s parameters.
    pub(super) fn cast<M: Module>(self, net: &M) -> M {
        match self {
            Self::F32 => net.clone(),
            Self::Bf16 => in_dtype(net, DType::BF16),
        }
    }
}
