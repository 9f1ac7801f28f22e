//! Checkpoints: folders in the layout of diffusers, with the state that a resume needs.
//!
//! ```text
//! checkpoints/step-0005000/
//!   unet/ vae/ text_encoder/ …   the weights in training
//!   ema/                         their exponential moving average, in the same layout
//!   state/optimizer.safetensors  moments
//!   state/counters.json          steps done; random numbers and data position follow from it
//!   complete.json                schema, size and SHA-256 of every file, and the state hash; written last
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use onestep_store::{FolderDestination, FolderKind, check_folder, json_bytes, replace_file};
use serde::{Deserialize, Serialize};

use crate::{
    error::TrainError,
    store::{self, sha256},
};

/// How far the run was when it saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Steps done, which is the number of the next step.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// Hash of the options that a resume must not change.
    pub options: String,
    /// Hash of the data.
    pub data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    /// [`SCHEMA`]; 0 in checkpoints that have none.
    #[serde(default)]
    schema: u32,
    state: String,
    files: BTreeMap<String, (u64, String)>,
}

/// The version of checkpoints, options and logs in a run folder; raised when any of them changes incompatibly.
const SCHEMA: u32 = 2;

/// A checkpoint on disk; `complete.json` lists its files.
const CHECKPOINT: FolderKind = FolderKind { name: "a checkpoint", mark: COMPLETE, files: listed, is_recorded: false };

fn listed(complete: &[u8]) -> Option<BTreeSet<String>> {
    let complete: Complete = serde_json::from_slice(complete).ok()?;
    Some(complete.files.into_keys().chain([COMPLETE.to_owned()]).collect())
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// File contents by path within the folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How far the run was.
    pub counters: Counters,
}

const COUNTERS: &str = "state/counters.json";
const COMPLETE: &str = "complete.json";

impl Checkpoint {
    /// One hash of all weights, averages, moments and counters.
    pub fn state_hash(&self) -> String {
        let mut lines = serde_json::to_string(&self.counters).unwrap_or_default();
        for (name, bytes) in &self.files {
            lines.push_str(&format!("\n{name} {}", sha256(bytes)));
        }
        sha256(lines.as_bytes())
    }

    /// Writes `checkpoints/step-NNNNNNN`, points `latest` at it and removes all but the newest `keep`, after the new one was read back.
    ///
    /// # Errors
    /// Storage; the older checkpoints are then untouched.
    pub fn write(&self, checkpoints: &Path, keep: usize) -> Result<PathBuf, TrainError> {
        let name = format!("step-{:07}", self.counters.step);
        let folder = checkpoints.join(&name);
        let mut files: Vec<(String, Vec<u8>)> = self.files.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        files.push((COUNTERS.into(), json_bytes(&self.counters, Path::new(COUNTERS))?));
        let complete = Complete {
            schema: SCHEMA,
            state: self.state_hash(),
            files: files.iter().map(|(name, bytes)| (name.clone(), (bytes.len() as u64, sha256(bytes)))).collect(),
        };
        files.push((COMPLETE.into(), json_bytes(&complete, Path::new(COMPLETE))?));
        // Replaces a damaged checkpoint of this step, which the resume has skipped.
        let names = files.iter().map(|(name, _)| name.clone()).collect();
        let mut destination = FolderDestination::acquire_over(&folder, CHECKPOINT, names)?;
        for (name, bytes) in &files {
            destination.write(name, bytes)?;
        }
        destination.publish()?;
        Self::read(&folder)?;
        replace_file(&checkpoints.join("latest"), name.as_bytes())?;
        // Damaged checkpoints of later steps, which the resume has skipped, must not displace the new one.
        let mut all = list(checkpoints)?;
        all.retain(|other| *other <= folder);
        for old in &all[..all.len().saturating_sub(keep.max(1))] {
            // A folder that contains anything else than a checkpoint is not ours to remove.
            if check_folder(old, CHECKPOINT).is_ok() {
                fs::remove_dir_all(old).map_err(|error| TrainError::storage("removing", old, &error))?;
            }
        }
        Ok(folder)
    }

    /// Reads a checkpoint and verifies the hash of every file.
    ///
    /// # Errors
    /// A folder without `complete.json`, another schema, a file that is missing or altered.
    pub fn read(folder: &Path) -> Result<Self, TrainError> {
        let location = folder.display();
        let complete = folder.join(COMPLETE);
        if !complete.exists() {
            return Err(TrainError::input(format!("{location} is not a checkpoint (no {COMPLETE}): an interrupted save, or another folder")));
        }
        let complete: Complete = serde_json::from_slice(&store::read(&complete)?)
            .map_err(|error| TrainError::input(format!("{location}/{COMPLETE} cannot be read: {error}")))?;
        if complete.schema != SCHEMA {
            return Err(TrainError::input(format!(
                "{location} has schema {}, expected {SCHEMA}: another version of this program wrote it; start a new run, or resume with that version",
                complete.schema
            )));
        }
        let mut files = BTreeMap::new();
        for (name, (size, hash)) in &complete.files {
            if name.split('/').any(|part| part.is_empty() || part == ".." || part == ".") || name.contains('\\') {
                return Err(TrainError::input(format!("{location}/{COMPLETE} names {name:?}, which is no file of a checkpoint")));
            }
            let bytes = store::read(&folder.join(name))?;
            if bytes.len() as u64 != *size || sha256(&bytes) != *hash {
                return Err(TrainError::input(format!(
                    "{location}/{name} is damaged: its bytes are not those that were saved; resume from an older checkpoint"
                )));
            }
            files.insert(name.clone(), bytes);
        }
        let counters = files.remove(COUNTERS).ok_or_else(|| TrainError::input(format!("{location} has no {COUNTERS}")))?;
        let counters =
            serde_json::from_slice(&counters).map_err(|error| TrainError::input(format!("{location}/{COUNTERS} cannot be read: {error}")))?;
        let checkpoint = Self { files, counters };
        if checkpoint.state_hash() != complete.state {
            return Err(TrainError::input(format!(
                "{location} is damaged: its state hash differs from the saved one; resume from an older checkpoint"
            )));
        }
        Ok(checkpoint)
    }

