//! Tokenizers of captions, and learning one.
//!
//! Prompts are encoded by the reader of the crate `onestep`, with which an exported model runs. The crate `tokenizers` only helps to learn a vocabulary:
//! text is normalised to NFC and lower case, split at white space and punctuation, and encoded by byte-pair encoding; the last token of a word
//! ends in `</w>`. The special tokens have the highest ids, `<|endoftext|>` the very highest. All of this is as in CLIP.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use onestep::PromptReader;
use onestep_pipeline::tokenizer::{Tokenizer, TokenizerContents};
use onestep_program::limits;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, Sequence as Normalizers};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PaddingDirection, PaddingParams, PaddingStrategy, PreTokenizedString,
    PreTokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

use super::error::{DataError, shown};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const UNKNOWN: &str = "<|unk|>";
const END_OF_WORD: &str = "</w>";
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=1024;
const VOCABULARY: std::ops::RangeInclusive<usize> = 16..=300_000;
/// Pairs that occur less often are not merged.
const LEAST_PAIR_COUNT: u64 = 2;
/// Longer words are left out of training.
const MAX_WORD_CHARS: usize = 64;

/// Options of learning a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// Maximum vocabulary size, special tokens included; few captions give fewer tokens. Default 4096. All characters of the captions are always
    /// part of the vocabulary.
    pub vocabulary: usize,
    /// Tokens per prompt, start and end included: longer prompts are truncated, shorter ones padded with the end token. Default 16.
    pub length: usize,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self { vocabulary: 4096, length: 16 }
    }
}

/// A tokenizer with a fixed number of ids per prompt.
#[derive(Clone, Debug)]
pub struct CaptionTokenizer {
    tokenizer: Tokenizer,
    reader: PromptReader,
}

/// Captions that a tokenizer truncates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongCaptions {
    /// The number of them.
    pub count: usize,
    /// The number of all captions.
    pub total: usize,
    /// Tokens that are read of a caption, start and end included.
    pub length: usize,
    /// The first of them.
    pub first: String,
}

impl fmt::Display for LongCaptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, total, length, first } = self;
        let are = if *count == 1 { "is" } else { "are" };
        write!(f, "{count} of {total} captions {are} longer than the {length} tokens that are read; the first: {}", shown(first))
    }
}

