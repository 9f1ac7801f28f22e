//! Normalization of a text before it is split.

use onestep_program::{BundleError, error::BundleErrorKind, limits};
use serde_json::Value as Json;

use super::{
    fields::{Fields, STEPS, kind, unknown_kind},
    nfc::Nfc,
    spanned_char::SpannedChar,
};

/// Steps in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Normalizer(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Nfc(Nfc),
    Lowercase,
    /// Replaces each run of white space by one space.
    WhiteSpace,
}

impl Normalizer {
    pub(super) fn new(json: &Json, location: &str) -> Result<Self, BundleError> {
        let mut steps = Vec::new();
        read(json, location, &mut steps)?;
        Ok(Self(steps))
    }

    pub(super) fn apply(&self, text: Vec<SpannedChar>) -> Vec<SpannedChar> {
        self.0.iter().fold(text, |text, step| match step {
            Step::Nfc(nfc) => nfc.compose(text),
            Step::Lowercase => text
                .into_iter()
                .flat_map(|spanned| spanned.character.to_lowercase().map(move |character| SpannedChar { character, ..spanned }))
                .collect(),
            Step::WhiteSpace => collapse_white_space(&text),
        })
    }
}

fn read(json: &Json, location: &str, steps: &mut Vec<Step>) -> Result<(), BundleError> {
    let Some(kind) = kind(json) else { return Ok(()) };
    let fields = |known: &'static [&'static str]| Fields::new(json, "normalizer", known, location);
    match kind {
        "Sequence" => {
            for part in fields(&["type", "normalizers"])?.list("normalizers")? {
                read(part, location, steps)?;
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
            // Other replacements could turn a short prompt into gigabytes.
            if (json["pattern"]["Regex"].as_str(), json["content"].as_str()) != (Some(r"\s+"), Some(" ")) {
                return Err(BundleError::new(
                    BundleErrorKind::Unsupported,
                    location,
                    "has a Replace normalizer that does not replace white space by a space",
                ));
            }
            steps.push(Step::WhiteSpace);
        }
        other => return Err(unknown_kind(other, "normalizer", "Sequence, NFC, Lowercase, Replace", location)),
    }
    limits::check(STEPS, steps.len() as u64, location)
}

fn collapse_white_space(text: &[SpannedChar]) -> Vec<SpannedChar> {
    let mut out: Vec<SpannedChar> = Vec::with_capacity(text.len());
    let mut in_space = false;
    for spanned in text {
        let space = spanned.character.is_whitespace();
        match out.last_mut() {
            Some(last) if space && in_space => last.end = spanned.end,
            _ => out.push(SpannedChar { character: if space { ' ' } else { spanned.character }, ..*spanned }),
        }
        in_space = space;
    }
    out
}
