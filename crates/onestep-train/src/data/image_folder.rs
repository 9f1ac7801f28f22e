//! A folder of images with captions, read into memory for training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::DataError;
pub use super::folder_files::Split;
use super::folder_files::{ListedImage, list_images};
use super::image::{Image, MAX_SIDE};
use super::resample::resample;

/// Maximum memory for pixels.
const MAX_BYTES: u64 = 16 << 30;

/// The captions of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageEntry {
    /// Path relative to the folder, with `/`.
    pub path: String,
    /// The name: the main caption.
    pub text: String,
    /// Training captions; never empty.
    pub phrasings: Vec<String>,
    /// Held-out captions, for evaluation only.
    pub held_out: Vec<String>,
    /// The split of the image.
    pub split: Split,
}

impl From<ListedImage> for ImageEntry {
    fn from(listed: ListedImage) -> Self {
        let ListedImage { path, text, phrasings, held_out, split, .. } = listed;
        Self { path, text, phrasings, held_out, split }
    }
}

/// The captions of the training images of a folder, sorted by path. No image is read.
///
/// # Errors
/// The first problem with a caption, an image without one, a folder without training images.
pub fn training_captions(path: &Path) -> Result<Vec<ImageEntry>, DataError> {
    Ok(list(path, true)?.into_iter().map(ImageEntry::from).collect())
}

/// Images and captions in memory, sorted by path; all indices refer to this order.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    size: usize,
    entries: Vec<ImageEntry>,
    pixels: Vec<f32>,
    content_hash: String,
}

impl ImageFolder {
    /// Reads a folder. Images of other sizes than `size` × `size` are cropped to the central square and resampled.
    ///
    /// # Errors
    /// The first problem of the folder; [`check_image_folder`](super::check_image_folder) lists them all.
    pub fn open(path: &Path, size: usize) -> Result<Self, DataError> {
        Self::read(path, size, false, MAX_BYTES)
    }

    /// Reads the training images of a folder: [`Split::Train`].
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_trained(path: &Path, size: usize) -> Result<Self, DataError> {
        Self::read(path, size, true, MAX_BYTES)
    }

    fn read(path: &Path, size: usize, only_trained: bool, max_bytes: u64) -> Result<Self, DataError> {
        let doing = || reading(path);
        if !(1..=MAX_SIDE as usize).contains(&size) {
            return Err(DataError::input(doing(), format!("a size from 1 to {MAX_SIDE}"), format!("{size}")).at(path));
        }
        let listed = list(path, only_trained)?;
        let values = 3 * size * size;
        let total = (listed.len() as u64).saturating_mul(values as u64);
        let bytes = total.saturating_mul(4);
        if bytes > max_bytes || usize::try_from(bytes).is_err() {
            return Err(DataError::input(
                doing(),
                format!("pixels of at most {} MiB", max_bytes >> 20),
                format!("{} images of {size}x{size}, {} MiB", listed.len(), bytes >> 20),
            )
            .advise("use a smaller size or fewer images")
            .at(path));
        }
        let pixels = read_all(&listed, size, total as usize)?;
        let entries: Vec<ImageEntry> = listed.into_iter().map(ImageEntry::from).collect();
        let content_hash = hash(size, &entries, &pixels);
        Ok(Self { size, entries, pixels, content_hash })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no images; never true for an opened folder.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Width and height of every image.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Pixels [3,size,size] of an image in −1…1; empty for an index out of range.
    pub fn pixels(&self, index: usize) -> &[f32] {
        let values = 3 * self.size * self.size;
        index.checked_mul(values).and_then(|at| self.pixels.get(at..at.checked_add(values)?)).unwrap_or_default()
    }

    /// Indices of the training images and of the validation images.
    ///
    /// # Errors
    /// A folder without training images.
    pub fn splits(&self) -> Result<(Vec<usize>, Vec<usize>), DataError> {
        trained(self.entries.iter().map(|entry| entry.split))?;
        Ok((0..self.len()).partition(|&index| self.entries[index].split == Split::Train))
    }

    /// The entries of all images.
    pub fn entries(&self) -> &[ImageEntry] {
        &self.entries
    }

    /// Training captions of an image; empty only for an index out of range.
    pub fn train_prompts(&self, index: usize) -> &[String] {
        self.entries.get(index).map(|e| e.phrasings.as_slice()).unwrap_or_default()
    }

    /// Held-out captions of an image; may be empty.
    pub fn held_out_prompts(&self, index: usize) -> &[String] {
        self.entries.get(index).map(|e| e.held_out.as_slice()).unwrap_or_default()
    }

    /// The distinct names in the order of the folder, and for each image the index of its name.
    pub fn names(&self) -> (Vec<&str>, Vec<usize>) {
        let (mut names, mut indices) = (Vec::new(), BTreeMap::new());
        let of_images = self.entries.iter().map(|entry| {
            *indices.entry(entry.text.as_str()).or_insert_with(|| {
                names.push(entry.text.as_str());
                names.len() - 1
            })
        });
        let of_images = of_images.collect();
        (names, of_images)
    }

    /// All captions of training images, for the tokenizer.
    pub fn captions(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|e| e.split == Split::Train).flat_map(|e| e.phrasings.iter().map(String::as_str))
    }

