//! A tokenizer learned from captions, saved as a `tokenizer.json` of the `tokenizers` library.
//!
//! Text is normalised to NFC and lower case, split at white space and punctuation, and encoded by byte-pair encoding; the last token of a word
//! ends in `</w>`. The special tokens have the highest ids, `<|endoftext|>` the very highest. All of this is as in CLIP.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, Sequence as Normalizers};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PaddingDirection, PaddingParams, PaddingStrategy, PreTokenizedString,
    PreTokenizer, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

use super::error::{DataError, shown};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const UNKNOWN: &str = "<|unk|>";
const END_OF_WORD: &str = "</w>";
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=1024;
const VOCABULARY: std::ops::RangeInclusive<usize> = 16..=300_000;
const MAX_JSON_BYTES: usize = 8 << 20;
const MAX_PROMPT_BYTES: usize = 64 << 10;
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
#[derive(Debug, Clone)]
pub struct CaptionTokenizer {
    tokenizer: Tokenizer,
    json: String,
    length: usize,
    vocabulary: usize,
    start: u32,
    end: u32,
    unknown: u32,
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
        let json = tokenizer.to_string(true).map_err(|e| DataError::internal("writing a tokenizer", e.to_string()))?;
        // Use the tokenizer that readers of the file will get.
        Self::from_json(json.as_bytes())
    }

    /// The texts of the tokens that begin a prompt, end it, and stand for unknown characters.
    pub fn special_tokens(&self) -> [&'static str; 3] {
        [START, END, UNKNOWN]
    }

    /// Reads the bytes of a `tokenizer.json`. It must have a fixed length and the special tokens.
    ///
    /// # Errors
    /// A file that the runtime does not support, or without fixed length or special tokens.
    pub fn from_json(json: &[u8]) -> Result<Self, DataError> {
        let refuse = |expected: &str, found: String| {
            DataError::input("reading a tokenizer", expected, found).advise("use the tokenizer.json that was saved with the checkpoint")
        };
        if json.len() > MAX_JSON_BYTES {
            return Err(refuse("at most 8 MiB", format!("{} bytes", json.len())));
        }
        let text = std::str::from_utf8(json).map_err(|_| refuse("UTF-8 text", "other bytes".into()))?;
        // The runtime's reader first: what it does not know would make a bundle that nothing opens, and the crate behind the next line is not
        // made for files of unknown origin.
        onestep::check_tokenizer(json, "tokenizer.json").map_err(|e| refuse("a tokenizer.json that models can be run with", e.to_string()))?;
        let tokenizer = Tokenizer::from_bytes(json).map_err(|e| refuse("a tokenizer.json", shown(&e.to_string())))?;
        let length = match (tokenizer.get_padding().map(|p| &p.strategy), tokenizer.get_truncation().map(|t| t.max_length)) {
            (Some(PaddingStrategy::Fixed(pad)), Some(cut)) if *pad == cut && LENGTHS.contains(pad) => *pad,
            _ => return Err(refuse("padding and truncation to the same length from 3 to 1,024", "another length or none".into())),
        };
        let special = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| refuse("the three special tokens", format!("no {token}")));
        let (start, end, unknown) = (special(START)?, special(END)?, special(UNKNOWN)?);
        let ids = tokenizer.get_vocab(true);
        let vocabulary = ids.len();
        if ids.values().any(|&id| id as usize >= vocabulary) {
            return Err(refuse("ids without gaps", format!("an id above {vocabulary}")));
        }
        let this = Self { tokenizer, json: text.to_owned(), length, vocabulary, start, end, unknown };
        let empty = this.encode("")?;
        if empty.first() != Some(&start) || empty[1..].iter().any(|&id| id != end) {
            return Err(refuse("prompts that begin with the start token and are filled with the end token", "something else".into()));
        }
        Ok(this)
    }

    /// The text of `tokenizer.json`.
    pub fn to_json(&self) -> &str {
        &self.json
    }

    /// The ids of a prompt: always [`CaptionTokenizer::length`].
    ///
    /// # Errors
    /// A prompt above 64 KiB, a tokenizer that gives another number of ids.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>, DataError> {
        if prompt.len() > MAX_PROMPT_BYTES {
            return Err(DataError::input("reading a prompt", "at most 64 KiB", format!("{} bytes", prompt.len())).advise("shorten it"));
        }
        let refuse = |found: String| {
            DataError::input("turning a prompt into tokens", format!("{} ids for every prompt", self.length), found)
                .advise("use another tokenizer.json")
        };
        let encoding = self.tokenizer.encode(prompt, true).map_err(|e| refuse(e.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        if ids.len() != self.length {
            return Err(refuse(format!("{} ids", ids.len())));
        }
        Ok(ids)
    }

    /// Ids per prompt.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Ids run from 0 to one below this.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary
    }

    /// The id that every prompt begins with.
    pub fn start_id(&self) -> u32 {
        self.start
    }

    /// The id that ends and pads a prompt; the highest of all.
    pub fn end_id(&self) -> u32 {
        self.end
    }

    /// The id of characters that were in no caption.
    pub fn unknown_id(&self) -> u32 {
        self.unknown
    }

    /// The library's tokenizer.
    pub fn inner(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// The characters of a prompt, after normalisation, that the tokenizer has no token for, in order, each once.
pub fn unknown_characters(tokenizer: &Tokenizer, prompt: &str) -> Vec<char> {
    let unknown = match tokenizer.get_model() {
        ModelWrapper::BPE(model) => model.unk_token.as_ref().and_then(|token| tokenizer.token_to_id(token)),
        _ => tokenizer.token_to_id(UNKNOWN),
    };
    let Some(unknown) = unknown else { return Vec::new() };
    let mut text = NormalizedString::from(prompt);
    if let Some(normalizer) = tokenizer.get_normalizer()
        && normalizer.normalize(&mut text).is_err()
    {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    text.get()
        .chars()
        .filter(|&c| !c.is_whitespace() && seen.insert(c))
        .filter(|c| tokenizer.encode(c.to_string(), false).is_ok_and(|ids| ids.get_ids().contains(&unknown)))
        .collect()
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

fn assemble(ids: HashMap<String, u32>, merges: Vec<(String, String)>, length: usize) -> tokenizers::Result<Tokenizer> {
    let id = |token: &str| ids.get(token).copied().unwrap_or_default();
    let (start, end) = (id(START), id(END));
    let model = BPE::builder()
        .vocab_and_merges(ids.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
        .unk_token(UNKNOWN.to_owned())
        .end_of_word_suffix(END_OF_WORD.to_owned())
        .build()?;
    let mut tokenizer = Tokenizer::new(model);
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

    #[test]
    fn prompts_have_one_length_and_their_marks() {
        let t = trained();
        let heart = t.encode("Red  HEART").unwrap();
        assert_eq!(heart.len(), 16);
        assert_eq!(heart[0], t.start_id());
        assert_eq!(t.inner().id_to_token(heart[2]).as_deref(), Some("heart</w>"), "frequent words are one token");
        assert!(heart[3..].iter().all(|&id| id == t.end_id()));
        assert_eq!(t.end_id() as usize, t.vocabulary_size() - 1);
        let long = t.encode(&"red heart ".repeat(100)).unwrap();
        assert_eq!((long.len(), long[15]), (16, t.end_id()));
        assert!(!long[..15].contains(&t.end_id()));
        // Composed and decomposed letters are the same.
        assert_eq!(t.encode("piñata").unwrap(), t.encode("pin\u{303}ata").unwrap());
        assert!(t.encode(&"x".repeat(70_000)).is_err());
    }

    #[test]
    fn the_plain_library_reads_it_and_encodes_the_same() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokenizer.json");
        let ours = trained();
        std::fs::write(&path, ours.to_json()).unwrap();
        let plain = Tokenizer::from_file(&path).unwrap();
        let again = CaptionTokenizer::from_json(&std::fs::read(&path).unwrap()).unwrap();
        for prompt in CAPTIONS.into_iter().chain(["", " ", "a heart of cake!!", "xyz", "日本", "<|endoftext|> x", "a\u{0}b", "ǅ İ"]) {
            let ids = plain.encode(prompt, true).unwrap().get_ids().to_vec();
            assert_eq!(ours.encode(prompt).unwrap(), ids, "{prompt}");
            assert_eq!(again.encode(prompt).unwrap(), ids, "{prompt}");
        }
        assert_eq!(plain.to_string(true).unwrap(), ours.to_json());
    }

    #[test]
    fn unknown_characters_are_named_once() {
        let t = trained();
        assert_eq!(unknown_characters(t.inner(), "red heart"), []);
        assert_eq!(unknown_characters(t.inner(), "Red ZEBRA z 日 heart! 日"), ['z', '日', '!']);
        assert_eq!(unknown_characters(t.inner(), ""), []);
        assert!(t.encode("zebra").unwrap().contains(&t.unknown_id()));
        assert!(!t.encode("heart").unwrap().contains(&t.unknown_id()));
    }

    #[test]
    fn a_character_seen_anywhere_is_known_everywhere() {
        let t = CaptionTokenizer::train(["ab"], &TokenizerOptions::default()).unwrap();
        assert_eq!(unknown_characters(t.inner(), "ba a b bab"), []);
        assert!(!t.encode("ba aab").unwrap().contains(&t.unknown_id()));
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
        let json = trained().to_json().to_owned();
        for bad in ["", "{}", "[", &json.replace("\"Fixed\": 16", "\"Fixed\": 17"), &json.replace("<|unk|>", "<|unx|>")] {
            assert!(CaptionTokenizer::from_json(bad.as_bytes()).is_err());
        }
        for cut in (0..json.len()).step_by(97) {
            assert!(CaptionTokenizer::from_json(&json.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn a_small_vocabulary_keeps_every_character() {
        let t = CaptionTokenizer::train(CAPTIONS, &TokenizerOptions { vocabulary: 16, length: 16 }).unwrap();
        assert!(CAPTIONS.iter().all(|c| unknown_characters(t.inner(), c).is_empty()));
    }
}
