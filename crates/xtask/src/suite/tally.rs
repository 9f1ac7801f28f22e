//! How many tests passed, failed and were skipped, read from what the runners print.

use std::process::Command;

use crate::process::{self, Failure, Result};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

#[derive(Default)]
pub struct Tally {
    counts: Counts,
    failures: Vec<String>,
    skips: Vec<String>,
}

impl Tally {
    pub fn pass(&mut self) {
        self.counts.passed += 1;
    }
    pub fn fail(&mut self, sentence: String) {
        println!("FAILED {sentence}");
        self.counts.failed += 1;
        self.failures.push(sentence);
    }
    pub fn skip(&mut self, sentence: String) {
        println!("skipped {sentence}");
        self.counts.skipped += 1;
        self.skips.push(sentence);
    }

    /// Runs a test runner and adds what it reports. A runner that fails without a failed test, or that ran none, is a failure itself.
    pub fn watch(&mut self, name: &str, command: &mut Command, read: fn(&str) -> Counts) -> Result<()> {
        let mut found = Counts::default();
        let succeeded = process::watch(command, |line| {
            let Counts { passed, failed, skipped } = read(line);
            found.passed += passed;
            found.failed += failed;
            found.skipped += skipped;
        })?;
        self.counts.passed += found.passed;
        self.counts.failed += found.failed;
        self.counts.skipped += found.skipped;
        if found.failed > 0 {
            self.failures.push(format!("{name}: {} tests", found.failed));
        } else if !succeeded {
            return Err(Failure(format!("{name} did not get to the end of its tests")));
        } else if found.passed == 0 {
            return Err(Failure(format!("{name} ran no test")));
        }
        Ok(())
    }

    /// The line at the end, preceded by what it counts.
    pub fn finish(self) -> Result<()> {
        println!();
        for skip in &self.skips {
            println!("skipped  {skip}");
        }
        for failure in &self.failures {
            println!("FAILED   {failure}");
        }
        let Counts { passed, failed, skipped } = self.counts;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { Ok(()) } else { Err(Failure("there were failures".into())) }
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`, once per test program.
pub fn cargo_test(line: &str) -> Counts {
    let Some(result) = line.trim().strip_prefix("test result: ") else { return Counts::default() };
    let number = |what: &str| {
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        words.windows(2).find(|pair| pair[1] == what).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
    };
    Counts { passed: number("passed"), failed: number("failed"), skipped: number("ignored") }
}

/// `# pass 5`, `# fail 0`, `# skipped 0`, `# cancelled 0` at the end of a TAP stream.
pub fn node_test(line: &str) -> Counts {
    let number =
        |what: &str| line.strip_prefix("# ").and_then(|line| line.strip_prefix(what)).and_then(|number| number.trim().parse().ok()).unwrap_or(0);
    Counts { passed: number("pass "), failed: number("fail ") + number("cancelled "), skipped: number("skipped ") + number("todo ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_lines_are_counted_and_no_others() {
        assert_eq!(
            cargo_test("test result: FAILED. 14 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.88s"),
            Counts { passed: 14, failed: 1, skipped: 2 }
        );
        assert_eq!(
            cargo_test("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0s"),
            Counts { passed: 3, failed: 0, skipped: 0 }
        );
        assert_eq!(cargo_test("test prompts::all_passed ... ok"), Counts::default());
        assert_eq!(node_test("# pass 7"), Counts { passed: 7, failed: 0, skipped: 0 });
        assert_eq!(node_test("# cancelled 2"), Counts { passed: 0, failed: 2, skipped: 0 });
        assert_eq!(node_test("ok 1 - # pass 7"), Counts::default());
    }
}
