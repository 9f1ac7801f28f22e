//! The program's side of a model's work: its clock, and what it keeps of one opening for the next.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Instant;

use onestep::{Callbacks, Stage};

/// Runs from when it was made.
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

/// Of a clock that began when it was first asked.
pub fn milliseconds() -> f64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed().as_secs_f64() * 1e3
}

/// Where the measured forms of the kernels are kept; nowhere for a user without a folder for caches.
fn variants_file() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("onestep").join("kernel-forms.txt"))
}

impl Callbacks for Clock {
    fn now(&self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1000.0
    }

    fn stage(&mut self, _: Stage) -> bool {
        true
    }

    fn load_tuning(&mut self) -> Option<String> {
        std::fs::read_to_string(variants_file()?).ok()
    }

    fn save_tuning(&mut self, line: &str) {
        // What cannot be kept is measured again.
        if let Some(file) = variants_file()
            && let Some(folder) = file.parent()
            && std::fs::create_dir_all(folder).is_ok()
        {
            let _ = onestep_store::replace_file(&file, line.as_bytes());
        }
    }
}
