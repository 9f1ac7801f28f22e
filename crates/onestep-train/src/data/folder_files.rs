//! Lists the images of an image folder with their captions, for reading and for checking.
//!
//! A folder, or any folder in it, may hold `metadata.jsonl` (one JSON object per line with `file_name`, `text` and, if wanted,
//! `phrasings` and `held_out`); an image that no such line names has its captions in `NAME.txt`, one per line.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::error::{DataError, shown};
use super::image::MAX_FILE_BYTES;

const METADATA: &str = "metadata.jsonl";
const MAX_METADATA_BYTES: u64 = 1 << 30;
const MAX_LINE_BYTES: u64 = 1 << 20;
const MAX_CAPTION_BYTES: usize = 64 << 10;
const MAX_PHRASINGS: usize = 1000;
const MAX_FILES: usize = 2_000_000;
const MAX_DEPTH: usize = 16;

/// The split of an image, by the first folder of its path: `validation/`, `val/` or `test/` is for validation, everything else for training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    Train,
    /// For validation.
    Validation,
}

/// An image file with its captions, before the image is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedImage {
    /// Relative to the folder, with `/`.
    pub path: String,
    pub file: PathBuf,
    pub text: String,
    /// For training; never empty.
    pub phrasings: Vec<String>,
    pub held_out: Vec<String>,
    pub split: Split,
}

#[derive(Deserialize)]
struct MetadataLine {
    file_name: String,
    text: String,
    #[serde(default)]
    phrasings: Vec<String>,
    #[serde(default)]
    held_out: Vec<String>,
}

/// Handles a problem with one image: returns it to stop there, or records it to continue.
pub(super) type OnProblem<'a> = dyn FnMut(DataError) -> Result<(), DataError> + 'a;

/// The images of a folder, sorted by path.
pub(super) fn list_images(folder: &Path, on_problem: &mut OnProblem<'_>) -> Result<Vec<ListedImage>, DataError> {
    let root = fs::canonicalize(folder).map_err(|e| not_a_folder(folder, &super::error::plain(&e)))?;
    if !root.is_dir() {
        return Err(not_a_folder(folder, "a file"));
    }
    let mut listing = Listing { root: &root, claimed: BTreeSet::new(), listed: Vec::new(), seen: 0 };
    listing.folder("", 0, on_problem)?;
    let mut listed = listing.listed;
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listed)
}

fn not_a_folder(folder: &Path, found: &str) -> DataError {
    DataError::input(format!("reading the image folder {}", folder.display()), "a folder of images", found)
        .advise("check the path, or make one with onestep data emoji")
        .at(folder)
}

struct Listing<'a> {
    root: &'a Path,
    /// Paths that a `metadata.jsonl` names.
    claimed: BTreeSet<String>,
    listed: Vec<ListedImage>,
    seen: usize,
}

