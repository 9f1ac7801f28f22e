//! A tokenizer's settings, which are in other files than vocabulary and merges: class, length, special and added tokens.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    TokenizerContents,
    added_token::AddedToken,
    refused,
    tokenizer_contents::{ADDED_TOKENS, CONFIG, SPECIAL_TOKENS},
};
use crate::PipelineError;

/// Keys of special tokens, in the order in which transformers adds them.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of further special tokens: the key of transformers 5, and that of older versions.
const FURTHER: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];
/// From here on `model_max_length` means that there is no limit: transformers writes 10^30 then, other programs the largest integer of some type.
const NO_LIMIT: f64 = 1e6;

/// The settings of one tokenizer.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `tokenizer_class`.
    pub class: Option<String>,
    /// `model_max_length`, unless that means "no limit".
    pub max_length: Option<usize>,
    /// True for padding, or truncation, at the beginning of prompts.
    pub pads_start: Option<bool>,
    pub truncates_start: Option<bool>,
    /// Special tokens by role.
    roles: BTreeMap<&'static str, AddedToken>,
    /// Special tokens without a role.
    further: Vec<AddedToken>,
    /// Added tokens with a fixed id.
    pub numbered: BTreeMap<u32, AddedToken>,
}

impl Settings {
    /// Reads the files as transformers 5 does: `special_tokens_map.json` takes precedence over `tokenizer_config.json`, unless the latter has
    /// `added_tokens_decoder`; then the former is ignored.
    pub fn read(files: &TokenizerContents) -> Result<Self, PipelineError> {
        let config = files.json(CONFIG)?.unwrap_or_default();
        let location = files.location_of(CONFIG);
        let mut settings = Self { max_length: max_length(&config, &location)?, ..Self::default() };
        settings.class = text(&config, "tokenizer_class", &location)?.map(str::to_owned);
        settings.pads_start = side(&config, "padding_side", &location)?;
        settings.truncates_start = side(&config, "truncation_side", &location)?;
        settings.read_tokens(&config, &location)?;
        match config.get("added_tokens_decoder") {
            Some(Value::Object(decoder)) => settings.read_decoder(decoder, &location)?,
            None | Some(Value::Null) => {
                if let Some(map) = files.json(SPECIAL_TOKENS)? {
                    settings.read_tokens(&map, &files.location_of(SPECIAL_TOKENS))?;
                }
                if let Some(added) = files.json(ADDED_TOKENS)? {
                    settings.read_added(&added, &files.location_of(ADDED_TOKENS))?;
                }
            }
            Some(other) => {
                return Err(refused(&location, format!("added_tokens_decoder is {other}, expected an object of tokens by id")));
            }
        }
        Ok(settings)
    }

    /// The special token of a role, such as `pad_token`.
    pub fn role(&self, role: &str) -> Option<&AddedToken> {
        self.roles.get(role)
    }

    /// Gives a role to a token unless the files did.
    pub fn default_role(&mut self, role: &'static str, content: &str) {
        self.roles.entry(role).or_insert_with(|| AddedToken::new(content, true));
    }

    /// All special tokens, in the order in which they get ids. Of equal ones the last has the right flags.
    pub fn special_tokens(&self) -> impl Iterator<Item = &AddedToken> {
        ROLES.iter().filter_map(|role| self.roles.get(role)).chain(&self.further)
    }

    fn read_tokens(&mut self, keys: &Map<String, Value>, location: &str) -> Result<(), PipelineError> {
        for role in ROLES {
            if let Some(value) = keys.get(role).filter(|value| !value.is_null()) {
                self.roles.insert(role, AddedToken::read(value, Some(true), role, location)?);
            }
        }
        for key in FURTHER {
            let tokens: Vec<&Value> = match keys.get(key) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(tokens)) => tokens.iter().collect(),
                // By names of the model's own.
                Some(Value::Object(tokens)) => tokens.values().collect(),
                Some(other) => return Err(refused(location, format!("{key} is {other}, expected a list of tokens"))),
            };
            self.further = tokens.into_iter().map(|token| AddedToken::read(token, Some(true), key, location)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    fn read_decoder(&mut self, decoder: &Map<String, Value>, location: &str) -> Result<(), PipelineError> {
        for (key, token) in decoder {
            let what = format!("the token {key:?} of added_tokens_decoder");
            let id = key.parse().map_err(|_| refused(location, format!("{what} has no number for an id")))?;
            self.numbered.insert(id, AddedToken::read(token, None, &what, location)?);
        }
        Ok(())
    }

    fn read_added(&mut self, added: &Map<String, Value>, location: &str) -> Result<(), PipelineError> {
        for (content, id) in added {
            let special = self.special_tokens().any(|token| token.content == *content);
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| refused(location, format!("gives the token {content:?} no id")))?;
            self.numbered.insert(id, AddedToken::new(content, special));
        }
        Ok(())
    }
}

fn max_length(config: &Map<String, Value>, location: &str) -> Result<Option<usize>, PipelineError> {
    let value = match config.get("model_max_length") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    match value.as_f64() {
        Some(number) if number >= NO_LIMIT => Ok(None),
        Some(number) if number >= 1.0 && number.fract() == 0.0 => Ok(Some(number as usize)),
        _ => Err(refused(location, format!("model_max_length is {value}, expected the number of tokens per prompt"))),
    }
}

fn text<'a>(config: &'a Map<String, Value>, key: &str, location: &str) -> Result<Option<&'a str>, PipelineError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(refused(location, format!("{key} is {other}, expected a text"))),
    }
}

fn side(config: &Map<String, Value>, key: &str, location: &str) -> Result<Option<bool>, PipelineError> {
    match text(config, key, location)? {
        None => Ok(None),
        Some("right") => Ok(Some(false)),
        Some("left") => Ok(Some(true)),
        Some(other) => Err(refused(location, format!("{key} is {other:?}, expected \"right\" or \"left\""))),
    }
}