impl CaptionTokenizer {
    /// Learns a tokenizer. The order of the captions does not matter.
    ///
    /// # Errors
    /// Options out of range, captions without words.
    pub fn train<'a>(captions: impl IntoIterator<Item = &'a str>, options: &TokenizerOptions) -> Result<Self, DataError> {
        let doing = "learning a tokenizer";
        if !LENGTHS.contains(&options.length) {
            return Err(DataError::input(doing, format!("a length from {} to {}", LENGTHS.start(), LENGTHS.end()), format!("{}", options.length)));
        }
        if !VOCABULARY.contains(&options.vocabulary) {
            return Err(DataError::input(
                doing,
                format!("a vocabulary from {} to {}", VOCABULARY.start(), VOCABULARY.end()),
                format!("{}", options.vocabulary),
            ));
        }
        let words = count_words(captions)?;
        if words.is_empty() {
            return Err(DataError::input(doing, "captions with at least one word", "none").advise("check the folder with onestep data check"));
        }
        let learned = learn_merges(&words, options.vocabulary.saturating_sub(3));
        let mut vocabulary: Vec<String> = learned.tokens;
        // A caption could spell a special token only if the splitting of words were switched off.
        vocabulary.retain(|t| ![UNKNOWN, START, END].contains(&t.as_str()));
        vocabulary.extend([UNKNOWN, START, END].map(str::to_owned));
        let ids: HashMap<String, u32> = vocabulary.into_iter().zip(0u32..).collect();
        let tokenizer = assemble(ids, learned.merges, options.length).map_err(|e| DataError::internal(doing, e.to_string()))?;
        let json = tokenizer.to_string(false).map_err(|e| DataError::internal("writing a tokenizer", e.to_string()))?;
        // Use the tokenizer that readers of the file will get.
        let files = TokenizerContents::new("the new tokenizer", [("tokenizer.json", json.into_bytes())]);
        let tokenizer = files.open(None).map_err(|e| DataError::internal(doing, e.to_string()))?;
        Self::new(tokenizer).map_err(|e| DataError::internal(doing, e.to_string()))
    }

    /// Prepares a tokenizer that was opened from files.
    ///
    /// # Errors
    /// A feature that the crate `onestep` does not support, with the file that has it.
    pub fn new(tokenizer: Tokenizer) -> Result<Self, onestep::Error> {
        let reader = PromptReader::new(tokenizer.json().as_bytes(), tokenizer.location(), tokenizer.length(), tokenizer.vocabulary_size())?;
        Ok(Self { tokenizer, reader })
    }

    /// The text of `tokenizer.json`.
    pub fn to_json(&self) -> &str {
        self.tokenizer.json()
    }

    /// The files to save in a model's folder, contents by path within it.
    pub fn files(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.tokenizer.files().into_iter().map(|(name, bytes)| (format!("tokenizer/{name}"), bytes))
    }

    /// The file that it was read from, for errors.
    pub fn location(&self) -> &str {
        self.tokenizer.location()
    }

    /// The ids of a prompt: always [`CaptionTokenizer::length`].
    ///
    /// # Errors
    /// A prompt above 64 KiB.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>, DataError> {
        Ok(self.read(prompt)?.ids.into_iter().map(i32::cast_unsigned).collect())
    }

    /// The captions of a list that are longer than the tokens which are read, if there are any.
    ///
    /// # Errors
    /// A caption above 64 KiB.
    pub fn long_captions<'a>(&self, captions: impl IntoIterator<Item = &'a str>) -> Result<Option<LongCaptions>, DataError> {
        let mut long = LongCaptions { count: 0, total: 0, length: self.length(), first: String::new() };
        for caption in captions {
            long.total += 1;
            if self.read(caption)?.truncated {
                long.count += 1;
                if long.count == 1 {
                    caption.clone_into(&mut long.first);
                }
            }
        }
        Ok((long.count > 0).then_some(long))
    }

    fn read(&self, prompt: &str) -> Result<onestep::Prompt, DataError> {
        let most = limits::PROMPT_BYTES.max;
        if prompt.len() as u64 > most {
            let found = format!("{} bytes: {}", prompt.len(), shown(prompt));
            return Err(DataError::input("reading a prompt", format!("at most {most} bytes"), found).advise("shorten it"));
        }
        let refuse = |e: onestep::Error| DataError::input("turning a prompt into tokens", "ids of the vocabulary", e.to_string());
        self.reader.encode(prompt).map_err(refuse)
    }

    /// Ids per prompt.
    pub fn length(&self) -> usize {
        self.tokenizer.length()
    }

    /// Ids run from 0 to one below this.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.vocabulary_size()
    }

    /// The id behind the text of a prompt. That of a tokenizer which was learned here also fills short prompts and is the highest of all.
    pub fn end_id(&self) -> u32 {
        self.tokenizer.end_id()
    }
}

fn normalizer() -> Normalizers {
    Normalizers::new(vec![NFC.into(), Lowercase.into()])
}

fn pre_tokenizer() -> PreTokenizers {
    PreTokenizers::new(vec![WhitespaceSplit.into(), Punctuation::default().into()])
}

