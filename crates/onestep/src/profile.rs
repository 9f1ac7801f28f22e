//! The time of an image by kernel.

/// The time that one kernel takes in one image.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelCost {
    /// The component that it belongs to: `text_encoder`, `generator` or `decoder`.
    pub component: &'static str,
    /// The kernel's name on a GPU, the operation's on the CPU.
    pub kernel: &'static str,
    /// The number of dispatches for the first image of a prompt.
    pub runs: usize,
    /// The time of all dispatches together, in milliseconds.
    pub milliseconds: f64,
}
