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
    let of_training: &[(&[&str], &str)] = &[
        (&["data", "emoji"], "--out"),
        (&["data", "emoji", "--out", "x", "--sise", "64"], "--size"),
        (&["data", "emoji", "--out", "x", "--size", "many"], "many"),
        (&["data", "emoji", "--out", "x", "--subset", "most"], "starter"),
    ];
    let of_both: &[(&[&str], &str)] = &[
        (&["serv"], "serve"),
        (&["gallery"], "--help"),
        (&["generate"], "<PROMPT>"),
        (&["generate", "x", "--sed", "64"], "--seed"),
        (&["generate", "x", "--seed", "many"], "many"),
        (&["serve", "--port", "99999"], "65535"),
        (&["completions", "basic"], "bash"),
    ];
    for (arguments, word) in of_both.iter().chain(of_training.iter().filter(|_| cfg!(feature = "train"))) {
        let output = onestep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).contains(word), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(onestep(&[]).status.code(), Some(2));
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["-h"], &["generate", "--help"], &["serve", "--help"]] {
        let output = onestep(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Usage"), "{arguments:?}");
        assert!(output.stderr.is_empty());
    }
    assert!(text(&onestep(&["--version"]).stdout).starts_with("onestep "));
    assert!(text(&onestep(&["serve", "--help"]).stdout).contains("ONESTEP_SERVE_PORT"));
}

/// Defaults that clap does not know, because they may come from a file.
#[cfg(feature = "train")]
#[test]
fn help_has_the_defaults_of_training_options() {
    for (arguments, lines) in [
        (&["train", "autoencoder"][..], &["steps [default: 3000]", "warm-up [default: 0.001]", "pixels [default: 64]"][..]),
        (&["train", "latent-vgg"], &["[default: 32,64,128,256,256]"]),
        (&["distil"], &["0 disables it [default: 1]"]),
    ] {
        let help = text(&onestep(&[arguments, &["--help"]].concat()).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        lines.iter().for_each(|line| assert!(help.contains(line), "{arguments:?}: {line:?} is not in {help}"));
    }
}

/// A program without training names what it lacks, and how to get it.
#[cfg(not(feature = "train"))]
#[test]
fn commands_of_training_are_told_from_mistakes() {
    for arguments in [&["train", "teacher", "--out", "x"][..], &["--json", "export", "--model", "x"], &["help", "distil"]] {
        let output = onestep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = text(&output.stderr);
        assert!(told.contains("built without training") && told.contains("--features train"), "{arguments:?}: {told}");
    }
    let help = text(&onestep(&["--help"]).stdout);
    assert!(help.contains("generate") && help.contains("--features train"), "{help}");
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = onestep(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains("serve") && script.contains("repeats"), "{shell}");
    }
}

#[test]
fn doctor_always_has_an_answer() {
    let output = onestep(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["schema"], 2);
    let devices = report["training_devices"].as_array().expect("a list");
    assert_eq!(devices.iter().any(|device| device == "cpu"), cfg!(feature = "train"), "{report}");
    let told = onestep(&["doctor"]);
    assert_eq!(told.status.code(), Some(0));
    assert_eq!(text(&told.stdout).contains("built without training"), !cfg!(feature = "train"));
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
