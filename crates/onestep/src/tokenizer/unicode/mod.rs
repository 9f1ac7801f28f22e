//! What the standard library does not know of characters, packed: `*.bin` in this folder, numbers of seven bits a byte, the low ones first.
//!
//! The files are written by the test `write_tables` from the crates that training reads text with, and other tests hold every character
//! to them. So a page splits a prompt as training split the captions, whatever its browser's version of Unicode.

/// Characters by their code, as ranges in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Letters in the sense of `\p{L}`; the standard library's alphabetic ones are more.
    pub(super) fn letters() -> Self {
        Self::unpack(include_bytes!("letters.bin"))
    }
    /// Punctuation of any kind.
    pub(super) fn punctuation() -> Self {
        Self::unpack(include_bytes!("punctuation.bin"))
    }

    fn unpack(packed: &'static [u8]) -> Self {
        let mut numbers = Numbers(packed);
        let mut next = 0;
        let ranges = std::iter::from_fn(|| {
            let first = next + numbers.next()?;
            let last = first + numbers.next()?;
            next = last + 1;
            Some((first, last))
        });
        Self(ranges.collect())
    }

    pub(super) fn contains(&self, character: char) -> bool {
        let code = u32::from(character);
        let at = self.0.partition_point(|range| range.1 < code);
        self.0.get(at).is_some_and(|range| range.0 <= code)
    }
}

/// What a character is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decomposition {
    pub(super) character: char,
    pub(super) first: char,
    /// NUL where the character is only another way to write the first.
    pub(super) second: char,
    /// Whether the two become the character again.
    pub(super) composes: bool,
}

/// In the order of the characters; Hangul syllables are not among them.
pub(super) fn decompositions() -> impl Iterator<Item = Decomposition> {
    let mut numbers = Numbers(include_bytes!("decompositions.bin"));
    let (mut character, mut first) = (0u32, 0u32);
    std::iter::from_fn(move || {
        let head = numbers.next()?;
        character += head >> 2;
        let step = numbers.next()?;
        // The lowest bit is the sign of the difference.
        first = if step & 1 == 0 { first.wrapping_add(step >> 1) } else { first.wrapping_sub(step >> 1) };
        let second = if head & 2 != 0 { numbers.next()? } else { 0 };
        Some(Decomposition {
            character: char::from_u32(character)?,
            first: char::from_u32(first)?,
            second: char::from_u32(second)?,
            composes: head & 1 != 0,
        })
    })
}

/// First, last and canonical combining class, where it is not 0.
pub(super) fn classes() -> Vec<(u32, u32, u8)> {
    let mut numbers = Numbers(include_bytes!("classes.bin"));
    let mut next = 0;
    let rows = std::iter::from_fn(|| {
        let first = next + numbers.next()?;
        let last = first + numbers.next()?;
        next = last + 1;
        Some((first, last, numbers.next()? as u8))
    });
    rows.collect()
}

