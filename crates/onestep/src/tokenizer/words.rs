//! Pre-tokenization: splits a text into words. Tokens never cross the boundary of a word.

use onestep_program::{
    BundleError,
    error::BundleErrorKind,
    limits::{self, Limit},
};
use serde_json::Value as Json;

use super::{
    fields::{Fields, STEPS, kind, unknown_kind},
    pattern::{Pattern, WORDS_BEFORE_BYTES},
    spanned_char::SpannedChar,
    unicode::Ranges,
};

const PATTERN_BYTES: Limit = Limit { what: "bytes of a pattern in the tokenizer", max: 1_024 };

/// Steps in order, each splitting the words of the step before.
#[derive(Clone, Debug, Default)]
pub(super) struct Splitter(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    WhiteSpace,
    Punctuation(Ranges),
    Pattern {
        pattern: Pattern,
        /// True to keep the matches, and the text between them.
        keeps: [bool; 2],
    },
    /// Maps each byte to a character of a 256-character alphabet.
    Bytes {
        prefix_space: bool,
    },
}

impl Splitter {
    pub(super) fn new(json: &Json, location: &str) -> Result<Self, BundleError> {
        let mut steps = Vec::new();
        read(json, location, &mut steps)?;
        Ok(Self(steps))
    }

    pub(super) fn split(&self, text: Vec<SpannedChar>) -> Vec<Vec<SpannedChar>> {
        let mut words = vec![text];
        for step in &self.0 {
            let mut next = Vec::with_capacity(words.len());
            for word in &words {
                step.split(word, &mut next);
            }
            words = next;
        }
        words
    }
}

impl Step {
    fn split(&self, word: &[SpannedChar], out: &mut Vec<Vec<SpannedChar>>) {
        match self {
            Step::WhiteSpace => {
                out.extend(word.split(|spanned| spanned.character.is_whitespace()).filter(|part| !part.is_empty()).map(<[_]>::to_vec))
            }
            Step::Punctuation(marks) => {
                let is_mark = |spanned: &SpannedChar| spanned.character.is_ascii_punctuation() || marks.contains(spanned.character);
                out.extend(word.chunk_by(|a, b| !is_mark(a) && !is_mark(b)).map(<[_]>::to_vec));
            }
            Step::Pattern { pattern, keeps: [matches, between] } => {
                let mut rest = word;
                // Length of the text since the last match.
                let mut passed = 0;
                while passed < rest.len() {
                    let Some(length) = pattern.matches(&rest[passed..]) else {
                        passed += 1;
                        continue;
                    };
                    if *between && passed > 0 {
                        out.push(rest[..passed].to_vec());
                    }
                    if *matches {
                        out.push(rest[passed..passed + length].to_vec());
                    }
                    rest = &rest[passed + length..];
                    passed = 0;
                }
                if *between && !rest.is_empty() {
                    out.push(rest.to_vec());
                }
            }
            Step::Bytes { prefix_space } => {
                let mut bytes = Vec::with_capacity(word.len() + 1);
                let first = word.first().filter(|first| *prefix_space && first.character != ' ');
                if let Some(first) = first {
                    bytes.push(SpannedChar { character: byte_character(b' '), start: first.start, end: first.start });
                }
                for spanned in word {
                    let mut buffer = [0; 4];
                    bytes.extend(
                        spanned.character.encode_utf8(&mut buffer).bytes().map(|byte| SpannedChar { character: byte_character(byte), ..*spanned }),
                    );
                }
                out.push(bytes);
            }
        }
    }
}

fn read(json: &Json, location: &str, steps: &mut Vec<Step>) -> Result<(), BundleError> {
    let Some(kind) = kind(json) else { return Ok(()) };
    let fields = |known: &'static [&'static str]| Fields::new(json, "pre_tokenizer", known, location);
    match kind {
        "Sequence" => {
            for part in fields(&["type", "pretokenizers"])?.list("pretokenizers")? {
                read(part, location, steps)?;
            }
        }
        "WhitespaceSplit" => {
            fields(&["type"])?;
            steps.push(Step::WhiteSpace);
        }
        "Punctuation" => {
            let fields = fields(&["type", "behavior"])?;
            if !matches!(fields.get("behavior").as_str(), None | Some("Isolated")) {
                return Err(fields.unsupported(format!("splits at punctuation with the behavior {}; supported is Isolated", fields.get("behavior"))));
            }
            steps.push(Step::Punctuation(Ranges::punctuation()));
        }
        "Split" => steps.push(split_by(&fields(&["type", "pattern", "behavior", "invert"])?, location)?),
        "ByteLevel" => {
            // `trim_offsets` concerns offsets, which are not used.
            let fields = fields(&["type", "add_prefix_space", "trim_offsets", "use_regex"])?;
            let prefix_space = fields.flag("add_prefix_space", true)?;
            if fields.flag("use_regex", true)? {
                if prefix_space {
                    return Err(fields.unsupported("adds a space before the first word and then splits by a pattern".into()));
                }
                steps.push(Step::Pattern { pattern: Pattern::new(WORDS_BEFORE_BYTES, location)?, keeps: [true, true] });
            }
            steps.push(Step::Bytes { prefix_space });
        }
        other => return Err(unknown_kind(other, "pre_tokenizer", "Sequence, WhitespaceSplit, Punctuation, Split, ByteLevel", location)),
    }
    limits::check(STEPS, steps.len() as u64, location)
}

fn split_by(fields: &Fields<'_>, location: &str) -> Result<Step, BundleError> {
    let pattern = fields.get("pattern");
    let (pattern, is_text) = match (pattern["Regex"].as_str(), pattern["String"].as_str()) {
        (Some(pattern), None) => (pattern, false),
        (None, Some(text)) => (text, true),
        _ => return Err(fields.malformed("has a Split without a pattern".into())),
    };
    limits::check(PATTERN_BYTES, pattern.len() as u64, location)?;
    let invert = fields.flag("invert", false)?;
    let keeps = match fields.text("behavior")? {
        "Isolated" => [true, true],
        "Removed" => [invert, !invert],
        other => {
            return Err(BundleError::new(
                BundleErrorKind::Unsupported,
                location,
                format!("splits with the behavior {other:?}; supported are Isolated and Removed"),
            ));
        }
    };
    let pattern = if is_text { Pattern::text(pattern, location)? } else { Pattern::new(pattern, location)? };
    Ok(Step::Pattern { pattern, keeps })
}

/// GPT-2's byte alphabet: printable bytes map to themselves, all others to characters from U+0100 on.
pub(super) fn byte_character(byte: u8) -> char {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if prints(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !prints(other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}
