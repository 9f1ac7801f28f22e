//! Progress of long commands.

/// Receives the progress of a command. The command line shows it as bars.
pub trait Observer {
    /// A phase of `total` steps begins, of which `done` are done already.
    fn begin(&mut self, what: &str, total: u64, done: u64);
    /// `done` steps are done; `message` has the metrics to watch.
    fn step(&mut self, done: u64, message: &str);
    /// A message that stays on the screen.
    fn note(&mut self, message: &str);
    /// Whether the user asked to stop. The command finishes the current step and saves.
    fn stopped(&self) -> bool {
        false
    }
}

/// Discards all reports.
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: &str, _: u64, _: u64) {}
    fn step(&mut self, _: u64, _: &str) {}
    fn note(&mut self, _: &str) {}
}
