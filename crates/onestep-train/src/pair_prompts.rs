//! The prompts of a pair set: the captions of an image folder, or a file of prompts.

use std::collections::BTreeSet;
use std::path::Path;

use onestep_noise::{Philox, Stream};
use onestep_pipeline::prompts::PromptFile;

use crate::{
    data::{ImageEntry, training_captions},
    error::TrainError,
    observer::Observer,
};

/// Where prompts come from.
#[derive(Clone, Copy)]
pub(crate) struct PromptSource<'a> {
    /// The image folder with captions; empty with a file.
    pub data: &'a Path,
    /// The file of prompts; empty with an image folder.
    pub prompts: &'a Path,
    /// Its column.
    pub caption_column: Option<&'a str>,
    /// Number of pairs.
    pub count: u64,
    /// Seed of pair 0.
    pub base_seed: u64,
}

/// The prompts in their order.
pub(crate) struct PairPrompts {
    pub prompts: Vec<String>,
    /// For each prompt, the name of the image that it describes; none if the prompts are of a file.
    pub names: Vec<String>,
}

impl PairPrompts {
    /// Reads the source that the options name. Of more prompts than pairs, a random choice is kept, in their order.
    ///
    /// # Errors
    /// A folder or file that cannot be used.
    pub fn read(options: PromptSource<'_>, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        let mut read = if options.prompts.as_os_str().is_empty() {
            Self::of_images(&training_captions(options.data)?)
        } else {
            let path = options.prompts;
            let file = PromptFile::read(path, options.caption_column)?;
            if file.blank() > 0 {
                observer.note(&format!("{}: {} blank lines or rows were skipped", path.display(), file.blank()));
            }
            Self { prompts: file.into_prompts(), names: Vec::new() }
        };
        let chosen = choice(read.prompts.len(), options.count, options.base_seed);
        if let Some(chosen) = chosen {
            for list in [&mut read.prompts, &mut read.names] {
                let mut chosen = chosen.iter();
                list.retain(|_| chosen.next().is_some_and(|&chosen| chosen));
            }
        }
        Ok(read)
    }

    /// The captions of images, each once. Images of one name have the same captions.
    fn of_images(entries: &[ImageEntry]) -> Self {
        let captions = entries.iter().flat_map(|entry| entry.phrasings.iter().map(move |prompt| (prompt, &entry.text)));
        let mut seen = BTreeSet::new();
        let (prompts, names) =
            captions.filter(|(prompt, _)| seen.insert(prompt.as_str())).map(|(prompt, name)| (prompt.clone(), name.clone())).unzip();
        Self { prompts, names }
    }
}

/// Which of `prompts` prompts `pairs` pairs have; none if all of them.
fn choice(prompts: usize, pairs: u64, base_seed: u64) -> Option<Vec<bool>> {
    let count = usize::try_from(pairs).ok().filter(|&count| count < prompts)?;
    let mut chosen = vec![false; prompts];
    // The number of a round that no set has.
    for row in Philox::new(base_seed, Stream::Order, u64::MAX).permutation(prompts).into_iter().take(count) {
        chosen[row] = true;
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;
    use std::fs;

    #[test]
    fn prompts_of_a_file_keep_duplicates_and_order() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("prompts.txt");
        fs::write(&path, "a\nb\n\na\nc\n").unwrap();
        let read = |count| {
            let options = PromptSource { data: Path::new(""), prompts: &path, caption_column: None, count, base_seed: 7 };
            PairPrompts::read(options, &mut Silent).unwrap().prompts
        };
        assert_eq!(read(9), ["a", "b", "a", "c"]);
        let (two, again) = (read(2), read(2));
        assert!(two.len() == 2 && two == again, "{two:?}");
        let index = |prompt: &String| ["a", "b", "a", "c"].iter().rposition(|other| other == prompt);
        assert!(index(&two[0]) <= index(&two[1]), "{two:?}");
    }

    #[test]
    fn captions_of_images_come_once_and_no_image_is_read() {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in [("a", "red heart\nheart"), ("b", "red heart\nheart"), ("c", "blue heart\nheart")] {
            fs::write(home.path().join(format!("{name}.png")), "no image").unwrap();
            fs::write(home.path().join(format!("{name}.txt")), text).unwrap();
        }
        let options = PromptSource { data: home.path(), prompts: Path::new(""), caption_column: None, count: 9, base_seed: 7 };
        let read = PairPrompts::read(options, &mut Silent).unwrap();
        assert_eq!(
            (read.prompts, read.names),
            (["red heart", "heart", "blue heart"].map(str::to_owned).to_vec(), ["red heart", "red heart", "blue heart"].map(str::to_owned).to_vec())
        );
    }
}
