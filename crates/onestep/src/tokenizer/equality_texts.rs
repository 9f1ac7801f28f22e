//! Texts on which tokenizers are compared.

use fastrand::Rng;

/// Words of several scripts.
pub const WORDS: &[&str] = &[
    "red",
    "apple",
    "Apple",
    "a",
    "cat",
    "face",
    "with",
    "tears",
    "of",
    "joy",
    "woman",
    "firefighter",
    "medium-dark",
    "skin",
    "tone",
    "sun",
    "behind",
    "cloud",
    "green",
    "tree",
    "flag:",
    "Côte",
    "d’Ivoire",
    "Côte d'Ivoire",
    "piñata",
    "São",
    "Tomé",
    "Åland",
    "Türkiye",
    "Curaçao",
    "keycap",
    "10",
    "12:30",
    "don't",
    "we're",
    "I'll",
    "they've",
    "he'd",
    "I'm",
    "it's",
    "IT'S",
    "DON'T",
    "'s",
    "''s",
    "'",
    "’s",
    "naïve",
    "coöperate",
    "straße",
    "ΣΊΣΥΦΟΣ",
    "ΟΔΟΣ",
    "İstanbul",
    "ﬁne",
    "ǅ",
    "K",
    "Å",
    "Ω",
    "éa",
    "e\u{301}",
    "o\u{302}\u{301}",
    "a\u{323}\u{302}",
    "a\u{302}\u{323}",
    "q\u{307}\u{323}",
    "\u{301}",
    "\u{344}",
    "\u{1100}\u{1161}\u{11a8}",
    "각",
    "\u{ac00}\u{11a8}",
    "한국어",
    "日本語",
    "漢字カタカナ",
    "ひらがな",
    "が",
    "か\u{3099}",
    "नमस्ते",
    "क\u{93c}",
    "ไทย",
    "العربية",
    "עברית",
    "Привет",
    "й",
    "и\u{306}",
    "ʼn",
    "½",
    "²",
    "Ⅷ",
    "①",
    "٣",
    "x²",
    "3rd",
];
const SIGNS: &[&str] = &[
    "🍎",
    "👩‍🚒",
    "👩🏽‍🚒",
    "🏳️‍🌈",
    "🇩🇪",
    "1️⃣",
    "❤️",
    "☃",
    "★",
    "\u{200d}",
    "\u{fe0f}",
    "!",
    "?",
    ".",
    ",",
    ";",
    ":",
    "-",
    "_",
    "—",
    "…",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "|",
    "&",
    "*",
    "#",
    "@",
    "$",
    "€",
    "%",
    "^",
    "~",
    "`",
    "\"",
    "“",
    "”",
    "«",
    "»",
    "/",
    "\\",
    "+",
    "=",
    "<|endoftext|>",
    "<|startoftext|>",
    "<|unk|>",
    "<|endoftext",
    "|>",
    "<|",
    "</w>",
    "<w>",
    "Ġ",
    "\u{0}",
    "\u{7f}",
    "\u{ad}",
    "\u{fffd}",
    "¿",
    "¡",
    "‽",
    "⁂",
    "、",
    "。",
    "「",
    "」",
    "\u{2019}",
];
const SPACES: &[&str] = &[
    " ", " ", " ", " ", " ", "", "", "  ", "   ", "\t", "\n", "\r\n", "\u{a0}", "\u{2003}", "\u{3000}", "\u{85}", "\u{200b}", "\u{2028}", " \u{301}",
];

/// Whether all libraries at hand know the character: those that were assigned last are left out, as their tables differ in age.
fn is_old(character: char) -> bool {
    let recent = [
        0x1c89..=0x1c8a,
        0xa7ca..=0xa7f6,
        0x88f..=0x88f,
        0x10d00..=0x10fff,
        0x11200..=0x11fff,
        0x16100..=0x16fff,
        0x18cff..=0x18fff,
        0x1e000..=0x1efff,
        0x1fa00..=0x1ffff,
    ];
    !recent.iter().any(|range| range.contains(&u32::from(character)))
}

/// A random text of words, signs, spaces and arbitrary characters.
pub fn text(random: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..random.usize(1..=8) {
        match random.usize(..12) {
            0..=5 => text.push_str(WORDS[random.usize(..WORDS.len())]),
            6 | 7 => text.push_str(SIGNS[random.usize(..SIGNS.len())]),
            8 => {
                let upper = WORDS[random.usize(..WORDS.len())].to_uppercase();
                text.push_str(&upper);
            }
            9 => {
                let code = [0x250, 0x3000, 0x1_0000, 0x11_0000][random.usize(..4)];
                text.extend(char::from_u32(random.u32(..code)).filter(|character| is_old(*character)));
            }
            10 => {
                // Marks of several classes in any order.
                for _ in 0..random.usize(1..=4) {
                    text.extend(char::from_u32(random.u32(0x300..0x370)));
                }
            }
            _ => {
                for _ in 0..random.usize(1..=6) {
                    text.push(char::from(random.u8(b' '..=b'~')));
                }
            }
        }
        text.push_str(SPACES[random.usize(..SPACES.len())]);
    }
    text
}
