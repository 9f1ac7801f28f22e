//! The folder of a run: options, environment, log, samples, checkpoints and result.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use onestep_store::{
    FolderKind, Lock, RECORD_FILE, check_folder, create_folder, is_marked, mark_folder, refuse_foreign, remove_stale_scratch, replace_file,
    replace_json,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    checkpoint,
    error::{TrainError, TrainErrorKind},
    store,
};

/// How to enter a run folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Start a new run; a folder with a run is refused.
    New,
    /// Continue from the newest checkpoint, or start if there is none.
    Resume,
}

/// The file that a process locks while it works in the folder.
pub const LOCK: &str = "run.lock";
const CONFIG: &str = "config.toml";
const LOG: &str = "log.jsonl";
/// The kind of the folder, in its mark.
const RUN: &str = "a training run";

/// An open run folder. The lock is released when it is dropped or the process dies.
pub struct RunFolder {
    path: PathBuf,
    entry: Entry,
    _lock: Lock,
    log: File,
}

impl RunFolder {
    /// Enters the folder, acquires the lock, and writes `environment.json` and, until there is a checkpoint, `config.toml` and `command.txt`.
    /// `result` is the name and kind of the folder that the run writes at its end.
    ///
    /// # Errors
    /// A folder with a run and [`Entry::New`], a folder with other contents, a result that may not be replaced, a run of another process, storage.
    pub fn enter(path: &Path, entry: Entry, options: &impl Serialize, device: &str, result: (&str, FolderKind)) -> Result<Self, TrainError> {
        let check = || {
            if !is_marked(path, RUN) {
                return Ok(refuse_foreign(path, "the run", &[LOCK, RECORD_FILE])?);
            }
            if entry == Entry::New && path.join(CONFIG).exists() {
                let message =
                    format!("{} holds a run already; continue it with the same command and --resume, or choose another --out", path.display());
                return Err(TrainError::new(TrainErrorKind::Usage, message));
            }
            let log = path.join(LOG);
            if fs::symlink_metadata(&log).is_ok_and(|found| !found.is_file()) {
                return Err(TrainError::input(format!("{}: expected a file, found a folder, link, pipe or device; move it away", log.display())));
            }
            Ok(check_folder(&path.join(result.0), result.1)?)
        };
        let config = config_of(options)?;
        // Check before anything is created, and again with the lock.
        check()?;
        create_folder(path)?;
        let lock = Lock::acquire(&path.join(LOCK), path)?;
        check()?;
        mark_folder(path, RUN)?;
        remove_stale_scratch(path, &["samples", "checkpoints"], &lock)?;
        // With a checkpoint the options of the run are fixed; a resume with others is refused and refers to config.toml.
        if checkpoint::list(&path.join("checkpoints"))?.is_empty() {
            write_description(path, &config)?;
        }
        for folder in ["samples", "checkpoints"] {
            create_folder(&path.join(folder))?;
        }
        write_environment(path, device)?;
        let log_path = path.join(LOG);
        let log = File::options().create(true).append(true).open(&log_path).map_err(|error| TrainError::storage("opening", &log_path, &error))?;
        Ok(Self { path: path.to_owned(), entry, _lock: lock, log })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// How it was entered.
    pub fn entry(&self) -> Entry {
        self.entry
    }
    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
    /// The path of a sample image of a step.
    pub fn sample(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("step-{step:07}.png"))
    }

    /// Removes the log lines after `step`, so that the log of a resumed run has every step exactly once.
    ///
    /// # Errors
    /// Storage.
    pub fn rewind_log(&mut self, step: u64) -> Result<(), TrainError> {
        let path = self.path.join(LOG);
        let text = String::from_utf8_lossy(&store::read(&path)?).into_owned();
        let is_before = |line: &&str| {
            serde_json::from_str::<serde_json::Value>(line).ok().and_then(|value| value["step"].as_u64()).is_some_and(|logged| logged <= step)
        };
        let kept: String = text.lines().filter(is_before).map(|line| format!("{line}\n")).collect();
        replace_file(&path, kept.as_bytes())?;
        self.log = File::options().append(true).open(&path).map_err(|error| TrainError::storage("opening", &path, &error))?;
        Ok(())
    }

    /// Appends one object to `log.jsonl`.
    ///
    /// # Errors
    /// Storage.
    pub fn log(&mut self, line: &serde_json::Value) -> Result<(), TrainError> {
        let path = self.path.join(LOG);
        self.log.write_all(format!("{line}\n").as_bytes()).map_err(|error| TrainError::storage("writing", &path, &error))
    }
}

/// The text of `config.toml`: the options. To be called before the work, because a path that is not UTF-8 cannot be written.
///
/// # Errors
/// Options with a path that is not UTF-8.
pub fn config_of(options: &impl Serialize) -> Result<String, TrainError> {
    toml::to_string_pretty(options).map_err(|error| {
        TrainError::new(TrainErrorKind::Usage, format!("the options cannot be written to {CONFIG}: {error}; give paths of UTF-8 text"))
    })
}

