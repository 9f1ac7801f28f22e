//! The command line itself: mistakes get a sentence and exit code 2, help and completions are results.

use std::process::{Command, Output};

fn onestep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onestep")).args(arguments).env_remove("ONESTEP_JSON").output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn mistakes_are_told_and_exit_with_2() {
    for (arguments, word) in [
        (&["serv"][..], "serve"),
        (&["data", "emoji"], "--out"),
        (&["data", "emoji", "--out", "x", "--sise", "64"], "--size"),
        (&["data", "emoji", "--out", "x", "--size", "many"], "many"),
        (&["data", "emoji", "--out", "x", "--subset", "most"], "starter"),
        (&["serve", "--port", "99999"], "65535"),
        (&["completions", "basic"], "bash"),
    ] {
        let output = onestep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).contains(word), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(onestep(&[]).status.code(), Some(2));
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["-h"], &["data", "emoji", "--help"], &["serve", "--help"]] {
        let output = onestep(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Usage"), "{arguments:?}");
        assert!(output.stderr.is_empty());
    }
    assert!(text(&onestep(&["--version"]).stdout).starts_with("onestep "));
    assert!(text(&onestep(&["data", "emoji", "--help"]).stdout).contains("ONESTEP_DATA_EMOJI_SIZE"));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = onestep(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains("serve") && script.contains("subset"), "{shell}");
    }
}

#[test]
fn doctor_always_has_an_answer() {
    let output = onestep(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["schema"], 2);
    assert!(report["training_devices"].as_array().is_some_and(|d| d.iter().any(|d| d == "cpu")), "{report}");
    assert_eq!(onestep(&["doctor"]).status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onestep"))
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}
