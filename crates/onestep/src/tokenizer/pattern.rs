//! Split patterns: the alternatives that known tokenizers use, instead of a regular-expression engine.

use onestep_program::{BundleError, error::BundleErrorKind};

use super::{spanned_char::SpannedChar, unicode::Ranges};

/// The default pattern of ByteLevel.
pub(super) const WORDS_BEFORE_BYTES: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The first alternative that matches is used; it matches greedily.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    alternatives: Vec<Alternative>,
    letters: Ranges,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Alternative {
    Text(Vec<char>),
    /// Characters of one class, after an optional space if `blank`.
    Class {
        class: Class,
        blank: bool,
        many: bool,
    },
    /// White space, except its last character if other text follows.
    AllButLastSpace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

impl Pattern {
    /// Reads a regular expression that is made of known alternatives.
    pub(super) fn new(pattern: &str, location: &str) -> Result<Self, BundleError> {
        let alternatives: Option<Vec<_>> = alternatives(pattern).iter().map(|text| alternative(text)).collect();
        match alternatives {
            Some(alternatives) => Ok(Self { alternatives, letters: Ranges::letters() }),
            None => Err(BundleError::new(BundleErrorKind::Unsupported, location, format!("splits by the unsupported pattern {pattern:?}"))),
        }
    }

    /// A pattern that matches a literal text.
    pub(super) fn text(text: &str, location: &str) -> Result<Self, BundleError> {
        if text.is_empty() {
            return Err(BundleError::new(BundleErrorKind::Malformed, location, "splits by an empty text"));
        }
        Ok(Self { alternatives: vec![Alternative::Text(text.chars().collect())], letters: Ranges::letters() })
    }

    /// The number of characters that match at the beginning; `None` instead of 0.
    pub(super) fn matches(&self, text: &[SpannedChar]) -> Option<usize> {
        self.alternatives.iter().find_map(|alternative| self.fits(alternative, text)).filter(|&length| length > 0)
    }

    fn fits(&self, alternative: &Alternative, text: &[SpannedChar]) -> Option<usize> {
        let run = |class: Class, text: &[SpannedChar]| text.iter().take_while(|spanned| self.class(spanned.character) == class).count();
        match alternative {
            Alternative::Text(characters) => {
                let fits = text.len() >= characters.len() && characters.iter().zip(text).all(|(character, spanned)| *character == spanned.character);
                fits.then_some(characters.len())
            }
            Alternative::Class { class, blank, many } => {
                let skipped = usize::from(*blank && text.first().is_some_and(|first| first.character == ' '));
                let length = match many {
                    true => run(*class, &text[skipped..]),
                    false => usize::from(text.get(skipped).is_some_and(|spanned| self.class(spanned.character) == *class)),
                };
                (length > 0).then_some(skipped + length)
            }
            Alternative::AllButLastSpace => {
                let length = run(Class::Space, text);
                let length = if length == text.len() { length } else { length.saturating_sub(1) };
                (length > 0).then_some(length)
            }
        }
    }

    fn class(&self, character: char) -> Class {
        if character.is_whitespace() {
            Class::Space
        } else if self.letters.contains(character) {
            Class::Letter
        } else if character.is_numeric() {
            Class::Number
        } else {
            Class::Other
        }
    }
}

/// Splits at bars that are not escaped.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in pattern.chars() {
        match parts.last_mut() {
            Some(part) if escaped || character != '|' => part.push(character),
            _ => parts.push(String::new()),
        }
        escaped = character == '\\' && !escaped;
    }
    parts
}

fn alternative(text: &str) -> Option<Alternative> {
    if text == r"\s+(?!\S)" {
        return Some(Alternative::AllButLastSpace);
    }
    let (blank, rest) = match text.strip_prefix(" ?") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (many, class) = match rest.strip_suffix('+') {
        Some(class) => (true, class),
        None => (false, rest),
    };
    let class = match class {
        r"\p{L}" | r"[\p{L}]" => Class::Letter,
        r"\p{N}" | r"[\p{N}]" => Class::Number,
        r"\s" => Class::Space,
        r"[^\s\p{L}\p{N}]" => Class::Other,
        _ => return literal(text),
    };
    Some(Alternative::Class { class, blank, many })
}

/// A literal text; `None` if it contains regular-expression syntax.
fn literal(text: &str) -> Option<Alternative> {
    let mut characters = Vec::new();
    let mut escaped = false;
    for character in text.chars() {
        match (escaped, character) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            // A letter or digit after a backslash is a class or a reference.
            (true, _) if character.is_alphanumeric() => return None,
            (false, '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}') => return None,
            _ => characters.push(character),
        }
        escaped = false;
    }
    if escaped || characters.is_empty() { None } else { Some(Alternative::Text(characters)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_patterns_are_refused() {
        for pattern in ["", "a|", "a*", r"\w+", "(a)", r"[\p{L}\p{M}]+", "[a", r"a\", r"\p{L}*", r" ?'s", r"\s+(?=a)", "a{2}", r"\1"] {
            assert!(Pattern::new(pattern, "p").is_err(), "{pattern}");
        }
        assert_eq!(Pattern::new(r"<\|x\|>|'s", "p").unwrap().alternatives[0], Alternative::Text("<|x|>".chars().collect()));
    }
}
