//! A tokenizer in its one form.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    TokenizerContents, refused,
    settings::Settings,
    tokenizer_contents::{CONFIG, TOKENIZER, VOCABULARY},
    tokenizer_json::TokenizerJson,
    vocabulary,
};
use crate::PipelineError;

/// Most ids per prompt.
const MOST_TOKENS: usize = 1024;

/// A tokenizer that gives every prompt the same number of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    json: String,
    config: String,
    location: String,
    length: usize,
    vocabulary_size: usize,
    start_id: u32,
    end_id: u32,
    pad_id: u32,
}

impl Tokenizer {
    /// The text of `tokenizer.json`, with padding and truncation to [`length`](Self::length). Equal tokenizers have equal texts; opening it again gives
    /// the same text.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The files to save, contents by name: `tokenizer.json` and a `tokenizer_config.json` with which transformers and diffusers open it as
    /// `PreTrainedTokenizerFast`.
    pub fn files(&self) -> [(&'static str, Vec<u8>); 2] {
        [(TOKENIZER, self.json.clone().into_bytes()), (CONFIG, self.config.clone().into_bytes())]
    }

    /// The file that it was read from, for errors.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Ids per prompt, special tokens and padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Ids run from 0 to one below this.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The id that every prompt begins with.
    pub fn start_id(&self) -> u32 {
        self.start_id
    }

    /// The id behind the text of every prompt.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// The id that fills short prompts. CLIP fills with the end token, Stable Diffusion 2 and the second tokenizer of SDXL with id 0.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }
}

/// Opens the tokenizer in a folder: [`TokenizerContents::read`], then [`TokenizerContents::open`].
///
/// # Errors
/// Those of both.
pub fn open_folder(folder: &Path, positions: Option<usize>) -> Result<Tokenizer, PipelineError> {
    TokenizerContents::read(folder)?.open(positions)
}

impl TokenizerContents {
    /// Converts the tokenizer to its one form.
    ///
    /// The number of ids per prompt is `model_max_length` of `tokenizer_config.json`, as in diffusers; without one, or where it is so large that it
    /// means "no limit", that of padding and truncation in `tokenizer.json`; without these, `positions`, the number of positions of the text encoder.
    ///
    /// # Errors
    /// Missing files, malformed ones, a class of tokenizer that is not implemented, no length at all.
    pub fn open(&self, positions: Option<usize>) -> Result<Tokenizer, PipelineError> {
        open(self, positions)
    }
}

fn open(files: &TokenizerContents, positions: Option<usize>) -> Result<Tokenizer, PipelineError> {
    let mut settings = Settings::read(files)?;
    let settings_location = files.location_of(CONFIG);
    let (mut file, location) = match files.json(TOKENIZER)? {
        Some(file) => (TokenizerJson::new(file, files.location_of(TOKENIZER))?, files.location_of(TOKENIZER)),
        None => {
            let location = files.location_of(VOCABULARY);
            (TokenizerJson::new(vocabulary::convert(files, &mut settings)?, location.clone())?, location)
        }
    };
    file.add_tokens(&settings, &settings_location)?;
    let id_of = |role: &str| settings.role(role).and_then(|token| file.id(&token.content));
    if files.get(TOKENIZER).is_none()
        && let (Some(start), Some(end)) = (id_of("bos_token"), id_of("eos_token"))
    {
        file.set_template(vocabulary::template(start, end, &settings));
    }

    let template = file.template();
    let (Some(&start_id), Some(&end_id)) = (template.before.first(), template.after.first()) else {
        let message = "its post_processor puts no special token before or behind a prompt; text encoders expect a start and an end token";
        return Err(refused(&location, message));
    };
    let fallback = || file.id(vocabulary::END).filter(|_| vocabulary::is_clip(settings.class.as_deref()));
    let id_of = |role: &str| settings.role(role).and_then(|token| file.id(&token.content));
    let Some(pad_id) = id_of("pad_token").map_or_else(|| file.pad_id(), |id| Ok(Some(id)))?.or_else(fallback) else {
        let message = format!("has no padding, and {CONFIG} beside it has no pad_token: name the token that fills short prompts there");
        return Err(refused(&location, message));
    };
    let Some(pad_token) = file.token(pad_id).map(str::to_owned) else {
        return Err(refused(&location, format!("padding.pad_id is {pad_id}, but no token has this id")));
    };
    let Some(length) = settings.max_length.map_or_else(|| file.length(), |length| Ok(Some(length)))?.or(positions) else {
        let message = format!("states no number of tokens per prompt; write it as model_max_length into {CONFIG}, such as 77");
        return Err(refused(&location, message));
    };
    if length <= template.len() || length > MOST_TOKENS {
        let (at, key) = match settings.max_length {
            Some(_) => (&settings_location, "model_max_length"),
            None => (&location, "the number of tokens per prompt"),
        };
        let message = format!("{key} is {length}, expected {} to {MOST_TOKENS}: {} of them are special tokens", template.len() + 1, template.len());
        return Err(refused(at, message));
    }
    file.fix_length(length, pad_id, &pad_token, &settings)?;
    let config = config(&file, length, [start_id, end_id, pad_id]);
    let vocabulary_size = file.vocabulary_size();
    Ok(Tokenizer { json: file.into_text()?, config, location, length, vocabulary_size, start_id, end_id, pad_id })
}

/// `tokenizer_config.json`. It names only tokens that the file adds, because a reader would add the others and so split texts differently.
fn config(file: &TokenizerJson, length: usize, [start, end, pad]: [u32; 3]) -> String {
    let side = |key| if file.is_at_start(key) { "left" } else { "right" };
    let mut config = Map::new();
    for (key, value) in [
        ("tokenizer_class", json!("PreTrainedTokenizerFast")),
        ("model_max_length", json!(length)),
        ("padding_side", json!(side("padding"))),
        ("truncation_side", json!(side("truncation"))),
        ("clean_up_tokenization_spaces", json!(false)),
    ] {
        config.insert(key.into(), value);
    }
    let unknown = file.unknown_token().and_then(|token| file.id(token));
    for (role, id) in [("bos_token", Some(start)), ("eos_token", Some(end)), ("pad_token", Some(pad)), ("unk_token", unknown)] {
        if let Some(token) = id.and_then(|id| file.added_token(id)) {
            config.insert(role.into(), token.into());
        }
    }
    format!("{:#}\n", Value::Object(config))
}
