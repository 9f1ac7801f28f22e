//! Where the time of an image goes, kernel by kernel.

use crate::{
    error::Result,
    model::{GenerateOptions, Model},
};

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

impl Model {
    /// What each kernel costs in an image of these options, by `clock`, which gives milliseconds. On a GPU each kernel's runs are measured by
    /// themselves, since few adapters tell times within a run; their sum is not exactly the time of an image. It takes as long as some images.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub async fn profile(&mut self, options: &GenerateOptions, clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        let (ids, noise) = self.inputs(options)?;
        self.forget_prompt();
        self.engine_mut().profile(&ids, &noise, clock).await
    }
}
