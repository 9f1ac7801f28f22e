//! An image folder of emoji: the bitmaps of the installed font Noto Color Emoji, with their names from Unicode's CLDR.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use onestep_store::{FolderDestination, FolderKind, check_folder, recorded_folder_kind};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::annotations::{Annotation, read_annotations};
use super::emoji_font::{EmojiFont, EmojiFontFile};
use super::error::{DataError, shown};
use super::image::rgb8_to_png;
use super::phrasings::{Phrasings, phrasings};
use super::resample::resample;
use super::variation::Variation;
use crate::error::TrainError;

const STARTER: &str = include_str!("starter.txt");
const FONT_LICENCE: &str = include_str!("licences/OFL-1.1.txt");
const NAMES_LICENCE: &str = include_str!("licences/Unicode-DFS-2016.txt");
const SIZES: std::ops::RangeInclusive<usize> = 8..=1024;
const VARIATIONS: std::ops::RangeInclusive<usize> = 1..=999;
/// Says how the folder was made.
const ABOUT: &str = "onestep-data.json";
const METADATA: &str = "metadata.jsonl";
const README: &str = "README.md";
const MADE_BY: &str = "onestep data emoji";

/// Which emoji become images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmojiSubset {
    /// Every emoji that has a name and a bitmap.
    All,
    /// Those without skin tones, loose hair and flags of countries and regions.
    Base,
    /// About 260 that most people know and that are easy to tell apart.
    Starter,
}

impl EmojiSubset {
    /// All subsets, smallest first.
    pub const ALL: [Self; 3] = [Self::Starter, Self::Base, Self::All];
}

impl fmt::Display for EmojiSubset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Base => "base",
            Self::Starter => "starter",
        })
    }
}

impl FromStr for EmojiSubset {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL
            .into_iter()
            .find(|s| s.to_string() == text)
            .ok_or_else(|| DataError::input("choosing a set of emoji", "starter, base or all", format!("\"{}\"", shown(text))))
    }
}

/// What to make, from what, where to.
#[derive(Debug, Clone)]
pub struct EmojiOptions {
    /// A font with colour bitmaps.
    pub font: PathBuf,
    /// CLDR annotation files; later ones add to earlier ones.
    pub annotations: Vec<PathBuf>,
    /// Licence texts to copy along: the name in the folder and where to find it. Those that are not on this machine are left
    /// out; the texts of both licences are written in any case.
    pub licences: Vec<(String, PathBuf)>,
    /// Width and height of the images.
    pub size: usize,
    /// Which emoji.
    pub subset: EmojiSubset,
    /// Images per emoji: 1 for the bitmap on white, more for random variations of size, position, rotation and pale background colour.
    pub variations: usize,
    /// Scales the ranges of size, position and rotation of the variations, in percent; background colours always vary.
    pub movement: u32,
    /// The folder to make.
    pub out: PathBuf,
    /// Do everything but write.
    pub dry_run: bool,
}

impl EmojiOptions {
    /// The files where Debian's packages put them, 64x64, every emoji.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            font: "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf".into(),
            annotations: vec![
                "/usr/share/unicode/cldr/common/annotations/en.xml".into(),
                "/usr/share/unicode/cldr/common/annotationsDerived/en.xml".into(),
            ],
            licences: vec![
                ("COPYRIGHT-font.txt".into(), "/usr/share/doc/fonts-noto-color-emoji/copyright".into()),
                ("COPYRIGHT-names.txt".into(), "/usr/share/doc/unicode-cldr-core/copyright".into()),
            ],
            size: 64,
            subset: EmojiSubset::All,
            variations: 1,
            movement: 100,
            out: out.into(),
            dry_run: false,
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmojiReport {
    /// The folder; in JSON, what is not UTF-8 in its path is replaced.
    #[serde(serialize_with = "lossy")]
    pub folder: PathBuf,
    /// Images in it.
    pub images: usize,
    /// Emoji that they show.
    pub emoji: usize,
    /// Phrasings for training, all emoji together.
    pub phrasings: usize,
    /// Phrasings never trained on, all emoji together.
    pub held_out: usize,
    /// Named emoji of the subset for which the font has no single bitmap.
    pub without_image: usize,
    /// Emoji of the starter list that could not be made, by code points: an older font or older names.
    pub missing_from_starter: Vec<String>,
}

fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// One line of `metadata.jsonl`.
#[derive(Serialize)]
struct MetadataLine<'a> {
    file_name: &'a str,
    text: &'a str,
    phrasings: &'a [String],
    held_out: &'a [String],
    emoji: &'a str,
    keywords: &'a [String],
}

