//! How a caller follows the work: a clock, the stages, a way to stop.

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
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
    /// The one step: noise becomes a latent picture.
    Generator,
    /// The latent picture becomes pixels.
    Decoder,
}

impl Stage {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
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
    /// Milliseconds of some clock that does not run backwards; used for [`Timings`](crate::Timings) alone.
    fn now(&self) -> f64;
    /// Called before each stage; `false` ends the call with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    fn stage(&mut self, stage: Stage) -> bool;
}

impl Watch for () {
    fn now(&self) -> f64 {
        0.0
    }
    fn stage(&mut self, _stage: Stage) -> bool {
        true
    }
}
