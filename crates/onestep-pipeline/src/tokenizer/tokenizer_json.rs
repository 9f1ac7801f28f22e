//! `tokenizer.json` while it is brought into its one form.

use std::collections::{BTreeMap, HashMap};

use onestep_program::limits;
use serde_json::{Map, Value, json};

use super::{added_token::AddedToken, refused, settings::Settings, template::Template};
use crate::PipelineError;

/// A side of prompts, as the file calls it.
fn direction(at_start: bool) -> &'static str {
    if at_start { "Left" } else { "Right" }
}

/// The file, the ids of its tokens, and its name in errors.
pub(super) struct TokenizerJson {
    file: Map<String, Value>,
    /// Ids of added tokens.
    added: HashMap<String, u32>,
    location: String,
}

impl TokenizerJson {
    /// Takes a file. Forms of older versions become that of the newest: a model without a type, merges that are texts.
    pub fn new(mut file: Map<String, Value>, location: String) -> Result<Self, PipelineError> {
        let mut added = HashMap::new();
        for token in file.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(content), Some(id)) = (token["content"].as_str(), token["id"].as_u64().and_then(|id| u32::try_from(id).ok())) {
                added.insert(content.to_owned(), id);
            }
        }
        let Some(Value::Object(model)) = file.get_mut("model") else {
            return Err(refused(&location, "has no model; expected a tokenizer.json of the tokenizers library"));
        };
        if !model.contains_key("type") && model.get("vocab").is_some_and(Value::is_object) && model.contains_key("merges") {
            model.insert("type".into(), "BPE".into());
        }
        for merge in model.get_mut("merges").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some((left, right)) = merge.as_str().and_then(|text| text.split_once(' ')).filter(|(_, right)| !right.contains(' ')) {
                *merge = json!([left, right]);
            }
        }
        Ok(Self { file, added, location })
    }

    fn vocabulary(&self) -> Option<&Map<String, Value>> {
        self.file["model"]["vocab"].as_object()
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        let in_vocabulary = || self.vocabulary()?.get(token)?.as_u64().and_then(|id| u32::try_from(id).ok());
        self.added.get(token).copied().or_else(in_vocabulary)
    }

    /// The added token with this id.
    pub fn added_token(&self, id: u32) -> Option<&str> {
        // The first by name, so that the result does not depend on the order of the map.
        self.added.iter().filter(|(_, of)| **of == id).map(|(content, _)| content.as_str()).min()
    }

    /// Ids run from 0 to one below this.
    pub fn vocabulary_size(&self) -> usize {
        let ids = self.vocabulary().into_iter().flat_map(Map::values).filter_map(Value::as_u64);
        ids.chain(self.added.values().map(|&id| u64::from(id))).max().map_or(0, |id| usize::try_from(id.saturating_add(1)).unwrap_or(usize::MAX))
    }

    /// Adds the tokens of the settings that the file does not have as added tokens.
    pub fn add_tokens(&mut self, settings: &Settings, settings_location: &str) -> Result<(), PipelineError> {
        let mut new: Vec<(AddedToken, u32)> = Vec::new();
        for (&id, token) in &settings.numbered {
            match self.id(&token.content) {
                Some(other) if other != id => {
                    let message = format!("gives the token {:?} the id {id}, {} the id {other}", token.content, self.location);
                    return Err(refused(settings_location, message));
                }
                _ if self.added.contains_key(&token.content) => {}
                _ => {
                    self.added.insert(token.content.clone(), id);
                    new.push((token.clone(), id));
                }
            }
        }
        // The flags of equal tokens are those of the last, unless a file lists the token with its id.
        let mut flags: BTreeMap<&str, &AddedToken> = BTreeMap::new();
        let mut order = Vec::new();
        for token in settings.special_tokens().filter(|token| !self.added.contains_key(&token.content)) {
            if flags.insert(&token.content, token).is_none() {
                order.push(token.content.as_str());
            }
        }
        for content in order {
            // As in the tokenizers library: behind the vocabulary and behind all added tokens.
            let count = self.vocabulary().map_or(0, Map::len);
            let next = self.added.values().map(|&id| u64::from(id) + 1).max().unwrap_or(0).max(count as u64);
            let id = match self.id(content) {
                Some(id) => id,
                None => u32::try_from(next).map_err(|_| refused(settings_location, format!("leaves no id for {content:?}")))?,
            };
            self.added.insert(content.to_owned(), id);
            new.push((flags[content].clone(), id));
        }
        limits::check(limits::TOKENIZER_ENTRIES, (self.vocabulary().map_or(0, Map::len) + self.added.len()) as u64, settings_location)?;
        let tokens = self.file.entry("added_tokens").or_insert_with(|| json!([]));
        if let Some(tokens) = tokens.as_array_mut() {
            tokens.extend(new.iter().map(|(token, id)| token.entry(*id)));
            tokens.sort_by_key(|token| token["id"].as_u64());
        }
        Ok(())
    }

    /// Sets the special tokens around every prompt.
    pub fn set_template(&mut self, post_processor: Value) {
        self.file.insert("post_processor".into(), post_processor);
    }

    /// The special tokens around every prompt.
    pub fn template(&self) -> Template {
        Template::read(self.file.get("post_processor").unwrap_or(&Value::Null))
    }

    /// The token for what is unknown.
    pub fn unknown_token(&self) -> Option<&str> {
        self.file["model"]["unk_token"].as_str()
    }

    /// The number of ids that padding and truncation state, if they do.
    pub fn length(&self) -> Result<Option<usize>, PipelineError> {
        let stated = |key: &str, value: &Value| match value {
            Value::Null => Ok(None),
            value => match value.as_u64().and_then(|length| usize::try_from(length).ok()) {
                Some(length) => Ok(Some(length)),
                None => Err(refused(&self.location, format!("{key} is {value}, expected a number of tokens"))),
            },
        };
        let null = &Value::Null;
        let (padding, truncation) = (self.file.get("padding").unwrap_or(null), self.file.get("truncation").unwrap_or(null));
        let padded = stated("padding.strategy.Fixed", &padding["strategy"]["Fixed"])?;
        let cut = stated("truncation.max_length", &truncation["max_length"])?;
        match (padded, cut) {
            (Some(padded), Some(cut)) if padded != cut => {
                let message = format!("pads prompts to {padded} tokens and truncates them to {cut}: expected the same number");
                Err(refused(&self.location, message))
            }
            (padded, cut) => Ok(padded.or(cut)),
        }
    }

    /// The id that padding states, if it does.
    pub fn pad_id(&self) -> Result<Option<u32>, PipelineError> {
        match self.file.get("padding") {
            None | Some(Value::Null) => Ok(None),
            Some(padding) => match padding["pad_id"].as_u64().and_then(|id| u32::try_from(id).ok()) {
                Some(id) => Ok(Some(id)),
                None => Err(refused(&self.location, format!("padding.pad_id is {}, expected an id", padding["pad_id"]))),
            },
        }
    }

    /// Sets padding and truncation to a fixed length.
    pub fn fix_length(&mut self, length: usize, pad_id: u32, pad_token: &str, settings: &Settings) -> Result<(), PipelineError> {
        let side = |key: &str, setting: Option<bool>| match (setting, self.file.get(key).map_or(&Value::Null, |part| &part["direction"])) {
            (Some(at_start), _) => Ok(direction(at_start)),
            (None, Value::Null) => Ok(direction(false)),
            (None, value) => match value.as_str() {
                Some("Left") => Ok("Left"),
                Some("Right") => Ok("Right"),
                _ => Err(refused(&self.location, format!("{key}.direction is {value}, expected \"Right\" or \"Left\""))),
            },
        };
        let (padding_side, truncation_side) = (side("padding", settings.pads_start)?, side("truncation", settings.truncates_start)?);
        let multiple = self.file.get("padding").map_or(&Value::Null, |padding| &padding["pad_to_multiple_of"]);
        if !multiple.is_null() && multiple.as_u64().is_none_or(|multiple| multiple == 0 || !(length as u64).is_multiple_of(multiple)) {
            let message = format!("padding.pad_to_multiple_of is {multiple}, expected null, because prompts have {length} tokens");
            return Err(refused(&self.location, message));
        }
        let truncation = json!({ "direction": truncation_side, "max_length": length, "strategy": "LongestFirst", "stride": 0 });
        let padding = json!({
            "strategy": { "Fixed": length }, "direction": padding_side, "pad_to_multiple_of": null,
            "pad_id": pad_id, "pad_type_id": 0, "pad_token": pad_token,
        });
        self.file.extend([("truncation".to_owned(), truncation), ("padding".to_owned(), padding)]);
        Ok(())
    }

    /// The token with this id; any of them if several have it.
    pub fn token(&self, id: u32) -> Option<&str> {
        let in_vocabulary = || self.vocabulary()?.iter().find(|(_, of)| of.as_u64() == Some(u64::from(id))).map(|(token, _)| token.as_str());
        self.added_token(id).or_else(in_vocabulary)
    }

    /// Padding, or truncation, at the beginning of prompts.
    pub fn is_at_start(&self, key: &str) -> bool {
        self.file[key]["direction"] == "Left"
    }

    /// The text of the file.
    pub fn into_text(self) -> Result<String, PipelineError> {
        let text = Value::Object(self.file).to_string();
        limits::check(limits::TOKENIZER_BYTES, text.len() as u64, &self.location)?;
        Ok(text)
    }
}
