//! `data check`: the contents and the problems of an image folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::DataError;
use super::folder_files::{Split, list_images};
use super::image::{Image, rgb8_to_png};
use super::resample::resample;

/// The report of `onestep data check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The folder.
    pub folder: PathBuf,
    /// Usable images.
    pub images: usize,
    /// Size of their files in bytes.
    pub bytes: u64,
    /// Number of images per split.
    pub splits: BTreeMap<Split, usize>,
    /// Number of images per size, as `64x64`.
    pub sizes: BTreeMap<String, usize>,
    /// Number of training captions.
    pub phrasings: usize,
    /// Number of held-out captions.
    pub held_out: usize,
    /// Words in the longest training caption; the tokenizer truncates captions to its length.
    pub longest_caption_words: usize,
    /// The longest training caption.
    pub longest_caption: String,
    /// Groups of files with identical pixels.
    pub duplicates: Vec<Vec<String>>,
    /// Training captions of several images, with the number of images; at most 100 captions.
    pub shared_captions: BTreeMap<String, usize>,
    /// Unusable images and metadata, each with its reason.
    pub problems: Vec<ImageProblem>,
}

/// An unusable image or line of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageProblem {
    /// The file at fault, if it is a single one.
    pub path: Option<PathBuf>,
    /// The reason, as a sentence.
    pub problem: String,
}

impl CheckReport {
    /// Whether the folder can be trained on: it has images and no problems.
    pub fn is_clean(&self) -> bool {
        self.images > 0 && self.problems.is_empty()
    }
}

/// Checks every file of a folder; `progress` receives the number of checked images and of all.
///
/// # Errors
/// A folder that cannot be read. Problems of its images are part of the report.
pub fn check_image_folder(path: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<CheckReport, DataError> {
    let mut problems = Vec::new();
    let mut note = |error: DataError| {
        problems.push(ImageProblem { path: error.path().map(Path::to_path_buf), problem: error.to_string() });
        Ok(())
    };
    let listed = list_images(path, &mut note)?;
    let mut report = CheckReport {
        folder: path.to_path_buf(),
        images: 0,
        bytes: 0,
        splits: BTreeMap::new(),
        sizes: BTreeMap::new(),
        phrasings: 0,
        held_out: 0,
        longest_caption_words: 0,
        longest_caption: String::new(),
        duplicates: Vec::new(),
        shared_captions: BTreeMap::new(),
        problems,
    };
    let mut by_pixels: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let mut by_caption: BTreeMap<String, usize> = BTreeMap::new();
    let total = listed.len();
    for (done, one) in listed.into_iter().enumerate() {
        let read = fs::read(&one.file).map_err(|e| DataError::reading(&one.file, &e));
        match read.and_then(|bytes| Ok((bytes.len(), Image::from_png(&bytes, &one.path)?))) {
            Ok((bytes, image)) => {
                report.images += 1;
                report.bytes += bytes as u64;
                *report.splits.entry(one.split).or_default() += 1;
                *report.sizes.entry(format!("{}x{}", image.width, image.height)).or_default() += 1;
                let mut hash = Sha256::new();
                hash.update((image.width as u64).to_le_bytes());
                hash.update(image.rgb8_on_white());
                by_pixels.entry(hash.finalize().to_vec()).or_default().push(one.path);
                report.phrasings += one.phrasings.len();
                report.held_out += one.held_out.len();
                for phrase in one.phrasings {
                    let words = phrase.split_whitespace().count();
                    if words > report.longest_caption_words {
                        report.longest_caption_words = words;
                        report.longest_caption.clone_from(&phrase);
                    }
                    *by_caption.entry(phrase).or_default() += 1;
                }
            }
            Err(e) => report.problems.push(ImageProblem { path: Some(one.file), problem: e.to_string() }),
        }
        progress(done + 1, total);
    }
    report.duplicates = by_pixels.into_values().filter(|paths| paths.len() > 1).collect();
    report.duplicates.sort();
    report.shared_captions = by_caption.into_iter().filter(|(_, count)| *count > 1).take(100).collect();
    Ok(report)
}

/// A PNG with the folder's first images in a grid, each cropped to a square and resized to `cell` pixels; unreadable ones stay grey.
pub fn contact_sheet(path: &Path, columns: usize, most: usize, cell: usize) -> Result<Vec<u8>, DataError> {
    let columns = columns.clamp(1, 64);
    let cell = cell.clamp(8, 256);
    let most = most.clamp(1, columns * 64);
    let mut listed = list_images(path, &mut |_| Ok(()))?;
    listed.truncate(most);
    if listed.is_empty() {
        return Err(DataError::input(format!("making a contact sheet of {}", path.display()), "images", "none").at(path));
    }
    let (width, height) = (columns.min(listed.len()) * cell, listed.len().div_ceil(columns) * cell);
    let mut sheet = vec![128u8; width * height * 3];
    for (index, one) in listed.iter().enumerate() {
        let Some(image) = fs::read(&one.file).ok().and_then(|bytes| Image::from_png(&bytes, &one.path).ok()) else { continue };
        let rgb = resample(&image.centre_square(), cell, cell).rgb8_on_white();
        let (left, top) = (index % columns * cell, index / columns * cell);
        for (y, row) in rgb.chunks_exact(cell * 3).enumerate() {
            let at = ((top + y) * width + left) * 3;
            sheet[at..at + cell * 3].copy_from_slice(row);
        }
    }
    rgb8_to_png(width, height, &sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_listed_at_once() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let red = rgb8_to_png(2, 2, &[200; 12]).unwrap();
        for name in ["a", "b"] {
            fs::write(at(&format!("{name}.png")), &red).unwrap();
            fs::write(at(&format!("{name}.txt")), "a red square").unwrap();
        }
        fs::write(at("broken.png"), &red[..20]).unwrap();
        fs::write(at("broken.txt"), "x").unwrap();
        fs::write(at("mute.png"), &red).unwrap();
        fs::write(at("other.webp"), "x").unwrap();
        let mut last = (0, 0);
        let report = check_image_folder(home.path(), &mut |done, total| last = (done, total)).unwrap();
        assert_eq!(last, (3, 3));
        assert_eq!((report.images, report.problems.len()), (2, 3), "{:?}", report.problems);
        assert_eq!(report.duplicates, [["a.png", "b.png"]]);
        assert_eq!(report.shared_captions["a red square"], 2);
        assert_eq!(report.longest_caption_words, 3);
        assert_eq!(report.sizes["2x2"], 2);
        assert!(!report.is_clean());
        for word in ["broken.png", "mute.png", "other.webp"] {
            assert!(report.problems.iter().any(|f| f.problem.contains(word)), "{word}");
        }
        assert!(serde_json::to_string(&report).unwrap().contains("\"train\":2"));
        let sheet = Image::from_png(&contact_sheet(home.path(), 8, 100, 8).unwrap(), "sheet").unwrap();
        assert_eq!((sheet.width, sheet.height), (24, 8));
        assert!(check_image_folder(Path::new("/nowhere"), &mut |_, _| {}).is_err());
    }
}
