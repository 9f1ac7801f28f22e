//! How a caller follows the work: a clock, the stages, a way to stop.

use crate::error::{Error, ErrorKind, Result};

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Forms of the kernels are timed beside each other, half a second, once for each GPU.
    Measure,
    /// A program is planned, its weights are handed over and its kernels compiled.
    Compile {
        /// Programs that are ready.
        done: usize,
        /// Programs in all.
        total: usize,
    },
    /// The prompt becomes token ids.
    Tokenize,
    /// The ids become text states.
    TextEncoder,
    /// The one step: noise becomes a latent image.
    Generator,
    /// The latent image becomes pixels.
    Decoder,
}

impl Stage {
    /// In a word or two.
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

/// The caller's side of a long call. `()` is one whose clock stands still and that never stops.
pub trait Watch {
    /// Milliseconds of some clock that does not run backwards; used for [`Timings`](crate::Timings), and to find
    /// the fastest forms of the kernels, which are guessed where it stands still.
    fn now(&self) -> f64;
    /// Called before each stage; `false` ends the call with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    fn stage(&mut self, stage: Stage) -> bool;
    /// What [`remember`](Self::remember) was given at an earlier time, in this process or before; a text of another time or machine is
    /// recognised and not used.
    fn recall(&mut self) -> Option<String> {
        None
    }
    /// A line that makes the next opening of a model on this device faster, if it is kept: which forms of the kernels were measured to be
    /// fastest.
    fn remember(&mut self, _line: &str) {}
}

impl Watch for () {
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
pub(crate) fn enter(watch: &mut dyn Watch, stage: Stage) -> Result<()> {
    if watch.stage(stage) { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, format!("cancelled before the stage {}", stage.name()))) }
}