/// The words of all captions, split as they will be when prompts are read.
fn count_words<'a>(captions: impl IntoIterator<Item = &'a str>) -> Result<BTreeMap<String, u64>, DataError> {
    let (normalizer, pre_tokenizer) = (normalizer(), pre_tokenizer());
    let fail = |e: tokenizers::Error| DataError::internal("splitting a caption into words", e.to_string());
    let mut words = BTreeMap::new();
    for caption in captions {
        let mut text = NormalizedString::from(caption);
        normalizer.normalize(&mut text).map_err(fail)?;
        let mut text = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut text).map_err(fail)?;
        for (word, _, _) in text.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            if !word.is_empty() && word.chars().count() <= MAX_WORD_CHARS {
                *words.entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(words)
}

struct Merges {
    /// In the order of their ids.
    tokens: Vec<String>,
    merges: Vec<(String, String)>,
}

/// Byte-pair encoding: begins with single characters and joins the most frequent neighbours, again and again.
///
/// The library's own trainer numbers the characters that end words in the order of a randomly seeded map, and equally frequent
/// pairs by those numbers, so that two runs differ. Here characters are numbered in order, and of equally frequent pairs the one
/// with the smaller ids is joined first: the same rule, with the same result in every run.
fn learn_merges(words: &BTreeMap<String, u64>, most: usize) -> Merges {
    let alphabet: BTreeSet<char> = words.keys().flat_map(|w| w.chars()).collect();
    let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
    tokens.extend(alphabet.iter().map(|c| format!("{c}{END_OF_WORD}")));
    let mut ids: HashMap<String, u32> = tokens.iter().cloned().zip(0u32..).collect();

    let mut split: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, count)| {
            let last = word.chars().count().saturating_sub(1);
            let letters = word.chars().enumerate().filter_map(|(i, c)| {
                let token = if i == last { format!("{c}{END_OF_WORD}") } else { c.to_string() };
                ids.get(&token).copied()
            });
            (letters.collect(), *count)
        })
        .collect();
    let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut occurrences: HashMap<(u32, u32), BTreeSet<usize>> = HashMap::new();
    for (index, (word, count)) in split.iter().enumerate() {
        for pair in pairs(word) {
            *counts.entry(pair).or_default() += count;
            occurrences.entry(pair).or_default().insert(index);
        }
    }

    let mut merges = Vec::new();
    while tokens.len() < most {
        // The map is in the order of ids, so of equal counts the first is kept.
        let best = counts.iter().fold(None, |best: Option<((u32, u32), u64)>, (&pair, &count)| match best {
            Some((_, most)) if most >= count => best,
            _ => Some((pair, count)),
        });
        let Some((pair, count)) = best else { break };
        if count < LEAST_PAIR_COUNT {
            break;
        }
        let (left, right) = (tokens[pair.0 as usize].clone(), tokens[pair.1 as usize].clone());
        let joined = format!("{left}{right}");
        let id = *ids.entry(joined.clone()).or_insert_with(|| {
            tokens.push(joined);
            (tokens.len() - 1) as u32
        });
        merges.push((left, right));
        for index in occurrences.remove(&pair).unwrap_or_default() {
            let (word, count) = &mut split[index];
            for old in pairs(word) {
                if let Some(total) = counts.get_mut(&old) {
                    *total = total.saturating_sub(*count);
                    if *total == 0 {
                        counts.remove(&old);
                    }
                }
            }
            join(word, pair, id);
            for new in pairs(word) {
                *counts.entry(new).or_default() += *count;
                occurrences.entry(new).or_default().insert(index);
            }
        }
        counts.remove(&pair);
    }
    Merges { tokens, merges }
}

fn pairs(word: &[u32]) -> Vec<(u32, u32)> {
    word.windows(2).map(|w| (w[0], w[1])).collect()
}

