//! What the players compute in.

use burn::{module::Module, tensor::DType};
use onestep_nets::in_dtype;
use serde::{Deserialize, Serialize};

/// Element type of the players' products and activations. Parameters, averages, moments, losses, the metric and R1 are f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of 32, so that no loss has to be scaled; three digits.
    Bf16,
}

/// Names that the command line takes.
pub const PRECISIONS: [(&str, Precision); 2] = [("f32", Precision::F32), ("bf16", Precision::Bf16)];

impl Precision {
    /// A player as it computes, for one walk forward and back: its gradients are those of the player's own parameters.
    pub(super) fn of<M: Module>(self, player: &M) -> M {
        match self {
            Self::F32 => player.clone(),
            Self::Bf16 => in_dtype(player, DType::BF16),
        }
    }
}
