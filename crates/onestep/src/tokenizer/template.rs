//! The special tokens at the beginning and the end of every prompt.

use onestep_program::{BundleError, error::BundleErrorKind, limits};
use serde_json::Value as Json;

use super::fields::{Fields, STEPS, kind, unknown_kind};

/// The ids before and after those of the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
}

impl Template {
    pub(super) fn new(json: &Json, location: &str) -> Result<Self, BundleError> {
        let mut template = Self::default();
        template.read(json, &mut 0, location)?;
        Ok(template)
    }

    /// Reads one part, which wraps the result of the parts before it; `parts` counts them.
    fn read(&mut self, json: &Json, parts: &mut u64, location: &str) -> Result<(), BundleError> {
        let Some(kind) = kind(json) else { return Ok(()) };
        *parts += 1;
        limits::check(STEPS, *parts, location)?;
        let fields = |known: &'static [&'static str]| Fields::new(json, "post_processor", known, location);
        match kind {
            "Sequence" => {
                for part in fields(&["type", "processors"])?.list("processors")? {
                    self.read(part, parts, location)?;
                }
            }
            // It concerns offsets, which are not used.
            "ByteLevel" => {
                fields(&["type", "add_prefix_space", "trim_offsets", "use_regex"])?;
            }
            "RobertaProcessing" | "BertProcessing" => {
                let fields = fields(&["type", "sep", "cls", "trim_offsets", "add_prefix_space"])?;
                let id = |key: &str| {
                    let id = fields.get(key)[1].as_u64().and_then(|id| u32::try_from(id).ok());
                    id.ok_or_else(|| fields.malformed(format!("has a template with a {key:?} that is not a token and its id")))
                };
                self.wrap(vec![id("cls")?], vec![id("sep")?]);
            }
            "TemplateProcessing" => {
                // `pair` is for two texts.
                let fields = fields(&["type", "single", "pair", "special_tokens"])?;
                let malformed =
                    || BundleError::new(BundleErrorKind::Malformed, location, "has a template that is not special tokens around one text");
                let mut around: [Vec<u32>; 2] = Default::default();
                let mut texts = 0;
                for item in fields.list("single")? {
                    if item["Sequence"]["id"].as_str() == Some("A") {
                        texts += 1;
                        continue;
                    }
                    let token = &fields.get("special_tokens")[item["SpecialToken"]["id"].as_str().ok_or_else(malformed)?];
                    let (ids, tokens) = (token["ids"].as_array().ok_or_else(malformed)?, token["tokens"].as_array().ok_or_else(malformed)?);
                    if ids.len() != tokens.len() {
                        return Err(malformed());
                    }
                    for id in ids {
                        around[texts.min(1)].push(id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(malformed)?);
                    }
                    limits::check(limits::TOKENIZER_ENTRIES, around[texts.min(1)].len() as u64, location)?;
                }
                if texts != 1 {
                    return Err(malformed());
                }
                let [before, after] = around;
                self.wrap(before, after);
            }
            other => {
                return Err(unknown_kind(
                    other,
                    "post_processor",
                    "Sequence, TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel",
                    location,
                ));
            }
        }
        Ok(())
    }

    fn wrap(&mut self, mut before: Vec<u32>, mut after: Vec<u32>) {
        before.append(&mut self.before);
        self.before = before;
        self.after.append(&mut after);
    }

    /// The number of ids that it adds.
    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }
}
