//! Upper limits for everything that a bundle may contain: one table and one check.
//!
//! Every parser of this crate calls [`check`] before it allocates memory for a size that a file states.

use crate::error::{BundleError, BundleErrorKind};
use crate::file_signature::{BYTE_ORDER_MARK, wrong_format};

/// A row of [`TABLE`]: what is limited, and its largest accepted value.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What is limited, beginning with its unit: "bytes of the manifest".
    pub what: &'static str,
    /// The largest accepted value.
    pub max: u64,
}

macro_rules! limits {
    ($($name:ident = $max:expr, $what:literal;)*) => {
        $(#[doc = concat!("Limit: ", $what, ".")] pub const $name: Limit = Limit { what: $what, max: $max };)*
        /// Every limit.
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
    BUNDLE_BYTES = if cfg!(target_arch = "wasm32") { 4 << 30 } else { 64 << 30 }, "bytes of a bundle";
    FILES = 1_000, "files of a bundle";
    TOKENIZER_BYTES = 8 << 20, "bytes of the tokenizer";
    TOKENIZER_ENTRIES = 300_000, "entries of the tokenizer's vocabulary";
    TOKENIZER_ENTRY_BYTES = 256, "bytes of one vocabulary entry";
    TOKENIZER_OBJECTS = 50_000, "objects in the tokenizer";
    TOKENIZER_LISTS = 600_000, "lists in the tokenizer";
    NAME_CHARACTERS = 100, "characters of a file name";
    PROMPT_BYTES = 64 << 10, "bytes of a prompt";
    IMAGE_SIDE = 4_096, "pixels of an image's side";
}

/// Refuses a value above the limit; `location` names the file or tensor in the error.
///
/// # Errors
/// [`BundleErrorKind::Limit`].
pub fn check(limit: Limit, found: u64, location: &str) -> Result<(), BundleError> {
    if found > limit.max {
        return Err(BundleError::new(BundleErrorKind::Limit, location, format!("{found} {} (the limit is {})", limit.what, limit.max)));
    }
    Ok(())
}

/// The number of elements of a shape.
///
/// An axis of length 0 counts as 1 when the product is compared with the limit, so that strides are within the limit too.
///
/// # Errors
/// [`BundleErrorKind::Limit`] for more axes, a longer axis or more elements than the limits allow.
pub fn elements(shape: &[usize], location: &str) -> Result<usize, BundleError> {
    check(RANK, shape.len() as u64, location)?;
    let mut count: u64 = 1;
    for &length in shape {
        check(DIMENSION, length as u64, location)?;
        // Two factors up to 2^32 and 2^24: the product cannot leave u64.
        count *= length.max(1) as u64;
        check(ELEMENTS, count, location)?;
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    usize::try_from(count)
        .map_err(|_| BundleError::new(BundleErrorKind::Limit, location, format!("{count} elements do not fit this machine's addresses")))
}

/// Parses a JSON object of at most `size` bytes after checking its nesting. `T` decides about unknown keys (`deny_unknown_fields`).
///
/// # Errors
/// Text above a limit; bytes that are not JSON, recognising Git LFS pointers, web pages and byte order marks; JSON that `T` refuses.
pub fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8], size: Limit, location: &str) -> Result<T, BundleError> {
    check(size, bytes.len() as u64, location)?;
    let refuse = |message: String| BundleError::new(BundleErrorKind::Malformed, location, message);
    if bytes.is_empty() {
        return Err(refuse("the file is empty, expected JSON; fetch it again".into()));
    }
    if let Some(told) = wrong_format(bytes) {
        return Err(refuse(format!("expected JSON; this is {told}")));
    }
    if [BYTE_ORDER_MARK, b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(refuse("the text begins with a byte order mark; save it as UTF-8 without one".into()));
    }
    check(JSON_DEPTH, json_depth(bytes), location)?;
    // serde also accepts a list of field values without keys.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refuse("expected a JSON object, which begins with {".into()));
    }
    serde_json::from_slice(bytes).map_err(|error| refuse(format!("not what is expected here: {error}")))
}

/// Parses a JSON file of a tokenizer.
///
/// Opening braces and brackets are counted first, including those in strings, because an object of eight bytes takes 700 in memory: the limit of
/// the file's size alone would permit most of a gigabyte.
///
/// # Errors
/// Those of [`parse_json`]; more objects or lists than the limits allow.
pub fn parse_tokenizer(bytes: &[u8], location: &str) -> Result<serde_json::Map<String, serde_json::Value>, BundleError> {
    check(TOKENIZER_BYTES, bytes.len() as u64, location)?;
    for (limit, bracket) in [(TOKENIZER_OBJECTS, b'{'), (TOKENIZER_LISTS, b'[')] {
        check(limit, bytes.iter().filter(|&&byte| byte == bracket).count() as u64, location)?;
    }
    parse_json(bytes, TOKENIZER_BYTES, location)
}

/// The deepest nesting of brackets outside strings. For malformed JSON the result is arbitrary, because the parser refuses it afterwards.
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
            assert_eq!(error.kind(), BundleErrorKind::Limit);
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
    fn files_that_are_not_json_are_recognised() {
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
        assert!(parse_json::<serde_json::Value>(&deep, PROGRAM_BYTES, "p").unwrap_err().kind() == BundleErrorKind::Limit);
    }
}