/// Writes `config.toml` with the text of [`config_of`], and `command.txt`.
///
/// # Errors
/// Storage.
pub fn write_description(folder: &Path, config: &str) -> Result<(), TrainError> {
    replace_file(&folder.join(CONFIG), config.as_bytes())?;
    let command: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    Ok(replace_file(&folder.join("command.txt"), format!("{}\n", quoted(&command)).as_bytes())?)
}

/// Writes `environment.json`: version, operating system, threads, device.
fn write_environment(folder: &Path, device: &str) -> Result<(), TrainError> {
    let environment = json!({
        "onestep": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
        "device": device,
    });
    Ok(replace_json(&folder.join("environment.json"), &environment)?)
}

/// The folder `name` of a run if it contains `file`, otherwise `path` itself.
pub(crate) fn in_run(path: &Path, name: &str, file: &str) -> PathBuf {
    let inside = path.join(name);
    if inside.join(file).exists() { inside } else { path.to_owned() }
}

/// The pipeline folder of a run, or `path` itself if it is a model: a pipeline folder, a component's folder, a single file.
///
/// # Errors
/// Names what is missing.
pub fn model_of(path: &Path) -> Result<PathBuf, TrainError> {
    let found = in_run(path, "model", "model_index.json");
    if found.join("model_index.json").exists() || found.join("config.json").exists() || found.is_file() {
        return Ok(found);
    }
    let state = if path.join("config.toml").exists() && path.join("checkpoints").exists() {
        "the run there is not finished; continue it with its command and --resume"
    } else if fs::exists(path).unwrap_or(false) {
        "expected a run folder with model/ inside, a folder with model_index.json, or a single file of weights"
    } else {
        "there is no such folder"
    };
    Err(TrainError::input(format!("no model in {}: {state}", path.display())))
}

/// A command line, quoted for a shell.
fn quoted(arguments: &[String]) -> String {
    let quote = |argument: &String| {
        let plain = !argument.is_empty() && argument.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./:,+@%".contains(&byte));
        if plain { argument.clone() } else { format!("'{}'", argument.replace('\'', r"'\''")) }
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline_folder::MODEL;
    use serde_json::Value;

    #[test]
    fn folders_of_others_are_refused_before_anything_is_written() {
        let home = tempfile::tempdir().unwrap();
        let enter = |path: &Path, entry: Entry| RunFolder::enter(path, entry, &json!({ "rate": 0.5 }), "cpu", ("model", MODEL)).map(drop);
        let theirs = home.path().join("theirs");
        fs::create_dir_all(theirs.join("model")).unwrap();
        fs::write(theirs.join("model/a"), "a").unwrap();
        for entry in [Entry::New, Entry::Resume] {
            assert!(enter(&theirs, entry).unwrap_err().to_string().contains("holds model/"));
        }
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 1);
        // config.toml is a common name, so it is no mark of a run.
        let site = home.path().join("site");
        fs::create_dir(&site).unwrap();
        fs::write(site.join("config.toml"), "title = 'mine'").unwrap();
        for entry in [Entry::New, Entry::Resume] {
            assert!(enter(&site, entry).unwrap_err().to_string().contains("holds config.toml"));
        }
        // A run with a result of somebody else.
        let ours = home.path().join("ours");
        enter(&ours, Entry::New).unwrap();
        fs::create_dir(ours.join("model")).unwrap();
        fs::write(ours.join("model/a"), "a").unwrap();
        assert!(enter(&ours, Entry::Resume).unwrap_err().to_string().contains("holds a"));
        fs::remove_dir_all(ours.join("model")).unwrap();
        fs::write(ours.join("notes.txt"), "mine").unwrap();
        enter(&ours, Entry::Resume).unwrap();
        assert!(ours.join("notes.txt").exists());
    }

    /// A run that was killed before its first checkpoint may restart with other options, which are then recorded.
    #[test]
    fn options_are_fixed_from_the_first_checkpoint_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let said = |entry: Entry, rate: f64| {
            drop(RunFolder::enter(&path, entry, &json!({ "rate": rate }), "cpu", ("model", MODEL))?);
            Ok::<_, TrainError>(fs::read_to_string(path.join("config.toml")).unwrap())
        };
        assert_eq!(said(Entry::New, 0.5).unwrap(), "rate = 0.5\n");
        assert!(said(Entry::New, 0.5).unwrap_err().to_string().contains("--resume"));
        assert_eq!(said(Entry::Resume, 0.25).unwrap(), "rate = 0.25\n");
        fs::create_dir(path.join("checkpoints/step-0000002")).unwrap();
        assert_eq!(said(Entry::Resume, 0.125).unwrap(), "rate = 0.25\n");
        let environment: Value = serde_json::from_slice(&fs::read(path.join("environment.json")).unwrap()).unwrap();
        assert_eq!(environment["device"], "cpu");
    }
}
