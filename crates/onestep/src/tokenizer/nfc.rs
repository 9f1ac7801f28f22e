//! Unicode normalization form C (NFC): "e" followed by an accent becomes "é".

use std::rc::Rc;

use super::{spanned_char::SpannedChar, unicode};

/// Hangul syllables are composed by counting: Unicode, chapter 3.12.
const SYLLABLES: u32 = 0xac00;
const LEADING: u32 = 0x1100;
const VOWELS: u32 = 0x1161;
const TRAILING: u32 = 0x11a7;
const LEADING_COUNT: u32 = 19;
const VOWEL_COUNT: u32 = 21;
const TRAILING_COUNT: u32 = 28;
const SYLLABLE_COUNT: u32 = LEADING_COUNT * VOWEL_COUNT * TRAILING_COUNT;

/// The tables, unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Nfc(Rc<Tables>);

#[derive(Debug)]
struct Tables {
    /// Character, what it is made of (the second is NUL where it is another way to write one), sorted by the character.
    decompositions: Vec<(char, char, char)>,
    /// The two, and what they become, sorted.
    compositions: Vec<(char, char, char)>,
    /// First, last, combining class; characters in between that are in no row have class 0.
    classes: Vec<(u32, u32, u8)>,
}

impl Nfc {
    pub(crate) fn new() -> Self {
        let mut compositions = Vec::new();
        let mut decompositions = Vec::new();
        for entry in unicode::decompositions() {
            decompositions.push((entry.character, entry.first, entry.second));
            if entry.composes {
                compositions.push((entry.first, entry.second, entry.character));
            }
        }
        compositions.sort_unstable();
        Self(Rc::new(Tables { decompositions, compositions, classes: unicode::classes() }))
    }

    /// The composed form. A character that was put together stands for all the bytes of its parts.
    pub(crate) fn compose(&self, text: Vec<SpannedChar>) -> Vec<SpannedChar> {
        // Nothing below U+0300 changes, and most prompts are of nothing else.
        if text.iter().all(|spanned| spanned.character < '\u{300}') {
            return text;
        }
        let mut out: Vec<SpannedChar> = Vec::with_capacity(text.len());
        // The last character that others may be joined to, and the class of what stands between it and the end.
        let (mut base, mut between) = (None, 0);
        for (spanned, class) in self.decomposed(&text) {
            let joined =
                base.filter(|_| between == 0 || between < class).and_then(|at: usize| Some((at, self.join(out[at].character, spanned.character)?)));
            if let Some((at, character)) = joined {
                let SpannedChar { start, end, .. } = out[at];
                out[at] = SpannedChar { character, start: start.min(spanned.start), end: end.max(spanned.end) };
                continue;
            }
            between = class;
            if class == 0 {
                base = Some(out.len());
            }
            out.push(spanned);
        }
        out
    }

    /// Every character taken apart, with combining classes in ascending order between two of class 0.
    fn decomposed(&self, text: &[SpannedChar]) -> Vec<(SpannedChar, u8)> {
        let mut out = Vec::with_capacity(text.len());
        for spanned in text {
            self.decompose(*spanned, &mut out);
        }
        for marks in out.chunk_by_mut(|a, b| a.1 != 0 && b.1 != 0) {
            // Stable: marks of one class keep their order.
            marks.sort_by_key(|(_, class)| *class);
        }
        out
    }

    fn decompose(&self, spanned: SpannedChar, out: &mut Vec<(SpannedChar, u8)>) {
        let mut push = |code: u32| {
            let character = char::from_u32(code).unwrap_or(spanned.character);
            out.push((SpannedChar { character, ..spanned }, self.class(character)));
        };
        let index = u32::from(spanned.character).wrapping_sub(SYLLABLES);
        if index < SYLLABLE_COUNT {
            push(LEADING + index / (VOWEL_COUNT * TRAILING_COUNT));
            push(VOWELS + index % (VOWEL_COUNT * TRAILING_COUNT) / TRAILING_COUNT);
            if !index.is_multiple_of(TRAILING_COUNT) {
                push(TRAILING + index % TRAILING_COUNT);
            }
            return;
        }
        let Ok(at) = self.0.decompositions.binary_search_by_key(&spanned.character, |row| row.0) else {
            return push(spanned.character.into());
        };
        let (_, first, second) = self.0.decompositions[at];
        self.decompose(SpannedChar { character: first, ..spanned }, out);
        if second != '\0' {
            self.decompose(SpannedChar { character: second, ..spanned }, out);
        }
    }

    fn class(&self, character: char) -> u8 {
        let code = u32::from(character);
        let at = self.0.classes.partition_point(|row| row.1 < code);
        self.0.classes.get(at).filter(|row| row.0 <= code).map_or(0, |row| row.2)
    }

    /// What two characters become, if they become one.
    fn join(&self, first: char, second: char) -> Option<char> {
        let (a, b) = (u32::from(first), u32::from(second));
        if (LEADING..LEADING + LEADING_COUNT).contains(&a) && (VOWELS..VOWELS + VOWEL_COUNT).contains(&b) {
            return char::from_u32(SYLLABLES + ((a - LEADING) * VOWEL_COUNT + (b - VOWELS)) * TRAILING_COUNT);
        }
        let syllable = a.wrapping_sub(SYLLABLES);
        if syllable < SYLLABLE_COUNT && syllable.is_multiple_of(TRAILING_COUNT) && (TRAILING + 1..TRAILING + TRAILING_COUNT).contains(&b) {
            return char::from_u32(a + b - TRAILING);
        }
        let at = self.0.compositions.binary_search_by_key(&(first, second), |row| (row.0, row.1)).ok()?;
        Some(self.0.compositions[at].2)
    }
}
