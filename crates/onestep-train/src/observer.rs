//! Where a long command reports to.

/// Receives progress; the command line draws bars, tests count.
pub trait Observer {
    /// A phase of `total` steps begins, `done` of them already behind.
    fn begin(&mut self, what: &str, total: u64, done: u64);
    /// `done` steps are behind; `message` holds the figures worth watching.
    fn step(&mut self, done: u64, message: &str);
    /// Something to keep on screen.
    fn note(&mut self, message: &str);
    /// Whether the user asked to stop. The step at hand is finished and saved.
    fn stopped(&self) -> bool {
        false
    }
}

/// Reports to nobody.
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: &str, _: u64, _: u64) {}
    fn step(&mut self, _: u64, _: &str) {}
    fn note(&mut self, _: &str) {}
}