    /// SHA-256 in hexadecimal of size, paths, captions and pixels, by which a resumed run verifies that its data is unchanged.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

fn reading(path: &Path) -> String {
    format!("reading the image folder {}", path.display())
}

/// The images of a folder or its training images; never none.
fn list(path: &Path, only_trained: bool) -> Result<Vec<ListedImage>, DataError> {
    let mut listed = list_images(path, &mut Err)?;
    if only_trained {
        trained(listed.iter().map(|one| one.split)).map_err(|error| error.at(path))?;
        listed.retain(|one| one.split == Split::Train);
    }
    if listed.is_empty() {
        return Err(DataError::input(reading(path), "images (NAME.png with NAME.txt, or metadata.jsonl)", "none")
            .advise("make a folder with onestep data emoji, or look at this one with onestep data check")
            .at(path));
    }
    Ok(listed)
}

/// Refuses a folder without training images.
fn trained(mut splits: impl ExactSizeIterator<Item = Split>) -> Result<(), DataError> {
    let all = splits.len();
    if all == 0 || splits.any(|split| split == Split::Train) {
        return Ok(());
    }
    Err(DataError::input("training on an image folder", "training images", format!("{all} in folders for validation"))
        .advise("put training images into train/, or next to validation/"))
}

/// Reads the images in parallel; the result does not depend on the number of threads.
fn read_all(listed: &[ListedImage], size: usize, total: usize) -> Result<Vec<f32>, DataError> {
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(total).map_err(|_| {
        DataError::input("reading an image folder", format!("{} MiB of memory", (total as u64 * 4) >> 20), "less")
            .advise("use a smaller size or fewer images")
    })?;
    pixels.resize(total, 0.0f32);
    let values = 3 * size * size;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let per_thread = listed.len().div_ceil(threads).max(1);
    let mut results: Vec<Result<(), DataError>> = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = listed
            .chunks(per_thread)
            .zip(pixels.chunks_mut(per_thread * values))
            .map(|(listed, pixels)| {
                scope.spawn(move || listed.iter().zip(pixels.chunks_mut(values)).try_for_each(|(one, out)| read_one(one, size, out)))
            })
            .collect();
        results = workers
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|_| Err(DataError::internal("reading an image folder", "a thread that stopped"))))
            .collect();
    });
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(pixels)
}

fn read_one(listed: &ListedImage, size: usize, out: &mut [f32]) -> Result<(), DataError> {
    let bytes = fs::read(&listed.file).map_err(|e| DataError::reading(&listed.file, &e))?;
    let mut image = Image::from_png(&bytes, &listed.path)?;
    if (image.width, image.height) != (size, size) {
        image = resample(&image.centre_square(), size, size);
    }
    let plane = size * size;
    for (index, rgb) in image.on_white().enumerate() {
        for (channel, value) in rgb.into_iter().enumerate() {
            out[channel * plane + index] = value * 2.0 - 1.0;
        }
    }
    Ok(())
}