/// The content of `onestep-data.json`.
#[derive(Serialize)]
struct About {
    schema: u32,
    made_by: String,
    version: String,
    subset: String,
    size: usize,
    variations: usize,
    movement: u32,
    images: usize,
    font_sha256: String,
    annotations_sha256: Vec<String>,
}

/// One emoji that will be an image, or several.
struct Chosen {
    emoji: String,
    annotation: Annotation,
    pngs: Vec<Vec<u8>>,
}

/// A folder that was made here.
const EMOJI_FOLDER: FolderKind = recorded_folder_kind!("an emoji folder");

/// Makes the folder; `progress` receives the number of finished emoji and of all. The folder appears in one step, and replaces only a folder
/// that this function made.
pub fn make_emoji_folder(options: &EmojiOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<EmojiReport, TrainError> {
    if !SIZES.contains(&options.size) {
        return Err(DataError::input(
            "making images of emoji",
            format!("a size from {} to {}", SIZES.start(), SIZES.end()),
            format!("{}", options.size),
        )
        .advise("the bitmaps are 136 pixels wide: 64 is a good size to begin with")
        .into());
    }
    if !VARIATIONS.contains(&options.variations) {
        return Err(DataError::input(
            "making images of emoji",
            format!("from {} to {} variations", VARIATIONS.start(), VARIATIONS.end()),
            format!("{}", options.variations),
        )
        .into());
    }
    if options.movement > 100 {
        return Err(DataError::input("making images of emoji", "a movement from 0 to 100 percent", format!("{}", options.movement)).into());
    }
    let mut sources: Vec<&Path> = vec![&options.font];
    sources.extend(options.annotations.iter().map(PathBuf::as_path));
    let destination = if options.dry_run {
        check_folder(&options.out, EMOJI_FOLDER)?;
        None
    } else {
        Some(FolderDestination::acquire(&options.out, EMOJI_FOLDER, &sources)?)
    };
    let file = EmojiFontFile::read(&options.font)?;
    let font = file.open()?;
    let annotations = read_annotations(options.annotations.iter().map(PathBuf::as_path))?;
    let starter = starter_list()?;

    let wanted: Vec<(String, Annotation)> = annotations
        .into_iter()
        .filter(|(emoji, _)| match options.subset {
            EmojiSubset::All => true,
            EmojiSubset::Base => !is_variant(emoji),
            EmojiSubset::Starter => starter.contains(emoji),
        })
        .collect();
    let mut chosen = Vec::new();
    let mut without_image = 0;
    let total = wanted.len();
    for (done, (emoji, annotation)) in wanted.into_iter().enumerate() {
        let pngs = emoji_pngs(&font, &emoji, options)?;
        if pngs.is_empty() {
            without_image += 1;
        } else {
            chosen.push(Chosen { emoji, annotation, pngs });
        }
        progress(done + 1, total);
    }
    if chosen.is_empty() {
        return Err(DataError::input(format!("making images from {}", options.font.display()), "bitmaps for at least one named emoji", "none")
            .advise("check that the font and the annotation files belong to emoji")
            .into());
    }
    let missing_from_starter = match options.subset {
        EmojiSubset::Starter => {
            let made: BTreeSet<&str> = chosen.iter().map(|c| c.emoji.as_str()).collect();
            starter.iter().filter(|e| !made.contains(e.as_str())).map(|e| code_points(e)).collect()
        }
        _ => Vec::new(),
    };

    let phrasings = phrasings(&chosen.iter().map(|c| c.annotation.clone()).collect::<Vec<_>>(), options.variations == 1);
    let count = |of: fn(&Phrasings) -> usize| phrasings.iter().map(of).sum();
    let report = EmojiReport {
        folder: options.out.clone(),
        images: chosen.len() * options.variations,
        emoji: chosen.len(),
        phrasings: count(|p| p.train.len()),
        held_out: count(|p| p.held_out.len()),
        without_image,
        missing_from_starter,
    };
    let Some(mut folder) = destination else { return Ok(report) };
    let names = file_names(&chosen);
    let mut lines = Vec::new();
    for ((one, phrasings), name) in chosen.iter().zip(&phrasings).zip(&names) {
        for (number, png) in one.pngs.iter().enumerate() {
            let file_name = if one.pngs.len() == 1 { format!("{name}.png") } else { format!("{name}-v{number:03}.png") };
            folder.write(&file_name, png)?;
            let line = MetadataLine {
                file_name: &file_name,
                text: &one.annotation.name,
                phrasings: &phrasings.train,
                held_out: &phrasings.held_out,
                emoji: &one.emoji,
                keywords: &one.annotation.keywords,
            };
            serde_json::to_writer(&mut lines, &line).map_err(|e| DataError::internal("writing metadata.jsonl", e.to_string()))?;
            lines.push(b'\n');
        }
    }
    folder.write(METADATA, &lines)?;
    write_description(&mut folder, options, &file, &font, report.images)?;
    folder.publish()?;
    Ok(report)
}

/// None where the font has no bitmap.
fn emoji_pngs(font: &EmojiFont<'_>, emoji: &str, options: &EmojiOptions) -> Result<Vec<Vec<u8>>, DataError> {
    let Some(bitmap) = font.image(emoji)? else { return Ok(Vec::new()) };
    if bitmap.premultiplied.iter().all(|p| p[3] == 0.0) {
        return Ok(Vec::new());
    }
    let (bitmap, size) = (bitmap.on_square(), options.size);
    if options.variations == 1 {
        return Ok(vec![rgb8_to_png(size, size, &resample(&bitmap, size, size).rgb8_on_white())?]);
    }
    let movement = options.movement as f32 / 100.0;
    (0..options.variations as u64).map(|number| rgb8_to_png(size, size, &Variation::sample(emoji, number, movement).apply(&bitmap, size))).collect()
}

/// Licences, README and `onestep-data.json`, which says how the folder was made.
fn write_description(
    folder: &mut FolderDestination,
    options: &EmojiOptions,
    file: &EmojiFontFile,
    font: &EmojiFont<'_>,
    images: usize,
) -> Result<(), TrainError> {
    let notice = font.copyright().unwrap_or_else(|| "Copyright of the font: see its own name table.".to_owned());
    folder.write("LICENSE-font.txt", format!("{notice}\n\n{FONT_LICENCE}").as_bytes())?;
    folder.write("LICENSE-names.txt", NAMES_LICENCE.as_bytes())?;
    for (name, path) in &options.licences {
        match fs::read(path) {
            Ok(text) => folder.write(name, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(DataError::reading(path, &e).into()),
        }
    }
    let mut annotations_sha256 = Vec::new();
    for path in &options.annotations {
        annotations_sha256.push(sha256_hex(&fs::read(path).map_err(|e| DataError::reading(path, &e))?));
    }
    let about = About {
        schema: 1,
        made_by: MADE_BY.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        subset: options.subset.to_string(),
        size: options.size,
        variations: options.variations,
        movement: options.movement,
        images,
        font_sha256: sha256_hex(file.bytes()),
        annotations_sha256,
    };
    let mut json = serde_json::to_vec_pretty(&about).map_err(|e| DataError::internal("writing onestep-data.json", e.to_string()))?;
    json.push(b'\n');
    folder.write(ABOUT, &json)?;
    let readme = format!(
        "# Emoji images with captions\n\n\
         {images} images of {size}x{size} pixels, RGB on {behind}, made by `{MADE_BY} --subset {subset} --size {size} --variations {variations} --movement {movement}`.\n\n\
         - `metadata.jsonl`: one line per image. `text` is the name in Unicode's CLDR, `phrasings` are used in training,\n  \
           `held_out` never. Folders of this form are read by `onestep` and as `imagefolder` by Hugging Face's `datasets`.\n\
         - Images: bitmaps of the font Noto Color Emoji, made smaller, under the SIL Open Font License 1.1 (`LICENSE-font.txt`).\n\
         - Names and keywords: Unicode CLDR, under the Unicode licence (`LICENSE-names.txt`).\n\
         - `onestep-data.json`: how the folder was made. `onestep-folder.json`: the files that `{MADE_BY}` wrote, and may replace.\n",
        size = options.size,
        subset = options.subset,
        variations = options.variations,
        movement = options.movement,
        behind = if options.variations == 1 { "white" } else { "pale colours" },
    );
    Ok(folder.write(README, readme.as_bytes())?)
}

/// The code points of the starter list.
fn starter_list() -> Result<BTreeSet<String>, DataError> {
    STARTER
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.split(' ')
                .map(|hex| u32::from_str_radix(hex, 16).ok().and_then(char::from_u32))
                .collect::<Option<String>>()
                .ok_or_else(|| DataError::internal("reading the starter list", format!("the line \"{line}\"")))
        })
        .collect()
}

