//! JSON as Python writes it: with the bare words `NaN`, `Infinity` and `-Infinity`, which are no JSON.

use std::borrow::Cow;

const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// `text` with these words in quotes: a key that is of no interest may have them, and one that is read refuses a text.
///
/// diffusers saves its DPM solvers with `"lambda_min_clipped": -Infinity`, which they do not use.
pub(super) fn quoted_words(text: &str) -> Cow<'_, str> {
    if !WORDS.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut in_string) = (text, false);
    while let Some(character) = rest.chars().next() {
        let word = WORDS.into_iter().find(|word| !in_string && rest.starts_with(word));
        let taken = match word {
            Some(word) => {
                out.push('"');
                out.push_str(word);
                out.push('"');
                word.len()
            }
            None => {
                // An escape takes what follows it along, so that `\"` ends no text.
                let escaped = (in_string && character == '\\').then(|| rest[1..].chars().next().map_or(0, char::len_utf8));
                in_string ^= character == '"';
                let taken = character.len_utf8() + escaped.unwrap_or(0);
                out.push_str(&rest[..taken]);
                taken
            }
        };
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_become_texts_and_texts_stay() {
        for (text, expected) in [
            (r#"{"a": -Infinity, "b":[NaN,Infinity]}"#, r#"{"a": "-Infinity", "b":["NaN","Infinity"]}"#),
            (r#"{"NaN": "-Infinity \" NaN \\", "ä": NaN}"#, r#"{"NaN": "-Infinity \" NaN \\", "ä": "NaN"}"#),
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            ("\"NaN\\", "\"NaN\\"),
        ] {
            assert_eq!(quoted_words(text), expected);
        }
    }
}