impl Listing<'_> {
    /// One folder: its metadata first, then its images that nothing has named yet, then the folders in it.
    fn folder(&mut self, relative: &str, depth: usize, on_problem: &mut OnProblem<'_>) -> Result<(), DataError> {
        let path = self.root.join(relative);
        if depth > MAX_DEPTH {
            return on_problem(
                DataError::input(format!("reading the folder {}", path.display()), format!("at most {MAX_DEPTH} folders inside each other"), "more")
                    .at(&path),
            );
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|e| DataError::reading(&path, &e))? {
            let entry = entry.map_err(|e| DataError::reading(&path, &e))?;
            self.seen += 1;
            if self.seen > MAX_FILES {
                return Err(DataError::input("reading an image folder", format!("at most {MAX_FILES} files"), "more")
                    .advise("split it into several folders")
                    .at(self.root));
            }
            match entry.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(name) => on_problem(
                    DataError::input(
                        format!("reading the folder {}", path.display()),
                        "file names in UTF-8",
                        format!("{:?}", name.to_string_lossy()),
                    )
                    .at(&path),
                )?,
            }
        }
        names.sort();
        if names.iter().any(|n| n == METADATA) {
            self.metadata(relative, &path.join(METADATA), on_problem)?;
        }
        for name in &names {
            if name.starts_with('.') {
                continue;
            }
            let inner = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            let file = path.join(name);
            let kind = fs::symlink_metadata(&file).map_err(|e| DataError::reading(&file, &e))?;
            if kind.is_dir() {
                self.folder(&inner, depth + 1, on_problem)?;
            } else if has_extension(name, &["png"]) {
                if !self.claimed.contains(&inner) {
                    self.captioned_by_text_file(inner, file, on_problem)?;
                }
            } else if has_extension(name, &["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif"]) {
                on_problem(
                    DataError::input(format!("reading the image {inner}"), "PNG", "another image format")
                        .advise("convert it to PNG or take it out of the folder")
                        .at(&file),
                )?;
            }
        }
        Ok(())
    }

    fn metadata(&mut self, relative: &str, path: &Path, on_problem: &mut OnProblem<'_>) -> Result<(), DataError> {
        let (path, _) = self.plain_file(path, MAX_METADATA_BYTES)?;
        let path = path.as_path();
        let file = File::open(path).map_err(|e| DataError::reading(path, &e))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1usize.. {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line).map_err(|e| DataError::reading(path, &e))?;
            if read == 0 {
                break;
            }
            let wrong = |expected: &str, found: String| {
                DataError::input(format!("reading line {number} of {}", path.display()), expected, found)
                    .advise("each line is one JSON object, for example {\"file_name\": \"a.png\", \"text\": \"a red heart\"}")
                    .at(path)
            };
            if read as u64 > MAX_LINE_BYTES {
                // What follows cannot be told apart from the rest of this line.
                return Err(wrong("at most 1 MiB", "a longer line".into()));
            }
            let trimmed = line.trim_ascii();
            if trimmed.is_empty() {
                continue;
            }
            if !trimmed.starts_with(b"{") {
                // serde would also take a list of values without their keys.
                on_problem(wrong("a JSON object with file_name and text", format!("\"{}\"", shown(&String::from_utf8_lossy(trimmed)))))?;
                continue;
            }
            let entry: MetadataLine = match serde_json::from_slice(trimmed) {
                Ok(entry) => entry,
                Err(e) => {
                    on_problem(wrong("a JSON object with file_name and text", shown(&e.to_string())))?;
                    continue;
                }
            };
            if let Err(e) = self.metadata_entry(relative, entry, &wrong) {
                on_problem(e)?;
            }
        }
        Ok(())
    }

    fn metadata_entry(&mut self, relative: &str, entry: MetadataLine, wrong: &dyn Fn(&str, String) -> DataError) -> Result<(), DataError> {
        if !stays_inside(&entry.file_name) || !has_extension(&entry.file_name, &["png"]) {
            return Err(wrong("a file_name inside the folder that ends with .png", format!("\"{}\"", shown(&entry.file_name))));
        }
        let path = if relative.is_empty() { entry.file_name } else { format!("{relative}/{}", entry.file_name) };
        if !self.claimed.insert(path.clone()) {
            return Err(wrong("each image once", format!("\"{}\" again", shown(&path))));
        }
        let phrasings = if entry.phrasings.is_empty() { vec![entry.text.clone()] } else { entry.phrasings };
        if phrasings.len() > MAX_PHRASINGS || entry.held_out.len() > MAX_PHRASINGS {
            return Err(wrong("at most 1,000 phrasings", format!("{}", phrasings.len().max(entry.held_out.len()))));
        }
        for phrase in phrasings.iter().chain(&entry.held_out).chain([&entry.text]) {
            if phrase.trim().is_empty() || phrase.len() > MAX_CAPTION_BYTES {
                return Err(wrong("captions of 1 byte to 64 KiB", format!("one of {} bytes for {}", phrase.trim().len(), shown(&path))));
            }
        }
        if let Some(both) = entry.held_out.iter().find(|h| phrasings.contains(h)) {
            return Err(wrong("held_out phrasings that are not trained on", format!("\"{}\" in both", shown(both))));
        }
        let file = self.file_inside(&path)?;
        self.listed.push(ListedImage { split: split_of(&path), path, file, text: entry.text, phrasings, held_out: entry.held_out });
        Ok(())
    }

    fn captioned_by_text_file(&mut self, path: String, file: PathBuf, on_problem: &mut OnProblem<'_>) -> Result<(), DataError> {
        let result = self.file_inside(&path).and_then(|_| self.captions_of(&path, &file.with_extension("txt")));
        match result {
            Ok(phrasings) => {
                let text = phrasings.first().cloned().unwrap_or_default();
                self.listed.push(ListedImage { split: split_of(&path), path, file, text, phrasings, held_out: Vec::new() });
                Ok(())
            }
            Err(e) => on_problem(e),
        }
    }

    /// The image's file.
    fn file_inside(&self, path: &str) -> Result<PathBuf, DataError> {
        self.plain_file(&self.root.join(path), MAX_FILE_BYTES).map(|(file, _)| file)
    }

    /// A plain file inside the folder after links are followed, and its size.
    fn plain_file(&self, file: &Path, most: u64) -> Result<(PathBuf, u64), DataError> {
        let doing = || format!("reading {}", shown(&file.display().to_string()));
        let real = fs::canonicalize(file).map_err(|e| {
            DataError::input(doing(), "a file in the folder", super::error::plain(&e)).advise("add it, or take it out of the captions").at(file)
        })?;
        if !real.starts_with(self.root) {
            return Err(DataError::input(doing(), "a file inside the folder", "a link that leads out of it")
                .advise("copy the file into the folder")
                .at(file));
        }
        let metadata = fs::metadata(&real).map_err(|e| DataError::reading(file, &e))?;
        if !metadata.is_file() {
            return Err(DataError::input(doing(), "a file", "something else").at(file));
        }
        if metadata.len() > most {
            return Err(DataError::input(doing(), format!("at most {most} bytes"), format!("{}", metadata.len())).advise("make it smaller").at(file));
        }
        Ok((real, metadata.len()))
    }

    /// The lines of an image's text file.
    fn captions_of(&self, path: &str, text_file: &Path) -> Result<Vec<String>, DataError> {
        let doing = || format!("reading the caption of {}", shown(path));
        let advice = format!("write it into {} or into {METADATA}", text_file.file_name().unwrap_or_default().to_string_lossy());
        if fs::symlink_metadata(text_file).is_err() {
            return Err(DataError::input(doing(), "a caption", "none").advise(advice).at(text_file));
        }
        let (real, _) = self.plain_file(text_file, MAX_CAPTION_BYTES as u64)?;
        let bytes = fs::read(&real).map_err(|e| DataError::reading(text_file, &e))?;
        let text = String::from_utf8(bytes).map_err(|_| DataError::input(doing(), "UTF-8 text", "other bytes").at(text_file))?;
        let mut captions: Vec<String> = Vec::new();
        for line in text.trim_start_matches('\u{FEFF}').lines().map(str::trim).filter(|l| !l.is_empty()) {
            if !captions.iter().any(|c| c == line) {
                captions.push(line.to_owned());
            }
        }
        if captions.is_empty() || captions.len() > MAX_PHRASINGS {
            return Err(DataError::input(doing(), "1 to 1,000 lines", format!("{}", captions.len())).advise(advice).at(text_file));
        }
        Ok(captions)
    }
}

