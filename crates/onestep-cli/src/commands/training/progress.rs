//! Progress for people: a bar on a terminal, elsewhere one plain line every 30 seconds.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onestep_train::Observer;

use crate::output;
use crate::shared::{ProgressMode, Shared};

const REDRAWS_PER_SECOND: u8 = 10;
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Shows how far a command is. It ends its display when it is dropped.
pub struct Progress {
    display: Display,
    quiet: bool,
    what: String,
    total: u64,
    first: u64,
    begun: Instant,
}

enum Display {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// A display that suits the options and where standard error leads.
    pub fn new(shared: &Shared) -> Self {
        let wanted = match shared.progress {
            ProgressMode::Auto => !shared.quiet,
            ProgressMode::Always => true,
            ProgressMode::Never => false,
        };
        let display = match (wanted, stderr().is_terminal()) {
            (false, _) => Display::Nothing,
            (true, false) => Display::Lines { last: Instant::now() },
            (true, true) => {
                let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
                if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
                    bar.set_style(style.progress_chars("━╸─"));
                }
                Display::Bar(bar)
            }
        };
        Self { display, quiet: shared.quiet, what: String::new(), total: 0, first: 0, begun: Instant::now() }
    }

    fn line(&self, done: u64, message: &str) -> String {
        describe(&self.what, self.first, done, self.total, self.begun.elapsed(), message)
    }
}

impl Observer for Progress {
    fn begin(&mut self, what: &str, total: u64, done: u64) {
        self.what = what.to_owned();
        self.total = total;
        self.first = done;
        self.begun = Instant::now();
        let line = self.line(done, "");
        match &mut self.display {
            Display::Nothing => {}
            Display::Bar(bar) => {
                bar.reset();
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(line);
            }
            Display::Lines { last } => *last = Instant::now(),
        }
    }

    fn step(&mut self, done: u64, message: &str) {
        match &self.display {
            Display::Nothing => {}
            Display::Bar(bar) => {
                bar.set_message(self.line(done, message));
                bar.set_position(done);
            }
            Display::Lines { last } => {
                if last.elapsed() >= BETWEEN_LINES {
                    output::message(&self.line(done, message));
                    self.display = Display::Lines { last: Instant::now() };
                }
            }
        }
    }

    fn note(&mut self, message: &str) {
        if self.quiet {
            return;
        }
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| output::message(message)),
            Display::Nothing | Display::Lines { .. } => output::message(message),
        }
    }

    fn stopped(&self) -> bool {
        super::interrupt::exit().is_some()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// `training 5,200/40,000 · 13 % · 412/s · 2 h 14 m left · G 0.231`
fn describe(what: &str, first: u64, done: u64, total: u64, elapsed: Duration, message: &str) -> String {
    let mut parts = Vec::new();
    let percent = (u128::from(done) * 100).checked_div(u128::from(total));
    match percent {
        Some(percent) => {
            parts.push(format!("{what} {}/{}", grouped(done), grouped(total)));
            parts.push(format!("{percent} %"));
        }
        None => parts.push(format!("{what} {}", grouped(done))),
    }
    let steps = done.saturating_sub(first);
    let seconds = elapsed.as_secs_f64();
    if steps > 0 && seconds > 0.0 {
        let rate = steps as f64 / seconds;
        parts.push(match rate {
            r if r >= 10.0 => format!("{}/s", grouped(r.round() as u64)),
            r if r >= 1.0 => format!("{r:.1}/s"),
            r => format!("{:.1} s each", 1.0 / r),
        });
        if done < total {
            parts.push(format!("{} left", duration((total - done) as f64 / rate)));
        }
    }
    if !message.is_empty() {
        parts.push(message.to_owned());
    }
    parts.join(" · ")
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The two largest units of a number of seconds.
fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.round().clamp(0.0, 1e10) as u64 } else { 0 };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} m {} s", seconds % 60),
        (0, h, m) => format!("{h} h {m} m"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_is_needed_to_decide_to_wait() {
        let line = describe("training", 0, 5200, 40_000, Duration::from_secs(520), "G 0.231");
        assert_eq!(line, "training 5,200/40,000 · 13 % · 10/s · 58 m 0 s left · G 0.231");
    }

    #[test]
    fn a_resumed_run_counts_its_own_steps_for_the_rate() {
        let line = describe("training", 1000, 1010, 1020, Duration::from_secs(20), "");
        assert_eq!(line, "training 1,010/1,020 · 99 % · 2.0 s each · 20 s left");
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        assert_eq!(describe("x", 0, 0, 0, Duration::ZERO, ""), "x 0");
        assert_eq!(describe("x", 9, 3, 2, Duration::from_secs(1), ""), "x 3/2 · 150 %");
        assert!(describe("x", 0, u64::MAX, u64::MAX, Duration::from_nanos(1), "").starts_with("x 18,446,"));
        assert_eq!(duration(f64::INFINITY), "0 s");
        assert_eq!(duration(90_061.0), "1 d 1 h");
    }
}
