//! `onestep data check`: what is in an image folder, and what is wrong with it.

use std::path::PathBuf;

use onestep_store::{FileDestination, FileFormat};
use onestep_train::Observer;
use onestep_train::data::{CheckReport, Split, check_image_folder, contact_sheet};

use crate::commands::training::progress::Progress;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;

const SHOWN: usize = 20;
const SHEET_COLUMNS: usize = 16;
const SHEET_IMAGES: usize = 512;
const SHEET_CELL: usize = 64;

/// Check an image folder: counts, sizes, duplicates, unusable files.
///
/// Exits with code 3 if training would refuse the folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep data check emoji\n  onestep data check photos --contact-sheet photos.png")]
pub struct Check {
    /// Image folder, with metadata.jsonl or with NAME.txt for each NAME.png
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// PNG file to write the first 512 images into, side by side
    #[arg(long, value_name = "FILE")]
    contact_sheet: Option<PathBuf>,
}

impl Check {
    /// Prints the report; a folder that training would refuse is a failure.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let sheet = self.contact_sheet.as_ref().map(|file| FileDestination::acquire(file, FileFormat::PNG, &[&self.folder])).transpose()?;
        let mut progress = Progress::new(shared);
        let mut begun = false;
        let report = check_image_folder(&self.folder, &mut |done, total| {
            if !begun {
                progress.begin("images", total as u64, 0);
                begun = true;
            }
            progress.step(done as u64, "");
        })?;
        drop(progress);
        if let Some(sheet) = sheet {
            sheet.write(&contact_sheet(&self.folder, SHEET_COLUMNS, SHEET_IMAGES, SHEET_CELL)?)?;
        }
        if shared.json {
            output::json(&report)?;
        } else {
            for line in lines(&report) {
                output::text(&line)?;
            }
        }
        if report.is_clean() {
            return Ok(());
        }
        let why = if report.images == 0 {
            "there is no image that can be used".to_owned()
        } else {
            format!("{} problems; mend or remove those files", report.problems.len())
        };
        Err(Failure::new(Exit::Input, format!("checking {}: {why}", self.folder.display())))
    }
}

fn lines(report: &CheckReport) -> Vec<String> {
    let split = |split| report.splits.get(&split).copied().unwrap_or_default();
    let mut lines = vec![
        format!("images     {} ({} to train on, {} to validate)", report.images, split(Split::Train), split(Split::Validation)),
        format!("bytes        {}", report.bytes),
        format!("phrasings    {} to train on, {} held out", report.phrasings, report.held_out),
        format!("longest      {} words: {}", report.longest_caption_words, report.longest_caption),
    ];
    lines.extend(report.sizes.iter().map(|(size, count)| format!("size         {size}: {count}")));
    if report.sizes.len() > 1 {
        lines.push("             training takes the largest square from the middle of each, and brings it to --size".into());
    }
    lines.extend(report.duplicates.iter().take(SHOWN).map(|same| format!("same pixels  {}", same.join(" = "))));
    lines.extend(report.shared_captions.iter().take(SHOWN).map(|(caption, count)| format!("same caption {count} images: {}", caption)));
    lines.extend(report.problems.iter().take(SHOWN).map(|f| format!("problem      {}", f.problem)));
    for (what, count) in
        [("same pixels", report.duplicates.len()), ("same caption", report.shared_captions.len()), ("problem", report.problems.len())]
    {
        if count > SHOWN {
            lines.push(format!("{what:12} and {} more; --json lists them", count - SHOWN));
        }
    }
    lines
}
