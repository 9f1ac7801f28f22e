//! The whole path at a size that takes seconds, made once for each test process that asks for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::support::{text, write_images};

/// A finished path in a folder that lives as long as the test process.
pub struct Journey {
    /// The folder of everything in [`MADE`], of `images` and of `bundle`.
    pub folder: PathBuf,
}

/// What the path makes, in its order.
pub const MADE: [&str; 8] = ["autoencoder", "teacher", "features", "metric", "pairs", "student", "student-bf16", "classifier"];

/// Options of every training here: small, and saved often.
pub const TRAINING: [&str; 8] = ["--steps", "6", "--batch", "5", "--save-every", "2", "--sample-every", "3"];

/// The program, without progress and without a standard input.
pub fn onestep() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onestep"));
    command.env("ONESTEP_PROGRESS", "never").stdin(Stdio::null());
    command
}

/// Runs the program in `folder`.
pub fn run(folder: &Path, words: &[&str]) -> Output {
    onestep().current_dir(folder).args(words).output().expect("the program starts")
}

/// Runs what must succeed; gives its standard output.
pub fn succeed(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The commands of the path, by the folder that each makes.
pub fn command(name: &str, out: &str) -> Vec<String> {
    let words: Vec<&str> = match name {
        "autoencoder" => vec!["train", "autoencoder", "--preset", "test", "--size", "32", "--data", "images", "--device", "cpu"],
        "teacher" => {
            vec!["train", "teacher", "--preset", "test", "--data", "images", "--autoencoder", "autoencoder", "--device", "cpu"]
        }
        "pairs" => vec![
            "pairs",
            "--teacher",
            "teacher",
            "--data",
            "images",
            "--count",
            "23",
            "--shard",
            "5",
            "--batch",
            "3",
            "--steps",
            "4",
            "--device",
            "cpu",
        ],
        "features" => {
            let widths = ["--widths", "4,4,8,8,8"];
            [&["train", "latent-vgg", "--autoencoder", "autoencoder", "--data", "images", "--device", "cpu"], &widths[..]].concat()
        }
        "metric" => vec![
            "train",
            "latent-lpips",
            "--metric",
            "features/metric",
            "--autoencoder",
            "autoencoder",
            "--data",
            "images",
            "--count",
            "24",
            "--device",
            "cpu",
        ],
        // Two steps by the distance alone, four with the discriminator.
        "student" => {
            vec!["distil", "--teacher", "teacher", "--pairs", "pairs", "--metric", "metric/metric", "--regression-fraction", "0.3", "--device", "cpu"]
        }
        "student-bf16" => {
            let words = command("student", out);
            return words.into_iter().chain(["--precision", "bf16"].map(str::to_owned)).collect();
        }
        "classifier" => {
            vec!["train", "image-classifier", "--channels", "8,16", "--layers", "1", "--size", "32", "--data", "images", "--device", "cpu"]
        }
        other => panic!("no command makes {other}"),
    };
    let training: &[&str] = match name {
        "pairs" => &[],
        // There is nothing to look at.
        "metric" => &TRAINING[..6],
        _ => &TRAINING,
    };
    words.into_iter().chain(training.iter().copied()).chain(["--out", out]).map(str::to_owned).collect()
}

/// Everything, made at the first call.
pub fn journey() -> &'static Journey {
    static JOURNEY: OnceLock<Journey> = OnceLock::new();
    JOURNEY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        write_images(&folder.join("images"), 32);
        for name in MADE {
            let words = command(name, name);
            succeed(&folder, &words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        succeed(&folder, &["export", "--model", "student", "--out", "bundle", "--title", "Test"]);
        Journey { folder }
    })
}

/// Copies a folder and what is below it to where nothing is yet.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, copy).expect("a copy");
        }
    }
}
