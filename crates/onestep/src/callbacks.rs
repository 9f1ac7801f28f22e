//! The caller's side of a long call: a clock, progress, cancellation, and storage for kernel tuning.

use crate::error::{Error, ErrorKind, Result};

/// A stage of opening a model or of generating an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Measures which kernel variants are fastest on this GPU; at most half a second, once per GPU.
    Measure,
    /// Plans a program, uploads its weights and compiles its kernels.
    Compile {
        /// Number of programs that are ready.
        done: usize,
        /// Number of programs.
        total: usize,
    },
    /// Converts the prompt to token ids.
    Tokenize,
    /// Converts token ids to text embeddings.
    TextEncoder,
    /// Converts noise to a latent image, in one step.
    Generator,
    /// Converts the latent image to pixels.
    Decoder,
}

impl Stage {
    /// The stage's name in progress messages and in the npm package: `text encoder`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Measure => "measure",
            Stage::Compile { .. } => "compile",
            Stage::Tokenize => "tokenize",
            Stage::TextEncoder => "text encoder",
            Stage::Generator => "generator",
            Stage::Decoder => "decoder",
        }
    }
}

/// What a caller provides to a long call. Pass `&mut ()` for none: time stands still, nothing is cancelled and nothing is stored.
pub trait Callbacks {
    /// The time of a monotonic clock in milliseconds. It is used for [`Timings`](crate::Timings) and to measure kernel variants; if it stands
    /// still, default variants are used.
    fn now(&self) -> f64;
    /// Called before each stage. Return `false` to cancel the call with [`ErrorKind::Cancelled`].
    fn stage(&mut self, stage: Stage) -> bool;
    /// Returns the last text that was passed to [`save_tuning`](Self::save_tuning), in this process or an earlier one; `None` if there is
    /// none. A text from another GPU, driver or version of onestep is recognised and ignored.
    fn load_tuning(&mut self) -> Option<String> {
        None
    }
    /// Stores the kernel variants that were measured to be fastest: one line of text, which saves the measurement the next time.
    fn save_tuning(&mut self, _line: &str) {}
}

impl Callbacks for () {
    fn now(&self) -> f64 {
        0.0
    }
    fn stage(&mut self, _stage: Stage) -> bool {
        true
    }
}

/// Announces a stage to the caller.
///
/// # Errors
/// [`ErrorKind::Cancelled`] if the caller asks to stop.
pub(crate) fn enter(callbacks: &mut dyn Callbacks, stage: Stage) -> Result<()> {
    if callbacks.stage(stage) { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, format!("cancelled before the stage {}", stage.name()))) }
}