fn split_of(path: &str) -> Split {
    match path.split_once('/').map(|(first, _)| first) {
        Some("validation" | "valid" | "val" | "test") => Split::Validation,
        _ => Split::Train,
    }
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, e)| !stem.is_empty() && extensions.iter().any(|x| e.eq_ignore_ascii_case(x)))
}

/// Whether a file name from metadata is made of plain segments, on every system.
fn stays_inside(name: &str) -> bool {
    let plain = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && !segment.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
    };
    name.len() <= 1024
        && name.split('/').all(plain)
        && name.split('/').count() <= MAX_DEPTH
        && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_stay_inside() {
        for good in ["a.png", "train/a.png", "a b.png", "…/ä.png", "..a/b..png"] {
            assert!(stays_inside(good), "{good}");
        }
        for bad in
            ["", "/a.png", "../a.png", "a/../b.png", "./a.png", "a//b.png", "a/", "C:\\a.png", "C:a.png", "a\\..\\b.png", "a\0.png", "a\n.png", ".."]
        {
            assert!(!stays_inside(bad), "{bad:?}");
        }
    }

    #[test]
    fn splits_come_from_the_first_folder() {
        assert_eq!(split_of("a.png"), Split::Train);
        assert_eq!(split_of("validation.png"), Split::Train);
        assert_eq!(split_of("train/validation/a.png"), Split::Train);
        assert_eq!(split_of("validation/x/a.png"), Split::Validation);
    }
}
