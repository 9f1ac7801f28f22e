//! The patterns that tokenizers split by, without a language of patterns: alternatives from a closed set.

use onestep_program::{BundleError, error::Kind};

use super::{letter::Letter, unicode::Ranges};

/// What the kind ByteLevel splits by if it is not told otherwise.
pub(super) const WORDS_BEFORE_BYTES: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The first alternative that fits counts, and it takes as much as it can.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    alternatives: Vec<Alternative>,
    letters: Ranges,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Alternative {
    Text(Vec<char>),
    /// Signs of one class, after a blank where there may be one.
    Class {
        class: Class,
        blank: bool,
        many: bool,
    },
    /// White space but for the last of it where something else follows.
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
    pub(super) fn new(pattern: &str, place: &str) -> Result<Self, BundleError> {
        let alternatives: Option<Vec<_>> = alternatives(pattern).iter().map(|text| alternative(text)).collect();
        match alternatives {
            Some(alternatives) => Ok(Self { alternatives, letters: Ranges::letters() }),
            None => Err(BundleError::new(Kind::Unsupported, place, format!("splits by a pattern that is not read: {pattern:?}"))),
        }
    }

    /// A pattern that is a text as it stands.
    pub(super) fn text(text: &str, place: &str) -> Result<Self, BundleError> {
        if text.is_empty() {
            return Err(BundleError::new(Kind::Malformed, place, "splits by an empty text"));
        }
        Ok(Self { alternatives: vec![Alternative::Text(text.chars().collect())], letters: Ranges::letters() })
    }

    /// How many letters match at the beginning; never none.
    pub(super) fn matches(&self, text: &[Letter]) -> Option<usize> {
        self.alternatives.iter().find_map(|alternative| self.fits(alternative, text)).filter(|&length| length > 0)
    }

    fn fits(&self, alternative: &Alternative, text: &[Letter]) -> Option<usize> {
        let run = |class: Class, text: &[Letter]| text.iter().take_while(|letter| self.class(letter.sign) == class).count();
        match alternative {
            Alternative::Text(signs) => {
                let fits = text.len() >= signs.len() && signs.iter().zip(text).all(|(sign, letter)| *sign == letter.sign);
                fits.then_some(signs.len())
            }
            Alternative::Class { class, blank, many } => {
                let skipped = usize::from(*blank && text.first().is_some_and(|first| first.sign == ' '));
                let length = match many {
                    true => run(*class, &text[skipped..]),
                    false => usize::from(text.get(skipped).is_some_and(|letter| self.class(letter.sign) == *class)),
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

    fn class(&self, sign: char) -> Class {
        if sign.is_whitespace() {
            Class::Space
        } else if self.letters.contains(sign) {
            Class::Letter
        } else if sign.is_numeric() {
            Class::Number
        } else {
            Class::Other
        }
    }
}

/// Splits at the bars that no backslash stands before.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for sign in pattern.chars() {
        match parts.last_mut() {
            Some(part) if escaped || sign != '|' => part.push(sign),
            _ => parts.push(String::new()),
        }
        escaped = sign == '\\' && !escaped;
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

/// A text without signs that mean something else in a pattern.
fn literal(text: &str) -> Option<Alternative> {
    let mut signs = Vec::new();
    let mut escaped = false;
    for sign in text.chars() {
        match (escaped, sign) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            // A letter or digit after a backslash is a class or a reference.
            (true, _) if sign.is_alphanumeric() => return None,
            (false, '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}') => return None,
            _ => signs.push(sign),
        }
        escaped = false;
    }
    if escaped || signs.is_empty() { None } else { Some(Alternative::Text(signs)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        for pattern in ["", "a|", "a*", r"\w+", "(a)", r"[\p{L}\p{M}]+", "[a", r"a\", r"\p{L}*", r" ?'s", r"\s+(?=a)", "a{2}", r"\1"] {
            assert!(Pattern::new(pattern, "p").is_err(), "{pattern}");
        }
        assert_eq!(Pattern::new(r"<\|x\|>|'s", "p").unwrap().alternatives[0], Alternative::Text("<|x|>".chars().collect()));
    }
}
