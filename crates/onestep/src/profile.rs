//! Where the time of an image goes, kernel by kernel.

/// What the runs of one kernel cost in one image.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelCost {
    /// The program that it belongs to: `text_encoder`, `generator` or `decoder`.
    pub component: &'static str,
    /// The kernel's name on a GPU, the operation's on the processor.
    pub kernel: &'static str,
    /// How often it runs for the first image of a prompt.
    pub runs: usize,
    /// Milliseconds of all those runs.
    pub milliseconds: f64,
}
