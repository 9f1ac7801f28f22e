//! Escapes untrusted text before it is printed.

use std::borrow::Cow;

/// Words of more characters are shortened.
const LONGEST_WORD: usize = 200;
/// The number of characters that remain of a shortened word.
const SHORTENED: usize = 120;
/// Texts of more characters are truncated.
const LONGEST_TEXT: usize = 8_000;

/// Makes untrusted text safe for a terminal, a log or a page.
///
/// Control characters and characters that reorder or hide text become escapes (`\u{202e}`); line breaks and tabs stay. Words of more than 200
/// characters are cut to 120, texts of more than 8,000 characters to their first 8,000. Text that needs no change is borrowed.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = text.len() <= LONGEST_WORD && !text.chars().any(is_unsafe);
    if is_plain {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let (mut word, mut word_start, mut count) = (0usize, 0usize, 0usize);
    let shorten = |out: &mut String, start: usize, word: usize| {
        if word > LONGEST_WORD {
            let end = out[start..].char_indices().nth(SHORTENED).map_or(out.len(), |(index, _)| start + index);
            out.truncate(end);
            out.push_str(&format!("… ({word} characters)"));
        }
    };
    for character in text.chars() {
        if count == LONGEST_TEXT {
            break;
        }
        if character.is_whitespace() && !is_unsafe(character) {
            shorten(&mut out, word_start, word);
            out.push(character);
            (word, word_start) = (0, out.len());
            count += 1;
            continue;
        }
        word += 1;
        // The rest of a long word is only counted, because `shorten` removes it.
        if word > LONGEST_WORD {
            continue;
        }
        if is_unsafe(character) {
            out.extend(character.escape_unicode())
        } else {
            out.push(character)
        }
        count += 1;
    }
    shorten(&mut out, word_start, word);
    if count == LONGEST_TEXT {
        out.push('…');
    }
    Cow::Owned(out)
}

/// True for control characters other than line breaks and tabs, for marks that change the text direction, and for invisible characters that
/// hide or join text.
fn is_unsafe(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => true,
        '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_borrowed() {
        for text in ["", "red heart", "piñata 日本 👩‍🚒\n\tnext line"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn control_characters_and_direction_marks_are_escaped() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}b\0\r"), "a\\u{1b}[31m\\u{202e}b\\u{0}\\u{d}");
        assert_eq!(printable("\u{2066}\u{feff}\u{200b}"), "\\u{2066}\\u{feff}\\u{200b}");
    }

    #[test]
    fn long_words_are_shortened_and_say_how_long_they_were() {
        let name = "x".repeat(200_000);
        let shown = printable(&name);
        assert_eq!(shown, format!("{}… (200000 characters)", "x".repeat(120)));
        assert_eq!(printable(&format!("tensor {name} is surplus")), format!("tensor {}… (200000 characters) is surplus", "x".repeat(120)));
        assert_eq!(printable(&"é".repeat(200)), "é".repeat(200));
        assert!(printable(&"\u{1b}".repeat(100_000)).chars().count() < 1_000);
    }

    #[test]
    fn long_texts_are_cut() {
        let text = "word ".repeat(100_000);
        let shown = printable(&text);
        assert_eq!(shown.chars().count(), LONGEST_TEXT + 1);
        assert!(shown.ends_with('…'));
    }
}