/// Skin tones, flags by their letters, and hair that is meant to be joined to a person.
fn is_variant(emoji: &str) -> bool {
    let alone = emoji.chars().count() == 1;
    emoji.chars().any(|c| match c {
        '\u{1F3FB}'..='\u{1F3FF}' | '\u{1F1E6}'..='\u{1F1FF}' | '\u{E0020}'..='\u{E007F}' => true,
        '\u{1F9B0}'..='\u{1F9B3}' => alone,
        _ => false,
    })
}

/// File names, without what follows them, from the names: `red-heart`. Names that come out alike get their code points behind.
fn file_names(chosen: &[Chosen]) -> Vec<String> {
    let slugs: Vec<String> = chosen
        .iter()
        .map(|c| {
            let words = c.annotation.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
            words.collect::<Vec<_>>().join("-").chars().take(80).collect()
        })
        .collect();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for slug in &slugs {
        *uses.entry(slug).or_default() += 1;
    }
    slugs
        .iter()
        .zip(chosen)
        .map(|(slug, c)| match uses.get(slug.as_str()) {
            Some(1) if !slug.is_empty() => slug.clone(),
            _ => format!("{}-{}", if slug.is_empty() { "emoji" } else { slug }, code_points(&c.emoji)),
        })
        .collect()
}