/// Reoccurrences each occurrence of the pair, from the left.
fn join(word: &mut Vec<u32>, pair: (u32, u32), id: u32) {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word.as_slice();
    while let [first, tail @ ..] = rest {
        match tail {
            [second, after @ ..] if (*first, *second) == pair => {
                out.push(id);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    *word = out;
}

fn assemble(ids: HashMap<String, u32>, merges: Vec<(String, String)>, length: usize) -> tokenizers::Result<tokenizers::Tokenizer> {
    let id = |token: &str| ids.get(token).copied().unwrap_or_default();
    let (start, end) = (id(START), id(END));
    let model = BPE::builder()
        .vocab_and_merges(ids.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
        .unk_token(UNKNOWN.to_owned())
        .end_of_word_suffix(END_OF_WORD.to_owned())
        .build()?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer()));
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer()));
    tokenizer.add_special_tokens(&[AddedToken::from(UNKNOWN, true), AddedToken::from(START, true), AddedToken::from(END, true)]);
    let template = TemplateProcessing::builder()
        .try_single(format!("{START} $A {END}"))?
        .special_tokens(vec![(START.to_owned(), start), (END.to_owned(), end)])
        .build()?;
    tokenizer.with_post_processor(Some(template));
    tokenizer.with_truncation(Some(TruncationParams {
        direction: TruncationDirection::Right,
        max_length: length,
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
    }))?;
    tokenizer.with_padding(Some(PaddingParams {
        strategy: PaddingStrategy::Fixed(length),
        direction: PaddingDirection::Right,
        pad_to_multiple_of: None,
        pad_id: end,
        pad_type_id: 0,
        pad_token: END.to_owned(),
    }));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTIONS: [&str; 8] = [
        "red heart",
        "a red heart",
        "Emoji of a red heart",
        "red heart, love",
        "blue heart",
        "woman's boot",
        "piñata",
        "a slice of cake: chocolate & cream",
    ];

    fn trained() -> CaptionTokenizer {
        CaptionTokenizer::train(CAPTIONS, &TokenizerOptions::default()).unwrap()
    }

    #[test]
    fn the_same_captions_give_the_same_bytes() {
        let first = trained();
        for _ in 0..20 {
            assert_eq!(trained().to_json(), first.to_json());
        }
        let mut turned = CAPTIONS;
        turned.reverse();
        let turned = CaptionTokenizer::train(turned, &TokenizerOptions::default()).unwrap();
        assert_eq!(turned.to_json(), first.to_json());
    }

    fn library(tokenizer: &CaptionTokenizer) -> tokenizers::Tokenizer {
        tokenizers::Tokenizer::from_bytes(tokenizer.to_json()).unwrap()
    }

    fn unknown(tokenizer: &CaptionTokenizer, prompt: &str) -> Vec<char> {
        tokenizer.read(prompt).unwrap().unknown
    }

    #[test]
    fn prompts_have_one_length_and_their_marks() {
        let t = trained();
        let heart = t.encode("Red  HEART").unwrap();
        assert_eq!(heart.len(), 16);
        assert_eq!(heart[0], t.tokenizer.start_id());
        assert_eq!(library(&t).id_to_token(heart[2]).as_deref(), Some("heart</w>"), "frequent words are one token");
        assert!(heart[3..].iter().all(|&id| id == t.end_id()));
        assert_eq!(t.end_id() as usize, t.vocabulary_size() - 1);
        let long = t.encode(&"red heart ".repeat(100)).unwrap();
        assert_eq!((long.len(), long[15]), (16, t.end_id()));
        assert!(!long[..15].contains(&t.end_id()));
        // Composed and decomposed letters are the same.
        assert_eq!(t.encode("piñata").unwrap(), t.encode("pin\u{303}ata").unwrap());
        assert!(t.encode(&"x".repeat(70_000)).unwrap_err().to_string().contains("70000 bytes: xxx"));
    }

    #[test]
    fn long_captions_are_counted() {
        let t = trained();
        assert_eq!(t.long_captions(["red heart", "a slice of cake"]).unwrap(), None);
        let (fits, long) = ("red ".repeat(14), "red ".repeat(15));
        let found = t.long_captions(["red heart", &fits, &long, "", &"blue ".repeat(99)]).unwrap().unwrap();
        assert_eq!((found.count, found.total, found.length, found.first.as_str()), (2, 5, 16, long.as_str()));
        let told = t.long_captions([long.as_str()]).unwrap().unwrap().to_string();
        assert_eq!(told, format!("1 of 1 captions is longer than the 16 tokens that are read; the first: {long}"));
    }

    #[test]
    fn the_plain_library_reads_it_and_encodes_the_same() {
        let ours = trained();
        let plain = library(&ours);
        let files = TokenizerContents::new("t", ours.tokenizer.files());
        let again = CaptionTokenizer::new(files.open(Some(77)).unwrap()).unwrap();
        for prompt in CAPTIONS.into_iter().chain(["", " ", "a heart of cake!!", "xyz", "日本", "<|endoftext|> x", "a\u{0}b", "ǅ İ"]) {
            let ids = plain.encode(prompt, true).unwrap().get_ids().to_vec();
            assert_eq!(ours.encode(prompt).unwrap(), ids, "{prompt}");
            assert_eq!(again.encode(prompt).unwrap(), ids, "{prompt}");
        }
        assert_eq!(again.to_json(), ours.to_json());
    }

    #[test]
    fn unknown_characters_are_named_once() {
        let t = trained();
        assert_eq!(unknown(&t, "red heart"), []);
        assert_eq!(unknown(&t, "Red ZEBRA z 日 heart! 日"), ['Z', 'z', '日', '!']);
        assert_eq!(unknown(&t, ""), []);
    }

    #[test]
    fn a_character_seen_anywhere_is_known_everywhere() {
        let t = CaptionTokenizer::train(["ab"], &TokenizerOptions::default()).unwrap();
        assert_eq!(unknown(&t, "ba a b bab"), []);
    }

    /// The library's trainer, its numbering fixed by handing it the same alphabet first, finds the same tokens.
    #[test]
    fn the_tokens_are_those_of_the_library() {
        use tokenizers::Trainer;
        let words = count_words(CAPTIONS).unwrap();
        let learned = learn_merges(&words, 200);
        let alphabet: Vec<AddedToken> = learned
            .tokens
            .iter()
            .filter(|t| t.trim_end_matches(END_OF_WORD).chars().count() == 1)
            .map(|t| AddedToken::from(t.clone(), false))
            .collect();
        let mut trainer = tokenizers::models::bpe::BpeTrainer::builder()
            .min_frequency(LEAST_PAIR_COUNT)
            .vocab_size(200)
            .show_progress(false)
            .special_tokens(alphabet)
            .end_of_word_suffix(END_OF_WORD.to_owned())
            .build();
        let all: Vec<String> = words.iter().flat_map(|(w, n)| std::iter::repeat_n(w.clone(), *n as usize)).collect();
        trainer.feed(all.iter(), |w| Ok(vec![w.to_owned()])).unwrap();
        let mut model = BPE::default();
        trainer.train(&mut model).unwrap();
        let mut theirs: Vec<(u32, String)> = tokenizers::Model::get_vocab(&model).into_iter().map(|(t, id)| (id, t)).collect();
        theirs.sort();
        assert_eq!(theirs.into_iter().map(|(_, t)| t).collect::<Vec<_>>(), learned.tokens);
    }

    #[test]
    fn bad_options_and_files_are_refused() {
        let options = |vocabulary, length| TokenizerOptions { vocabulary, length };
        for bad in [options(4096, 2), options(4096, 5000), options(3, 16), options(usize::MAX, 16)] {
            assert!(CaptionTokenizer::train(CAPTIONS, &bad).is_err());
        }
        assert!(CaptionTokenizer::train([], &TokenizerOptions::default()).is_err());
        assert!(CaptionTokenizer::train(["", "  "], &TokenizerOptions::default()).is_err());
        let refused = |json: &str| {
            let tokenizer = TokenizerContents::new("t", [("tokenizer.json", json.as_bytes().to_vec())]).open(None).map_err(|e| e.to_string());
            tokenizer.and_then(|tokenizer| CaptionTokenizer::new(tokenizer).map_err(|e| e.to_string())).unwrap_err()
        };
        let json = trained().to_json().to_owned();
        for (from, to, part) in
            [("\"Fixed\":16", "\"Fixed\":17", "17"), ("\"NFC\"", "\"NFKD\"", "NFKD"), ("\"dropout\":null", "\"dropout\":0.5", "dropout")]
        {
            assert!(json.contains(from), "{from}");
            let told = refused(&json.replace(from, to));
            assert!(told.starts_with("t/tokenizer.json: ") && told.contains(part), "{told}");
        }
        for cut in (0..json.len()).step_by(97) {
            refused(&json[..json.floor_char_boundary(cut)]);
        }
    }

    #[test]
    fn a_small_vocabulary_keeps_every_character() {
        let t = CaptionTokenizer::train(CAPTIONS, &TokenizerOptions { vocabulary: 16, length: 16 }).unwrap();
        assert!(CAPTIONS.iter().all(|c| unknown(&t, c).is_empty()));
    }
}
