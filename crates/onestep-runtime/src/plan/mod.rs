//! Plans a program for an adapter: a list of dispatches in which every tensor has a buffer and an offset. No GPU is called here.

mod axes;
mod build;
mod capabilities;
mod dispatch_plan;
mod display;
mod lower;
mod memory;
mod params;
mod persistent;
mod variants;
mod verify;
mod weights;

pub use capabilities::Capabilities;
pub(crate) use capabilities::MAX_FLOPS;
pub use dispatch_plan::{BufferId, Dispatch, Plan, PlanOptions, PortSlot, Slice};
pub(crate) use memory::ALIGNMENT;
pub(crate) use params::Params;
pub use variants::{AttentionVariant, CooperativeMatrix, KernelVariants, MatrixVariant, RowVariant};
pub use weights::{CARRIED_BYTES, Layout, WINDOW_BYTES, WeightSlot};