struct Numbers(&'static [u8]);

impl Iterator for Numbers {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..).step_by(7).take(5) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
        pre_tokenizers::{
            punctuation::Punctuation,
            split::{Split, SplitPattern},
        },
    };
    use unicode_normalization_alignments::char::{canonical_combining_class, compose, decompose_canonical};

    use super::*;

    fn characters() -> impl Iterator<Item = char> {
        (0..=u32::from(char::MAX)).filter_map(char::from_u32)
    }

    /// The characters at which a pre-tokenizer splits.
    fn split_at(splitter: &impl PreTokenizer) -> Vec<char> {
        characters()
            .filter(|&character| {
                let mut text = PreTokenizedString::from(format!("\0{character}\0"));
                splitter.pre_tokenize(&mut text).unwrap();
                text.get_splits(OffsetReferential::Original, OffsetType::Byte).len() > 1
            })
            .collect()
    }
    fn letters() -> Vec<char> {
        split_at(&Split::new(SplitPattern::Regex(r"\p{L}".into()), SplitDelimiterBehavior::Isolated, false).unwrap())
    }
    fn punctuation() -> Vec<char> {
        split_at(&Punctuation::default())
    }
    fn whole(character: char) -> Vec<char> {
        let mut parts = Vec::new();
        decompose_canonical(character, |part| parts.push(part));
        parts
    }
    /// One step of decomposition: a pair, of which the first part may be decomposed further.
    fn rows() -> Vec<Decomposition> {
        let is_made = |character: &char| whole(*character) != [*character] && !('\u{ac00}'..='\u{d7a3}').contains(character);
        // The last one wins, and nothing but the whole of it matters where several are made of the same.
        let made: BTreeMap<Vec<char>, char> = characters().filter(is_made).map(|character| (whole(character), character)).collect();
        let row = |character| {
            let parts = whole(character);
            let (&second, before) = parts.split_last().unwrap();
            let joined = before.iter().copied().try_fold(None, |a, b| Some(Some(a.map_or(Some(b), |a| compose(a, b))?))).flatten();
            match before {
                [] => Decomposition { character, first: second, second: '\0', composes: false },
                _ => {
                    let first = joined.unwrap_or_else(|| made[before]);
                    Decomposition { character, first, second, composes: compose(first, second) == Some(character) }
                }
            }
        };
        characters().filter(is_made).map(row).collect()
    }

    fn pack(number: u32, out: &mut Vec<u8>) {
        let mut left = number;
        while left > 0x7f {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }
    fn ranges<T: Copy + PartialEq>(values: impl Iterator<Item = (char, T)>) -> Vec<(u32, u32, T)> {
        let mut ranges: Vec<(u32, u32, T)> = Vec::new();
        for (character, value) in values {
            let code = u32::from(character);
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == code && last.2 == value => last.1 = code,
                _ => ranges.push((code, code, value)),
            }
        }
        ranges
    }
    fn pack_ranges<T: Copy>(ranges: &[(u32, u32, T)], value: impl Fn(T, &mut Vec<u8>)) -> Vec<u8> {
        let (mut out, mut next) = (Vec::new(), 0);
        for &(first, last, of) in ranges {
            pack(first - next, &mut out);
            pack(last - first, &mut out);
            value(of, &mut out);
            next = last + 1;
        }
        out
    }

    #[test]
    #[ignore = "writes the tables"]
    fn write_tables() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tokenizer/unicode");
        let set = |characters: Vec<char>| pack_ranges(&ranges(characters.into_iter().map(|character| (character, ()))), |(), _| ());
        let classes = characters().map(|character| (character, canonical_combining_class(character))).filter(|(_, class)| *class != 0);
        let classes = pack_ranges(&ranges(classes), |class, out| pack(class.into(), out));
        let (mut packed, mut character, mut first) = (Vec::new(), 0u32, 0u32);
        for row in rows() {
            let pair = row.second != '\0';
            pack((u32::from(row.character) - character) << 2 | u32::from(pair) << 1 | u32::from(row.composes), &mut packed);
            let step = i64::from(u32::from(row.first)) - i64::from(first);
            pack((step.unsigned_abs() as u32) << 1 | u32::from(step < 0), &mut packed);
            if pair {
                pack(row.second.into(), &mut packed);
            }
            (character, first) = (row.character.into(), row.first.into());
        }
        let files = [
            ("letters", set(letters())),
            ("punctuation", set(punctuation().into_iter().filter(|character| !character.is_ascii()).collect())),
            ("classes", classes),
            ("decompositions", packed),
        ];
        for (name, bytes) in files {
            std::fs::write(folder.join(format!("{name}.bin")), bytes).unwrap();
        }
    }

    #[test]
    fn letters_and_punctuation_are_those_of_the_library() {
        let (letters, punctuation): (Vec<_>, Vec<_>) = (letters(), punctuation());
        let found = Ranges::letters();
        assert_eq!(characters().filter(|&character| found.contains(character)).collect::<Vec<_>>(), letters);
        let found = Ranges::punctuation();
        assert_eq!(characters().filter(|&character| character.is_ascii_punctuation() || found.contains(character)).collect::<Vec<_>>(), punctuation);
    }

    #[test]
    fn decompositions_and_classes_are_those_of_the_library() {
        assert_eq!(decompositions().collect::<Vec<_>>(), rows());
        let expected = ranges(characters().map(|character| (character, canonical_combining_class(character))).filter(|(_, class)| *class != 0));
        assert_eq!(classes(), expected);
    }
}
