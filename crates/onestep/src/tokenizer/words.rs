//! How a text is split into words, none of which is joined to its neighbour.

use onestep_program::{
    BundleError,
    error::Kind,
    limits::{self, Limit},
};
use serde_json::Value as Json;

use super::{
    fields::{Fields, STEPS, kind, unknown_kind},
    letter::Letter,
    pattern::{Pattern, WORDS_BEFORE_BYTES},
    unicode::Ranges,
};

const PATTERN_BYTES: Limit = Limit { what: "bytes of a pattern in the tokenizer", max: 1_024 };

/// Steps that are done one after another, each on the words of the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Splitter(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    WhiteSpace,
    Punctuation(Ranges),
    Pattern {
        pattern: Pattern,
        /// Whether what it matches is kept, and what is between.
        keeps: [bool; 2],
    },
    /// Each byte becomes a character of an alphabet of 256.
    Bytes {
        blank_before: bool,
    },
}

impl Splitter {
    pub(super) fn new(json: &Json, place: &str) -> Result<Self, BundleError> {
        let mut steps = Vec::new();
        read(json, place, &mut steps)?;
        Ok(Self(steps))
    }

    pub(super) fn split(&self, text: Vec<Letter>) -> Vec<Vec<Letter>> {
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
    fn split(&self, word: &[Letter], out: &mut Vec<Vec<Letter>>) {
        match self {
            Step::WhiteSpace => out.extend(word.split(|letter| letter.sign.is_whitespace()).filter(|part| !part.is_empty()).map(<[_]>::to_vec)),
            Step::Punctuation(marks) => {
                let is_mark = |letter: &Letter| letter.sign.is_ascii_punctuation() || marks.contains(letter.sign);
                out.extend(word.chunk_by(|a, b| !is_mark(a) && !is_mark(b)).map(<[_]>::to_vec));
            }
            Step::Pattern { pattern, keeps: [matches, between] } => {
                let mut rest = word;
                // Where the text between two matches began.
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
            Step::Bytes { blank_before } => {
                let mut bytes = Vec::with_capacity(word.len() + 1);
                let first = word.first().filter(|first| *blank_before && first.sign != ' ');
                if let Some(first) = first {
                    bytes.push(Letter { sign: byte_sign(b' '), start: first.start, end: first.start });
                }
                for letter in word {
                    let mut buffer = [0; 4];
                    bytes.extend(letter.sign.encode_utf8(&mut buffer).bytes().map(|byte| Letter { sign: byte_sign(byte), ..*letter }));
                }
                out.push(bytes);
            }
        }
    }
}

fn read(json: &Json, place: &str, steps: &mut Vec<Step>) -> Result<(), BundleError> {
    let Some(kind) = kind(json) else { return Ok(()) };
    let fields = |known: &'static [&'static str]| Fields::new(json, "pre_tokenizer", known, place);
    match kind {
        "Sequence" => {
            for part in fields(&["type", "pretokenizers"])?.list("pretokenizers")? {
                read(part, place, steps)?;
            }
        }
        "WhitespaceSplit" => {
            fields(&["type"])?;
            steps.push(Step::WhiteSpace);
        }
        "Punctuation" => {
            let fields = fields(&["type", "behavior"])?;
            if !matches!(fields.get("behavior").as_str(), None | Some("Isolated")) {
                return Err(fields.unsupported(format!("splits at punctuation in the way {}; Isolated is read", fields.get("behavior"))));
            }
            steps.push(Step::Punctuation(Ranges::punctuation()));
        }
        "Split" => steps.push(split_by(&fields(&["type", "pattern", "behavior", "invert"])?, place)?),
        "ByteLevel" => {
            // Trimming is about offsets that nobody reads.
            let fields = fields(&["type", "add_prefix_space", "trim_offsets", "use_regex"])?;
            let blank_before = fields.flag("add_prefix_space", true)?;
            if fields.flag("use_regex", true)? {
                if blank_before {
                    return Err(fields.unsupported("puts a blank before the first word and then splits by a pattern".into()));
                }
                steps.push(Step::Pattern { pattern: Pattern::new(WORDS_BEFORE_BYTES, place)?, keeps: [true, true] });
            }
            steps.push(Step::Bytes { blank_before });
        }
        other => return Err(unknown_kind(other, "pre_tokenizer", "Sequence, WhitespaceSplit, Punctuation, Split, ByteLevel", place)),
    }
    limits::check(STEPS, steps.len() as u64, place)
}

fn split_by(fields: &Fields<'_>, place: &str) -> Result<Step, BundleError> {
    let pattern = fields.get("pattern");
    let (pattern, is_text) = match (pattern["Regex"].as_str(), pattern["String"].as_str()) {
        (Some(pattern), None) => (pattern, false),
        (None, Some(text)) => (text, true),
        _ => return Err(fields.malformed("splits by no pattern".into())),
    };
    limits::check(PATTERN_BYTES, pattern.len() as u64, place)?;
    let invert = fields.flag("invert", false)?;
    let keeps = match fields.text("behavior")? {
        "Isolated" => [true, true],
        "Removed" => [invert, !invert],
        other => return Err(BundleError::new(Kind::Unsupported, place, format!("splits in the way {other:?}; Isolated and Removed are read"))),
    };
    let pattern = if is_text { Pattern::text(pattern, place)? } else { Pattern::new(pattern, place)? };
    Ok(Step::Pattern { pattern, keeps })
}

/// GPT-2's alphabet: bytes that print stand for themselves, the others for the characters from U+0100 on.
pub(super) fn byte_sign(byte: u8) -> char {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if prints(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !prints(other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}
