//! Licences, duplicates, sources and known faults of all dependencies, held to what deny.toml allows.

use std::{path::Path, process::Command};

use super::tally::Tally;
use crate::{
    folders,
    process::{self, Result},
    setup,
};

/// All but known faults needs the lock file and the crates alone. Those need RustSec's database, which comes over the network: where it
/// cannot be had, that part is skipped and says so, since nothing in the repository would make it pass.
pub fn run(tally: &mut Tally) -> Result<()> {
    let program = setup::deny()?;
    // Warnings are entries of deny.toml that nothing needs any more.
    process::run(cargo_deny(&program).args(["--locked", "check", "--deny", "warnings", "licenses", "bans", "sources"]))?;
    tally.pass();
    match fetch(&program) {
        Ok(()) => {
            process::run(cargo_deny(&program).args(["--locked", "--offline", "check", "advisories"]))?;
            tally.pass();
        }
        Err(reason) => tally.skip(format!("deny: known faults of dependencies, since RustSec's database cannot be fetched ({reason})")),
    }
    Ok(())
}

fn cargo_deny(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folders::root());
    command
}

/// Fetches the database of advisories; else the reason, in one line.
fn fetch(program: &Path) -> std::result::Result<(), String> {
    let mut command = cargo_deny(program);
    command.args(["--color", "never", "fetch", "db"]);
    // Nobody is there to type a password, nor to wait for a server that sends nothing.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "30");
    println!("$ {}", process::line(&command));
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(reason(&String::from_utf8_lossy(&output.stderr))) }
}

/// git's own sentence, else the last one.
fn reason(says: &str) -> String {
    let lines = || says.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().find_map(|line| line.strip_prefix("fatal: ")).or_else(|| lines().next_back()).unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_fetch_that_failed_is_one_line() {
        let says = "[ERROR] failed to fetch database: with cli:\nfatal: unable to access 'https://a.example/db': Could not resolve host\n\n";
        assert_eq!(reason(says), "unable to access 'https://a.example/db': Could not resolve host");
        assert_eq!(reason("first\nlast\n"), "last");
        assert_eq!(reason(""), "it does not say why");
    }
}
