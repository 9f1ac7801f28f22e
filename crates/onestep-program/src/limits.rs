//! The largest things a bundle may hold: one table, one check.
//!
//! `inspect` prints the table; every parser of this crate calls [`check`] before it allocates.

use crate::error::{BundleError, Kind};
use crate::file_signature::{BYTE_ORDER_MARK, wrong_format};

/// A row of the table: what is limited, and the largest value that is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What is counted, with its unit.
    pub what: &'static str,
    /// The largest accepted value.
    pub max: u64,
}

macro_rules! limits {
    ($($name:ident = $max:expr, $what:literal;)*) => {
        $(#[doc = concat!("Limit: ", $what, ".")] pub const $name: Limit = Limit { what: $what, max: $max };)*
        /// Every limit, in the order of the documentation.
        pub const TABLE: &[Limit] = &[$($name),*];
    };
}

limits! {
    MANIFEST_BYTES = 1 << 20, "bytes of the manifest";
    CONFIG_BYTES = 8 << 20, "bytes of a configuration";
    JSON_DEPTH = 16, "nesting of a JSON file";
    PROGRAM_BYTES = 8 << 20, "bytes of a program";
    OPERATIONS = 20_000, "operations of a program";
    TENSORS = 20_000, "tensors of a program or of a weight file";
    RANK = 8, "axes of a tensor";
    DIMENSION = 1 << 24, "length of an axis";
    ELEMENTS = 1 << 32, "elements of a tensor";
    HEADER_BYTES = 8 << 20, "bytes of a safetensors header";
    CHUNK_BYTES = 16 << 20, "bytes of a hashed chunk";
    BUNDLE_BYTES = 4 << 30, "bytes of a bundle";
    FILES = 1_000, "files of a bundle";
    TOKENIZER_BYTES = 8 << 20, "bytes of the tokenizer";
    TOKENIZER_ENTRIES = 300_000, "entries of the tokenizer's vocabulary";
    TOKENIZER_ENTRY_BYTES = 256, "bytes of one vocabulary entry";
    NAME_CHARACTERS = 100, "characters of a file name";
    PROMPT_BYTES = 64 << 10, "bytes of a prompt";
    IMAGE_SIDE = 4_096, "pixels of an image's side";
}

/// Refuses `found` when it is above the limit; `place` names what was being read.
pub fn check(limit: Limit, found: u64, place: &str) -> Result<(), BundleError> {
    if found > limit.max {
        return Err(BundleError::new(Kind::Limit, place, format!("{found} {} (the limit is {})", limit.what, limit.max)));
    }
    Ok(())
}

/// The number of elements of a shape, by checked multiplication and within the limits. Axes without a length do not hide those beside them, so
/// that the distance between two elements is within the limits too.
pub fn elements(shape: &[usize], place: &str) -> Result<usize, BundleError> {
    check(RANK, shape.len() as u64, place)?;
    let mut count: u64 = 1;
    for &length in shape {
        check(DIMENSION, length as u64, place)?;
        // Two factors up to 2^32 and 2^24: the product cannot leave u64.
        count *= length.max(1) as u64;
        check(ELEMENTS, count, place)?;
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    usize::try_from(count).map_err(|_| BundleError::new(Kind::Limit, place, format!("{count} elements do not fit this machine's addresses")))
}

/// Parses a JSON object after checking its size and nesting; unknown keys are the caller's `deny_unknown_fields`.
///
/// # Errors
/// What is above a limit, what is no JSON (a Git LFS pointer, a web page and text with a byte order mark are told as such), what `T` refuses.
pub fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8], size: Limit, place: &str) -> Result<T, BundleError> {
    check(size, bytes.len() as u64, place)?;
    let refuse = |message: String| BundleError::new(Kind::Malformed, place, message);
    if bytes.is_empty() {
        return Err(refuse("the file is empty, expected JSON; fetch it again".into()));
    }
    if let Some(told) = wrong_format(bytes) {
        return Err(refuse(format!("expected JSON; this is {told}")));
    }
    if [BYTE_ORDER_MARK, b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(refuse("the text begins with a byte order mark; save it as UTF-8 without one".into()));
    }
    check(JSON_DEPTH, json_depth(bytes), place)?;
    // serde would also take a list of values without their keys.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refuse("expected a JSON object, which begins with {".into()));
    }
    serde_json::from_slice(bytes).map_err(|error| refuse(format!("not what is expected here: {error}")))
}

/// The deepest nesting of brackets outside strings; malformed JSON gives some number and is refused by the parser.
fn json_depth(bytes: &[u8]) -> u64 {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0u64, 0u64, false, false);
    for &byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_accepts_its_value_and_refuses_one_more() {
        for limit in TABLE {
            assert!(check(*limit, limit.max, "here").is_ok(), "{}", limit.what);
            let error = check(*limit, limit.max + 1, "here").unwrap_err();
            assert_eq!(error.kind(), Kind::Limit);
            assert!(error.to_string().contains(limit.what));
        }
    }

    #[test]
    fn a_shape_whose_product_wraps_is_refused() {
        assert!(elements(&[1 << 24, 1 << 24, 1 << 24], "t").is_err());
        assert!(elements(&[(1 << 42) + 1], "t").is_err());
        assert!(elements(&[0, 1 << 24, 1 << 24], "t").is_err());
        assert!(elements(&[1; 9], "t").is_err());
        assert_eq!(elements(&[3, 0, 5], "t").unwrap(), 0);
    }

    #[test]
    fn what_is_no_json_is_told_as_what_it_is() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b" <html>", "HTML"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"\xff\xfe{\0}\0", "byte order mark"),
        ];
        for (bytes, part) in cases {
            let told = parse_json::<serde_json::Value>(bytes, CONFIG_BYTES, "unet/config.json").unwrap_err().to_string();
            assert!(told.starts_with("unet/config.json: ") && told.contains(part), "{told}");
        }
    }

    #[test]
    fn brackets_inside_strings_do_not_nest() {
        assert_eq!(json_depth(br#"{"a":"[[[[\"[[","b":[1,[2]]}"#), 3);
        for text in ["[1, 2]", " 7", "null"] {
            assert!(parse_json::<serde_json::Value>(text.as_bytes(), PROGRAM_BYTES, "p").unwrap_err().to_string().contains("a JSON object"));
        }
        let deep = [b"[".repeat(17), b"]".repeat(17)].concat();
        assert!(parse_json::<serde_json::Value>(&deep, PROGRAM_BYTES, "p").unwrap_err().kind() == Kind::Limit);
    }
}