fn hash(size: usize, entries: &[ImageEntry], pixels: &[f32]) -> String {
    let mut hash = Sha256::new();
    let number = |hash: &mut Sha256, n: usize| hash.update((n as u64).to_le_bytes());
    let text = |hash: &mut Sha256, t: &str| {
        hash.update((t.len() as u64).to_le_bytes());
        hash.update(t.as_bytes());
    };
    number(&mut hash, size);
    number(&mut hash, entries.len());
    for entry in entries {
        text(&mut hash, &entry.path);
        text(&mut hash, &entry.text);
        for list in [&entry.phrasings, &entry.held_out] {
            number(&mut hash, list.len());
            list.iter().for_each(|p| text(&mut hash, p));
        }
    }
    for chunk in pixels.chunks(4096) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::image::rgb8_to_png;
    use super::*;

    fn png(side: usize, rgb: [u8; 3]) -> Vec<u8> {
        let bytes: Vec<u8> = (0..side * side).flat_map(|_| rgb).collect();
        rgb8_to_png(side, side, &bytes).unwrap()
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        home
    }

    fn refusal(files: &[(&str, &[u8])]) -> String {
        let home = folder(files);
        ImageFolder::open(home.path(), 2).expect_err("refused").to_string()
    }

    #[test]
    fn both_forms_and_sub_folders_are_read_in_one_order() {
        let home = folder(&[
            ("z.png", &png(2, [255, 0, 0])),
            ("z.txt", b"a red square\nred\n\na red square\n"),
            ("train/a.png", &png(2, [0, 0, 0])),
            ("train/metadata.jsonl", b"{\"file_name\":\"a.png\",\"text\":\"black\",\"extra\":[1]}\n\n"),
            ("validation/b.PNG", &png(2, [255, 255, 255])),
            ("metadata.jsonl", b"{\"file_name\":\"validation/b.PNG\",\"text\":\"white\",\"phrasings\":[\"w\",\"ww\"],\"held_out\":[\"h\"]}\n"),
            (".hidden/x.jpg", b"ignored"),
            ("notes.md", b"ignored"),
        ]);
        let read = ImageFolder::open(home.path(), 2).unwrap();
        let paths: Vec<&str> = read.entries().iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["train/a.png", "validation/b.PNG", "z.png"]);
        assert_eq!(read.names(), (vec!["black", "white", "a red square"], vec![0, 1, 2]));
        assert_eq!(read.train_prompts(0), ["black"]);
        assert_eq!(read.train_prompts(1), ["w", "ww"]);
        assert_eq!(read.held_out_prompts(1), ["h"]);
        assert_eq!(read.train_prompts(2), ["a red square", "red"]);
        assert_eq!(read.entries()[1].split, Split::Validation);
        assert_eq!(read.captions().collect::<Vec<_>>(), ["black", "a red square", "red"]);
        assert_eq!(read.pixels(2), [1., 1., 1., 1., -1., -1., -1., -1., -1., -1., -1., -1.]);
        assert_eq!(read.pixels(0), [-1.0; 12]);
        assert!(read.pixels(3).is_empty() && read.pixels(usize::MAX).is_empty() && read.train_prompts(3).is_empty());
        assert_eq!(read.content_hash(), ImageFolder::open(home.path(), 2).unwrap().content_hash());
        fs::write(home.path().join("z.txt"), "another").unwrap();
        assert_ne!(read.content_hash(), ImageFolder::open(home.path(), 2).unwrap().content_hash());
    }

    #[test]
    fn other_sizes_are_cut_and_resampled() {
        // White in the centre, black at both ends, which are cropped.
        let wide: Vec<u8> = (0..5 * 15).flat_map(|index| if (5..10).contains(&(index % 15)) { [255; 3] } else { [0; 3] }).collect();
        let home = folder(&[("a.png", &rgb8_to_png(15, 5, &wide).unwrap()), ("a.txt", b"white")]);
        for size in [2, 5, 8] {
            let read = ImageFolder::open(home.path(), size).unwrap();
            assert!(read.pixels(0).len() == 3 * size * size && read.pixels(0).iter().all(|v| (v - 1.0).abs() < 1e-5), "{size}");
        }
        assert!(ImageFolder::read(home.path(), 2, false, 40).unwrap_err().to_string().contains("MiB"));
        for size in [0, 5000, usize::MAX] {
            assert!(ImageFolder::open(home.path(), size).is_err());
        }
    }

    #[test]
    fn images_for_validation_are_not_trained_on() {
        let white = png(2, [255; 3]);
        let home = folder(&[("a.png", &white), ("a.txt", b"a"), ("validation/b.png", &white), ("validation/b.txt", b"b")]);
        let (all, trained) = (ImageFolder::open(home.path(), 2).unwrap(), ImageFolder::open_trained(home.path(), 2).unwrap());
        assert_eq!((all.len(), trained.len(), trained.names().0), (2, 1, vec!["a"]));
        assert_eq!(all.splits().unwrap(), (vec![0], vec![1]));
        let error = ImageFolder::open_trained(&home.path().join("validation"), 2).map(|read| read.len());
        assert_eq!(error.unwrap(), 1, "it is the first folder's name that counts");
        fs::remove_file(home.path().join("a.png")).unwrap();
        let error = ImageFolder::open_trained(home.path(), 2).unwrap_err().to_string();
        assert!(error.contains("validation") && error.contains("train/"), "{error}");
        assert!(ImageFolder::open(home.path(), 2).unwrap().splits().is_err());
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let good = png(2, [1, 2, 3]);
        let deep = "[".repeat(100_000);
        type Files<'a> = &'a [(&'a str, &'a [u8])];
        let cases: &[(&str, Files<'_>, &str)] = &[
            ("empty", &[], "onestep data emoji"),
            ("no caption", &[("a.png", &good)], "a.txt"),
            ("empty caption", &[("a.png", &good), ("a.txt", b"\n \n")], "a.png"),
            ("caption in other bytes", &[("a.png", &good), ("a.txt", b"\xff\xfe")], "UTF-8"),
            ("cut image", &[("a.png", &good[..30]), ("a.txt", b"x")], "PNG"),
            ("other format", &[("a.jpg", b"x"), ("a.txt", b"x")], "convert"),
            ("not JSON", &[("metadata.jsonl", b"{")], "line 1"),
            ("no text", &[("a.png", &good), ("metadata.jsonl", b"{\"file_name\":\"a.png\"}")], "text"),
            ("leads out", &[("metadata.jsonl", b"{\"file_name\":\"../a.png\",\"text\":\"x\"}")], "inside the folder"),
            ("absolute", &[("metadata.jsonl", b"{\"file_name\":\"/etc/passwd.png\",\"text\":\"x\"}")], "inside the folder"),
            ("missing image", &[("metadata.jsonl", b"{\"file_name\":\"a.png\",\"text\":\"x\"}")], "a.png"),
            (
                "twice",
                &[("a.png", &good), ("metadata.jsonl", b"{\"file_name\":\"a.png\",\"text\":\"x\"}\n{\"file_name\":\"a.png\",\"text\":\"y\"}")],
                "again",
            ),
            (
                "trained on and held out",
                &[("a.png", &good), ("metadata.jsonl", b"{\"file_name\":\"a.png\",\"text\":\"x\",\"held_out\":[\"x\"]}")],
                "in both",
            ),
            ("deep JSON", &[("metadata.jsonl", deep.as_bytes())], "line 1"),
        ];
        for (name, files, word) in cases {
            let error = refusal(files);
            assert!(error.contains(word), "{name}: {error}");
        }
        assert!(ImageFolder::open(Path::new("/nowhere/at/all"), 2).unwrap_err().to_string().contains("nothing there"));
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_refused() {
        let outside = folder(&[("secret.png", &png(2, [9, 9, 9]))]);
        let home = folder(&[("a.txt", b"x")]);
        std::os::unix::fs::symlink(outside.path().join("secret.png"), home.path().join("a.png")).unwrap();
        let error = ImageFolder::open(home.path(), 2).unwrap_err().to_string();
        assert!(error.contains("leads out"), "{error}");
        let home = folder(&[("metadata.jsonl", b"{\"file_name\":\"in/secret.png\",\"text\":\"x\"}")]);
        std::os::unix::fs::symlink(outside.path(), home.path().join("in")).unwrap();
        assert!(ImageFolder::open(home.path(), 2).unwrap_err().to_string().contains("leads out"));
        // A folder linked into itself ends.
        let home = folder(&[("a.txt", b"x"), ("a.png", &png(2, [9, 9, 9]))]);
        std::os::unix::fs::symlink(home.path(), home.path().join("self")).unwrap();
        assert_eq!(ImageFolder::open(home.path(), 2).unwrap().len(), 1);
    }
}
