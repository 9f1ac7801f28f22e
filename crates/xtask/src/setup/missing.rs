//! The list of all that set-up is about to install, which comes before it does.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::process::{Failure, Result};

/// What one command brings to this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Names, each with what it is for.
    pub what: Vec<(String, &'static str)>,
    /// Where it goes, unless the command says so.
    pub location: String,
    pub command: String,
    /// True if set-up cannot run the command itself.
    pub by_hand: bool,
}

/// The list was printed for everything, so the parts need not print theirs.
static ANNOUNCED: AtomicBool = AtomicBool::new(false);

fn list(missing: &[Missing]) -> String {
    let mut text = String::new();
    for Missing { what, location, command, .. } in missing.iter().collect::<BTreeSet<_>>() {
        for (name, why) in what {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name}: {why}");
        }
        let _ = writeln!(text, "      {command}{}{location}", if location.is_empty() { "" } else { "    # " });
    }
    text
}

/// Prints the list for several parts of set-up at once.
pub fn announce(missing: Vec<Missing>) {
    ANNOUNCED.store(true, Ordering::Relaxed);
    print(&missing);
}

fn print(missing: &[Missing]) {
    let (by_hand, ours): (Vec<Missing>, Vec<Missing>) = missing.iter().cloned().partition(|missing| missing.by_hand || !may_install());
    if !ours.is_empty() {
        println!("This machine lacks what follows, which is installed now, once (ONESTEP_INSTALL=no installs nothing):\n{}", list(&ours));
    }
    if !by_hand.is_empty() {
        println!("This machine lacks what follows, which you have to install:\n{}", list(&by_hand));
    }
}

/// Prints the list, or fails with it if any of it has to be installed by hand.
pub fn agree(missing: &[Missing]) -> Result<()> {
    if missing.iter().any(|missing| missing.by_hand) || (!may_install() && !missing.is_empty()) {
        let because =
            if may_install() { "some of it needs root, or is not in this system's packages under Debian's name" } else { "ONESTEP_INSTALL=no" };
        return Err(Failure(format!("this machine lacks what follows, and nothing was installed ({because}). Run:\n{}", list(missing).trim_end())));
    }
    if !ANNOUNCED.load(Ordering::Relaxed) {
        print(missing);
    }
    Ok(())
}

/// Whether set-up may change the machine outside its own folder.
pub fn may_install() -> bool {
    std::env::var("ONESTEP_INSTALL").map_or(true, |answer| answer != "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(name: &str, by_hand: bool) -> Missing {
        Missing { what: vec![(name.to_owned(), "is needed")], location: String::new(), command: format!("get {name}"), by_hand }
    }

    #[test]
    fn the_list_names_each_thing_once_with_its_reason_and_command() {
        assert_eq!(
            list(&[missing("b", false), missing("a", false), missing("b", false)]),
            "  a: is needed\n      get a\n  b: is needed\n      get b\n"
        );
        assert!(agree(&[]).is_ok());
        let refused = agree(&[missing("a", false), missing("b", true)]).expect_err("b cannot be installed").to_string();
        assert!(refused.contains("get a") && refused.contains("get b"), "{refused}");
    }
}
