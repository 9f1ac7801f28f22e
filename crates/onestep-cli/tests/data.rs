//! `onestep data`: sentences and exit codes for what is missing or wrong, and the folder that it makes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn onestep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onestep")).args(arguments).output().expect("the program starts")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_missing_font_is_named_with_its_packages() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("emoji");
    let output = onestep(&["data", "emoji", "--out", utf8(&out), "--font", "/nowhere/Font.ttf"]);
    assert_eq!(output.status.code(), Some(3), "{}", error(&output));
    for word in ["/nowhere/Font.ttf", "fonts-noto-color-emoji", "google-noto-color-emoji-fonts", "--font"] {
        assert!(error(&output).contains(word), "{word}: {}", error(&output));
    }
    assert!(output.stdout.is_empty() && !out.exists());
    assert_eq!(error(&output).lines().count(), 1);
}

#[test]
fn a_file_that_is_no_font_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let font = home.path().join("font.ttf");
    fs::write(&font, "no font").unwrap();
    let output = onestep(&["data", "emoji", "--out", utf8(&home.path().join("e")), "--font", utf8(&font)]);
    assert_eq!(output.status.code(), Some(3));
    assert!(error(&output).contains("not a font"), "{}", error(&output));
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("letter.txt"), "dear").unwrap();
    let output = onestep(&["data", "emoji", "--out", utf8(home.path())]);
    assert_eq!(output.status.code(), Some(3));
    assert!(home.path().join("letter.txt").exists());
    assert!(error(&output).contains("another destination"), "{}", error(&output));
}

#[test]
fn a_folder_is_made_and_found_clean() {
    if !Path::new("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf").exists()
        || !Path::new("/usr/share/unicode/cldr/common/annotations/en.xml").exists()
    {
        eprintln!("skipped: the emoji font or the CLDR annotations are not installed");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("emoji");
    let dry = onestep(&["data", "emoji", "--out", utf8(&out), "--size", "16", "--dry-run", "--json"]);
    assert_eq!(dry.status.code(), Some(0), "{}", error(&dry));
    assert!(!out.exists());
    let dry: serde_json::Value = serde_json::from_slice(&dry.stdout).expect("JSON");
    assert_eq!(dry["dry_run"], true);

    let made = onestep(&["data", "emoji", "--out", utf8(&out), "--size", "16"]);
    assert_eq!(made.status.code(), Some(0), "{}", error(&made));
    assert_eq!(String::from_utf8_lossy(&made.stdout).trim(), utf8(&out));

    let sheet = home.path().join("sheet.png");
    let check = onestep(&["data", "check", utf8(&out), "--json", "--contact-sheet", utf8(&sheet)]);
    assert_eq!(check.status.code(), Some(0), "{}", error(&check));
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).expect("JSON");
    assert_eq!(report["images"], dry["images"]);
    assert_eq!(report["sizes"]["16x16"], report["images"]);
    assert_eq!(&fs::read(&sheet).unwrap()[1..4], b"PNG");

    fs::write(out.join("airplane.png"), "cut").unwrap();
    let check = onestep(&["data", "check", utf8(&out), "--quiet"]);
    assert_eq!(check.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&check.stdout).contains("airplane.png"));
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let output = onestep(&["data", "check", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(error(&output).contains("/nowhere/at/all"), "{}", error(&output));
}

#[cfg(unix)]
#[test]
fn an_unwritable_destination_is_a_storage_failure() {
    if !Path::new("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf").exists() || !Path::new("/proc/self").exists() {
        return;
    }
    let output = onestep(&["data", "emoji", "--out", "/proc/emoji", "--size", "8"]);
    assert_eq!(output.status.code(), Some(5), "{}", error(&output));
    assert!(error(&output).contains("/proc"), "{}", error(&output));
}
