//! What is done to a text before it is split: one way to write the same.

use onestep_program::{BundleError, error::Kind, limits};
use serde_json::Value as Json;

use super::{
    fields::{Fields, STEPS, kind, unknown_kind},
    letter::Letter,
    nfc::Nfc,
};

/// Steps that are done one after another.
#[derive(Clone, Debug, Default)]
pub(super) struct Normalizer(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Nfc(Nfc),
    Lowercase,
    /// White space becomes one blank.
    Blanks,
}

impl Normalizer {
    pub(super) fn new(json: &Json, place: &str) -> Result<Self, BundleError> {
        let mut steps = Vec::new();
        read(json, place, &mut steps)?;
        Ok(Self(steps))
    }

    pub(super) fn apply(&self, text: Vec<Letter>) -> Vec<Letter> {
        self.0.iter().fold(text, |text, step| match step {
            Step::Nfc(nfc) => nfc.compose(text),
            Step::Lowercase => text.into_iter().flat_map(|letter| letter.sign.to_lowercase().map(move |sign| Letter { sign, ..letter })).collect(),
            Step::Blanks => blanks(&text),
        })
    }
}

fn read(json: &Json, place: &str, steps: &mut Vec<Step>) -> Result<(), BundleError> {
    let Some(kind) = kind(json) else { return Ok(()) };
    let fields = |known: &'static [&'static str]| Fields::new(json, "normalizer", known, place);
    match kind {
        "Sequence" => {
            for part in fields(&["type", "normalizers"])?.list("normalizers")? {
                read(part, place, steps)?;
            }
        }
        "NFC" => {
            fields(&["type"])?;
            steps.push(Step::Nfc(Nfc::new()));
        }
        "Lowercase" => {
            fields(&["type"])?;
            steps.push(Step::Lowercase);
        }
        "Replace" => {
            fields(&["type", "pattern", "content"])?;
            // Another replacement could make gigabytes of a short prompt.
            if (json["pattern"]["Regex"].as_str(), json["content"].as_str()) != (Some(r"\s+"), Some(" ")) {
                return Err(BundleError::new(Kind::Unsupported, place, "has a normalizer that replaces something else than white space by a blank"));
            }
            steps.push(Step::Blanks);
        }
        other => return Err(unknown_kind(other, "normalizer", "Sequence, NFC, Lowercase, Replace", place)),
    }
    limits::check(STEPS, steps.len() as u64, place)
}

fn blanks(text: &[Letter]) -> Vec<Letter> {
    let mut out: Vec<Letter> = Vec::with_capacity(text.len());
    let mut in_space = false;
    for letter in text {
        let space = letter.sign.is_whitespace();
        match out.last_mut() {
            Some(blank) if space && in_space => blank.end = letter.end,
            _ => out.push(Letter { sign: if space { ' ' } else { letter.sign }, ..*letter }),
        }
        in_space = space;
    }
    out
}
