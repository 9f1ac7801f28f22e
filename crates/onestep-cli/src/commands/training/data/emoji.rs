//! `onestep data emoji`: an image folder from what is on this machine.

use std::path::PathBuf;

use onestep_train::Observer;
use onestep_train::data::{EmojiOptions, EmojiSubset, make_emoji_folder};
use serde::Serialize;

use crate::commands::training::progress::Progress;
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Make an image folder from the emoji font and the emoji names on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep data emoji --out emoji\n  onestep data emoji --out emoji-base --subset base --size 32\n\n\
                        Needs the font Noto Color Emoji and Unicode's CLDR annotations; the error names the packages if they are missing.")]
pub struct Emoji {
    /// The folder to make; one that this command made before is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Width and height of the images
    #[arg(long, value_name = "PIXELS", default_value_t = 64)]
    size: usize,
    /// Which emoji: about 260 well-known ones, all without skin tones and flags, or all
    #[arg(long, value_name = "SET", default_value = "starter", value_parser = ["starter", "base", "all"])]
    subset: String,
    /// Images per emoji: 1 for the bitmap on white, more for random variations of size, position, rotation and pale background colour, which
    /// a model learns to take from the noise
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    variations: usize,
    /// Range of the variations in size, position and rotation, percent of the full range; background colours always vary
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    movement: u32,
    /// Font file with colour bitmaps, if not in the system's folder
    #[arg(long, value_name = "FILE")]
    font: Option<PathBuf>,
    /// CLDR annotation file, if not in the system's folder; may be repeated
    #[arg(long, value_name = "FILE")]
    annotations: Vec<PathBuf>,
    /// Do everything but write
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    dry_run: bool,
    #[serde(flatten)]
    report: &'a onestep_train::data::EmojiReport,
}

impl Emoji {
    /// Makes the folder; its path is the result.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = EmojiOptions::new(self.out);
        options.size = self.size;
        options.subset = self.subset.parse::<EmojiSubset>()?;
        options.variations = self.variations;
        options.movement = self.movement;
        options.dry_run = self.dry_run;
        if let Some(font) = self.font {
            options.font = font;
        }
        if !self.annotations.is_empty() {
            options.annotations = self.annotations;
        }
        let mut progress = Progress::new(shared);
        let mut begun = false;
        let report = make_emoji_folder(&options, &mut |done, total| {
            if !begun {
                progress.begin("emoji", total as u64, 0);
                begun = true;
            }
            progress.step(done as u64, "");
        })?;
        drop(progress);
        if !shared.quiet {
            let made = if self.dry_run { "would make" } else { "made" };
            output::message(&format!(
                "{made} {} images of {} emoji, {size}x{size}, with {} phrasings to train on and {} held out",
                report.images,
                report.emoji,
                report.phrasings,
                report.held_out,
                size = options.size
            ));
            if !report.missing_from_starter.is_empty() {
                output::message(&format!("not in this font or these names: {}", report.missing_from_starter.join(", ")));
            }
        }
        if shared.json { output::json(&Made { dry_run: self.dry_run, report: &report }) } else { output::data(&report.folder.display().to_string()) }
    }
}
