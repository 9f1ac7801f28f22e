//! `onestep data emoji`: an image folder from the emoji font of this machine.

use std::path::PathBuf;

use onestep_train::Observer;
use onestep_train::data::{EmojiOptions, EmojiSubset, make_emoji_folder};
use serde::Serialize;

use crate::commands::training::progress::Progress;
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Render the emoji of this machine's font into an image folder.
///
/// Reads the font Noto Color Emoji and the names in Unicode's CLDR annotations. If they are missing, the error names their packages.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep data emoji --out emoji\n  onestep data emoji --out emoji-base --subset base --size 32")]
pub struct Emoji {
    /// Image folder to write; replaces one that this command wrote
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Width and height of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64)]
    size: usize,
    /// Emoji to render: about 260 well-known ones (starter), all but skin tones and flags (base), or all
    #[arg(long, value_name = "SET", default_value = "starter", value_parser = ["starter", "base", "all"])]
    subset: String,
    /// Images of each emoji: 1 for the bitmap on white; more are rendered at random sizes, positions and angles on random pale colours, so
    /// that the noise decides something
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    variations: usize,
    /// Range of the random sizes, positions and angles, in percent; 0 varies the background colour only
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    movement: u32,
    /// Font file; by default the one of Debian's package
    #[arg(long, value_name = "FILE")]
    font: Option<PathBuf>,
    /// CLDR annotation file; may be repeated; by default those of Debian's package
    #[arg(long, value_name = "FILE")]
    annotations: Vec<PathBuf>,
    /// Render without writing
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
    /// Makes the folder and prints its path.
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