fn code_points(emoji: &str) -> String {
    emoji.chars().map(|c| format!("{:04x}", u32::from(c))).collect::<Vec<_>>().join("-")
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageFolder;

    fn installed() -> bool {
        let options = EmojiOptions::new("x");
        options.font.exists() && options.annotations.iter().all(|a| a.exists())
    }

    #[test]
    fn the_starter_list_is_sound() {
        let list = starter_list().unwrap();
        assert!((240..=280).contains(&list.len()), "{}", list.len());
        assert!(list.contains("❤"));
        assert!(list.iter().all(|e| !is_variant(e)));
        assert_eq!(list.len(), STARTER.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count(), "no duplicates");
    }

    #[test]
    fn file_names_are_unique_and_plain() {
        let chosen = |emoji: &str, name: &str| Chosen {
            emoji: emoji.into(),
            annotation: Annotation { name: name.into(), keywords: Vec::new() },
            pngs: Vec::new(),
        };
        let all = [chosen("#", "keycap: #"), chosen("*", "keycap: *"), chosen("x", "!!"), chosen("❤", "red heart")];
        assert_eq!(file_names(&all), ["keycap-0023", "keycap-002a", "emoji-0078", "red-heart"]);
    }

    #[test]
    fn the_starter_set_is_made_and_reads_back() {
        if !installed() {
            eprintln!("skipped: the emoji font or the CLDR annotations are not installed");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let options = EmojiOptions { subset: EmojiSubset::Starter, size: 32, ..EmojiOptions::new(home.path().join("emoji")) };
        let mut last = (0, 0);
        let report = make_emoji_folder(&options, &mut |done, total| last = (done, total)).unwrap();
        assert_eq!(last.0, last.1);
        assert_eq!(report.missing_from_starter, Vec::<String>::new());
        assert!(report.images >= 240);

        let folder = ImageFolder::open(&options.out, 32).unwrap();
        assert_eq!(folder.len(), report.images);
        let heart = folder.entries().iter().position(|e| e.text == "red heart").unwrap();
        assert_eq!(folder.entries()[heart].path, "red-heart.png");
        assert!(folder.train_prompts(heart).contains(&"a red heart".to_owned()));
        assert!(!folder.held_out_prompts(heart).is_empty());
        let plane = 32 * 32;
        let pixels = folder.pixels(heart);
        let (centre, corner) = (16 * 32 + 16, 0);
        assert!(pixels[centre] > 0.5 && pixels[plane + centre] < 0.0 && pixels[2 * plane + centre] < 0.0, "red in the middle");
        assert!((0..3).all(|c| pixels[c * plane + corner] == 1.0), "white in the corner");

        // Made again: the same bytes, over the folder that is ours.
        let before = fs::read(options.out.join(METADATA)).unwrap();
        make_emoji_folder(&options, &mut |_, _| {}).unwrap();
        assert_eq!(before, fs::read(options.out.join(METADATA)).unwrap());
        assert_eq!(ImageFolder::open(&options.out, 32).unwrap().content_hash(), folder.content_hash());

        // Nothing is written when only asked what would be.
        let dry = EmojiOptions { dry_run: true, out: home.path().join("dry"), ..options.clone() };
        assert_eq!(make_emoji_folder(&dry, &mut |_, _| {}).unwrap().images, report.images);
        assert!(!dry.out.exists());

        // A stranger's file in it, and it stays as it is.
        fs::write(options.out.join("mine.txt"), "mine").unwrap();
        let error = make_emoji_folder(&options, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("mine.txt"), "{error}");
        assert!(options.out.join("mine.txt").exists());
    }

    #[test]
    fn variations_are_images_of_their_own_with_the_same_words() {
        if !installed() {
            eprintln!("skipped: the emoji font or the CLDR annotations are not installed");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let options = EmojiOptions { subset: EmojiSubset::Starter, size: 32, variations: 3, ..EmojiOptions::new(home.path().join("emoji")) };
        let report = make_emoji_folder(&options, &mut |_, _| {}).unwrap();
        assert_eq!(report.images, 3 * report.emoji);
        let folder = ImageFolder::open(&options.out, 32).unwrap();
        assert_eq!(folder.len(), report.images);
        let hearts: Vec<usize> = (0..folder.len()).filter(|&index| folder.entries()[index].text == "red heart").collect();
        assert_eq!(
            hearts.iter().map(|&index| folder.entries()[index].path.as_str()).collect::<Vec<_>>(),
            ["red-heart-v000.png", "red-heart-v001.png", "red-heart-v002.png"]
        );
        assert_eq!(folder.train_prompts(hearts[0]), folder.train_prompts(hearts[2]));
        assert!(folder.captions().all(|caption| !caption.contains("white background")));
        assert_ne!(folder.pixels(hearts[0]), folder.pixels(hearts[1]));
        // Fewer variations are the first of more.
        let fewer = EmojiOptions { variations: 2, out: home.path().join("fewer"), ..options.clone() };
        make_emoji_folder(&fewer, &mut |_, _| {}).unwrap();
        assert_eq!(fs::read(fewer.out.join("red-heart-v001.png")).unwrap(), fs::read(options.out.join("red-heart-v001.png")).unwrap());
        for variations in [0, 1000] {
            let options = EmojiOptions { variations, out: home.path().join("none"), ..options.clone() };
            assert!(make_emoji_folder(&options, &mut |_, _| {}).unwrap_err().to_string().contains("variations"));
        }
        let restless = EmojiOptions { movement: 101, out: home.path().join("none"), ..options.clone() };
        assert!(make_emoji_folder(&restless, &mut |_, _| {}).unwrap_err().to_string().contains("movement"));
    }

    #[test]
    fn every_sequence_kind_has_a_image() {
        if !installed() {
            eprintln!("skipped: the emoji font or the CLDR annotations are not installed");
            return;
        }
        let file = EmojiFontFile::read(&EmojiOptions::new("x").font).unwrap();
        let font = file.open().unwrap();
        for (what, emoji) in [
            ("plain", "🦊"),
            ("old symbol", "❤"),
            ("skin tone", "👍🏽"),
            ("profession", "👩\u{200D}🚒"),
            ("profession with skin tone", "👩🏿\u{200D}🚒"),
            ("flag", "🇫🇷"),
            ("flag of a region", "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}"),
            ("rainbow flag", "🏳\u{200D}🌈"),
            ("heart on fire", "❤\u{200D}🔥"),
            ("eye in speech bubble", "👁\u{200D}🗨"),
            ("keycap", "1\u{20E3}"),
        ] {
            let image = font.image(emoji).unwrap();
            assert!(image.is_some_and(|p| (p.width, p.height) == (136, 128)), "{what}");
        }
        for nothing in ["{", "🦊🦊", "", "\u{10FFFF}"] {
            assert!(font.image(nothing).unwrap().is_none(), "{nothing:?}");
        }
    }

    #[test]
    fn foreign_folders_and_bad_options_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("theirs");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("a.png"), "x").unwrap();
        let error = make_emoji_folder(&EmojiOptions::new(&out), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("holds a.png"), "{error}");
        for size in [0, 7, 1025, usize::MAX] {
            let options = EmojiOptions { size, ..EmojiOptions::new(home.path().join("new")) };
            assert!(make_emoji_folder(&options, &mut |_, _| {}).is_err());
        }
        assert!("some".parse::<EmojiSubset>().is_err());
        for subset in EmojiSubset::ALL {
            assert_eq!(subset.to_string().parse::<EmojiSubset>().unwrap(), subset);
        }
    }
}