    /// The newest checkpoint that is complete and undamaged; others are skipped with a note.
    ///
    /// # Errors
    /// Storage, or if there are checkpoints and none of them can be read.
    pub fn newest(checkpoints: &Path, note: &mut dyn FnMut(&str)) -> Result<Option<Self>, TrainError> {
        let mut last_error = None;
        for folder in list(checkpoints)?.iter().rev() {
            match Self::read(folder) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    note(&format!("skipping {}: {error}", folder.display()));
                    last_error = Some(error);
                }
            }
        }
        last_error.map_or(Ok(None), Err)
    }

    /// The file of that path.
    ///
    /// # Errors
    /// Names the file.
    pub fn file(&self, name: &str) -> Result<&[u8], TrainError> {
        self.files.get(name).map(Vec::as_slice).ok_or_else(|| TrainError::input(format!("the checkpoint has no {name}: it is not of this command")))
    }
}

/// The folders `step-NNNNNNN`, oldest first.
pub(crate) fn list(checkpoints: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !checkpoints.exists() {
        return Ok(Vec::new());
    }
    let storage = |error: std::io::Error| TrainError::storage("listing", checkpoints, &error);
    let mut folders = Vec::new();
    for entry in fs::read_dir(checkpoints).map_err(storage)? {
        let path = entry.map_err(storage)?.path();
        let is_step = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("step-"))
            .is_some_and(|digits| digits.len() == 7 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if is_step {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let counters = Counters { step, samples: step * 4, options: "o".into(), data: "d".into() };
        Checkpoint { files: BTreeMap::from([("unet/w".into(), vec![step as u8; 100]), ("state/optimizer.safetensors".into(), vec![1])]), counters }
    }

    #[test]
    fn the_newest_undamaged_checkpoint_is_found_and_old_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for step in [1, 2, 3, 4] {
            checkpoint(step).write(folder.path(), 3).unwrap();
        }
        assert!(!folder.path().join("step-0000001").exists());
        // Files of somebody else are not removed.
        fs::create_dir(folder.path().join("step-0000001")).unwrap();
        fs::write(folder.path().join("step-0000001/thesis.txt"), "mine").unwrap();
        checkpoint(4).write(folder.path(), 3).unwrap();
        assert!(folder.path().join("step-0000001/thesis.txt").exists());
        fs::remove_file(folder.path().join("step-0000004/complete.json")).unwrap();
        let mut bytes = fs::read(folder.path().join("step-0000003/unet/w")).unwrap();
        bytes[50] ^= 1;
        fs::write(folder.path().join("step-0000003/unet/w"), bytes).unwrap();
        let mut notes = Vec::new();
        let found = Checkpoint::newest(folder.path(), &mut |note| notes.push(note.to_owned())).unwrap().unwrap();
        assert_eq!(found.counters.step, 2);
        assert!(notes[0].contains("complete.json") && notes[1].contains("damaged"), "{notes:?}");
        // Damaged checkpoints of later steps stay until these steps are done again.
        checkpoint(2).write(folder.path(), 1).unwrap();
        assert_eq!(Checkpoint::newest(folder.path(), &mut |_| ()).unwrap().unwrap().counters.step, 2);
        assert!(folder.path().join("step-0000004").exists());
    }

    #[test]
    fn checkpoints_of_another_schema_are_refused_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint(7).write(folder.path(), 3).unwrap();
        let complete = fs::read_to_string(path.join(COMPLETE)).unwrap();
        let mut complete: serde_json::Value = serde_json::from_str(&complete).unwrap();
        complete.as_object_mut().unwrap().remove("schema");
        fs::write(path.join(COMPLETE), complete.to_string()).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().to_string().contains("has schema 0, expected 2"));
    }

    #[test]
    fn every_flipped_byte_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint(7).write(folder.path(), 3).unwrap();
        for file in ["unet/w", "state/optimizer.safetensors", "state/counters.json", "complete.json"] {
            let good = fs::read(path.join(file)).unwrap();
            for index in (0..good.len()).step_by(7) {
                let mut bad = good.clone();
                bad[index] ^= 0x20;
                fs::write(path.join(file), &bad).unwrap();
                let same_json = file == "complete.json" && bad.eq_ignore_ascii_case(&good) && Checkpoint::read(&path).is_ok();
                assert!(same_json || Checkpoint::read(&path).is_err(), "{file} byte {index}");
            }
            fs::write(path.join(file), &good).unwrap();
        }
        assert!(Checkpoint::read(&path).is_ok());
    }
}
