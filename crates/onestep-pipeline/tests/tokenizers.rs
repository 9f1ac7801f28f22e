//! Tokenizer folders against transformers and the `tokenizers` crate.
//!
//! `tests/reference/clip_tokenizer.py` made the fixtures, and makes the folder of the ignored test.

#[path = "../../onestep/src/tokenizer/equality_texts.rs"]
mod equality_texts;

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use onestep::PromptReader;
use onestep_pipeline::PipelineError;
use onestep_pipeline::tokenizer::{Tokenizer, TokenizerContents, open_folder};
use serde_json::{Value, json};

const TEXTS: usize = 100_000;
/// Positions of the text encoder, where a form states no length.
const POSITIONS: usize = 24;

/// Contents by name.
type Files = Vec<(String, Vec<u8>)>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers")
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(fixtures().join(name)).unwrap()
}

fn cases() -> Value {
    serde_json::from_slice(&fixture("cases.json")).unwrap()
}

/// The files of a form, including the vocabulary.
fn form(name: &str) -> Files {
    files_of(cases()["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap())
}

fn files_of(case: &Value) -> Files {
    let mut files: Files = ["vocab.json", "merges.txt"].map(|name| (name.to_owned(), fixture(name))).into();
    files.extend(case["files"].as_object().unwrap().iter().map(|(name, content)| (name.clone(), content.to_string().into_bytes())));
    files
}

fn opened(files: &[(String, Vec<u8>)]) -> Result<Tokenizer, PipelineError> {
    TokenizerContents::new("t", files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()))).open(Some(POSITIONS))
}

fn refusal(files: &[(String, Vec<u8>)]) -> String {
    opened(files).unwrap_err().to_string()
}

/// The form `sd1` with other content in a JSON file.
fn changed(name: &str, edit: impl FnOnce(&mut Value)) -> Files {
    let mut files = form("sd1");
    let file = files.iter_mut().find(|(file, _)| file == name).unwrap();
    let mut value = serde_json::from_slice(&file.1).unwrap();
    edit(&mut value);
    file.1 = value.to_string().into_bytes();
    files
}

/// The form `sd1` with other bytes in a file.
fn replaced(name: &str, bytes: impl Into<Vec<u8>>) -> Files {
    let mut files = form("sd1");
    files.retain(|(file, _)| file != name);
    files.push((name.to_owned(), bytes.into()));
    files
}

fn reader(tokenizer: &Tokenizer) -> PromptReader {
    PromptReader::new(tokenizer.json().as_bytes(), "tokenizer.json", tokenizer.length(), tokenizer.vocabulary_size()).unwrap()
}

#[test]
fn every_form_gives_the_ids_of_transformers() {
    let cases = cases();
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut files = files_of(case);
        let tokenizer = opened(&files).unwrap();
        let stated = case["model_max_length"].as_u64().unwrap() as usize;
        assert_eq!(tokenizer.length(), if stated == 1_000_000 { POSITIONS } else { stated }, "{name}");
        assert_eq!(u64::from(tokenizer.pad_id()), case["pad_id"], "{name}");
        let json: Value = serde_json::from_str(tokenizer.json()).unwrap();
        assert_eq!(json["added_tokens"], case["added_tokens"], "{name}");
        // What is written is read again as the same, with the configuration and without it.
        let written: Files = tokenizer.files().map(|(name, bytes)| (name.to_owned(), bytes)).into();
        assert_eq!(opened(&written).unwrap().files(), tokenizer.files(), "{name}");
        assert_eq!(opened(&written[..1]).unwrap().json(), tokenizer.json(), "{name}");
        // The ids of the fixtures are fewer than those of most forms, to keep them small.
        files.retain(|(file, _)| file != "tokenizer_config.json");
        let mut config = case["files"].get("tokenizer_config.json").cloned().unwrap_or_else(|| json!({}));
        config["model_max_length"] = case["length"].clone();
        files.push(("tokenizer_config.json".into(), config.to_string().into_bytes()));
        let reader = reader(&opened(&files).unwrap());
        for (text, ids) in cases["texts"].as_array().unwrap().iter().zip(case["ids"].as_array().unwrap()) {
            assert_eq!(json!(reader.encode(text.as_str().unwrap()).unwrap().ids), *ids, "{name}: {text}");
        }
    }
}

/// `tokenizer.json` as transformers 5 writes it after the tokenizer was used, as it writes it before, and as older versions wrote it.
#[test]
fn vocabulary_and_merges_become_what_transformers_writes() {
    let used: Value = serde_json::from_slice(&fixture("transformers-5-tokenizer.json")).unwrap();
    let config = ("tokenizer_config.json".to_owned(), fixture("transformers-5-tokenizer_config.json"));
    let open = |json: &Value| opened(&[("tokenizer.json".into(), json.to_string().into_bytes()), config.clone()]).unwrap();
    assert_eq!(open(&used).json(), opened(&form("sd2")).unwrap().json());

    let mut fresh = used.clone();
    (fresh["padding"], fresh["truncation"]) = (Value::Null, Value::Null);
    assert_eq!(open(&fresh), open(&used));
    let mut old = fresh;
    for merge in old["model"]["merges"].as_array_mut().unwrap() {
        *merge = format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()).into();
    }
    old["model"].as_object_mut().unwrap().remove("type");
    assert_eq!(open(&old), open(&used));
    // The length is that of the configuration, although the tokenizer was last used with another.
    assert_eq!((open(&old).length(), open(&old).pad_id()), (77, 0));
}

fn equal_to_the_library(tokenizer: &Tokenizer, texts: usize) {
    let theirs = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
    let ours = reader(tokenizer);
    let mut random = Rng::with_seed(2);
    for _ in 0..texts {
        let text = equality_texts::text(&mut random);
        let expected: Vec<i32> = theirs.encode(text.as_str(), true).unwrap().get_ids().iter().map(|&id| id as i32).collect();
        assert_eq!(ours.encode(&text).unwrap().ids, expected, "{text:?}");
    }
}

#[test]
fn the_published_forms_ids_are_those_of_the_library() {
    for name in ["sd1", "sd2", "left"] {
        equal_to_the_library(&opened(&form(name)).unwrap(), TEXTS);
    }
}

#[test]
fn a_trained_tokenizers_ids_are_those_of_the_library() {
    let trained = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji/tokenizer.json")).unwrap();
    let tokenizer = opened(&[("tokenizer.json".into(), trained)]).unwrap();
    assert_eq!((tokenizer.end_id(), tokenizer.pad_id()), (tokenizer.vocabulary_size() as u32 - 1, tokenizer.end_id()));
    equal_to_the_library(&tokenizer, TEXTS);
}

/// The whole vocabulary of CLIP, in a folder that the script writes.
#[test]
#[ignore = "needs the whole vocabulary: ONESTEP_CLIP_TOKENIZER"]
fn clips_own_vocabulary_gives_the_ids_of_transformers_and_of_the_library() {
    let folder = PathBuf::from(std::env::var_os("ONESTEP_CLIP_TOKENIZER").expect("a folder of clip_tokenizer.py"));
    let tokenizer = open_folder(&folder, None).unwrap();
    assert_eq!((tokenizer.length(), tokenizer.vocabulary_size(), tokenizer.pad_id()), (77, 49408, 49407));
    let reader = reader(&tokenizer);
    let cases: Value = serde_json::from_slice(&fs::read(folder.join("ids.json")).unwrap()).unwrap();
    for (text, ids) in cases["texts"].as_array().unwrap().iter().zip(cases["ids"].as_array().unwrap()) {
        assert_eq!(json!(reader.encode(text.as_str().unwrap()).unwrap().ids), *ids, "{text}");
    }
    equal_to_the_library(&tokenizer, TEXTS);
}

#[test]
fn marks_line_ends_and_the_version_line_do_not_matter() {
    let expected = opened(&form("sd1")).unwrap();
    let merges = String::from_utf8(fixture("merges.txt")).unwrap();
    let (_, without_version) = merges.split_once('\n').unwrap();
    let texts = [
        format!("\u{feff}{merges}"),
        merges.replace('\n', "\r\n"),
        without_version.to_owned(),
        format!("{merges}\n\n"),
        merges.trim_end().to_owned(),
    ];
    for text in texts {
        assert_eq!(opened(&replaced("merges.txt", text)).unwrap(), expected);
    }
    for name in ["vocab.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let mut files = form("sd1");
        for (_, bytes) in files.iter_mut().filter(|(file, _)| file == name) {
            bytes.splice(0..0, *b"\xef\xbb\xbf");
        }
        assert_eq!(opened(&files).unwrap(), expected, "{name}");
    }
}

#[test]
fn the_length_is_that_of_the_configuration_then_of_the_file_then_of_the_encoder() {
    let config = |length: Value| changed("tokenizer_config.json", |config| config["model_max_length"] = length);
    for (length, expected) in [(json!(16), 16), (json!(16.0), 16), (json!(1e30), POSITIONS), (Value::Null, POSITIONS), (json!(u64::MAX), POSITIONS)] {
        assert_eq!(opened(&config(length)).unwrap().length(), expected);
    }
    for length in [json!(0), json!(2), json!(-1), json!("77"), json!(77.5), json!(1025)] {
        let told = refusal(&config(length));
        assert!(told.starts_with("t/tokenizer_config.json: model_max_length is"), "{told}");
    }
    let mut json: Value = serde_json::from_slice(&fixture("transformers-5-tokenizer.json")).unwrap();
    let open = |json: &Value, positions| TokenizerContents::new("t", [("tokenizer.json", json.to_string().into_bytes())]).open(positions);
    assert_eq!(open(&json, Some(77)).unwrap().length(), 24);
    json["padding"]["strategy"]["Fixed"] = 23.into();
    assert!(open(&json, Some(77)).unwrap_err().to_string().contains("23 tokens and truncates them to 24"));
    (json["padding"], json["truncation"]) = (Value::Null, Value::Null);
    assert_eq!(open(&json, Some(77)).unwrap().length(), 77);
    assert_eq!(open(&json, Some(77)).unwrap().pad_id(), json["model"]["vocab"]["<|endoftext|>"]);
    assert!(open(&json, None).unwrap_err().to_string().contains("model_max_length"));
}

#[test]
fn a_folder_is_read_from_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let told = || open_folder(folder, None).unwrap_err().to_string();
    assert!(told().contains("found neither"), "{}", told());
    fs::copy(fixtures().join("vocab.json"), folder.join("vocab.json")).unwrap();
    assert!(told().contains("found only vocab.json; fetch merges.txt"), "{}", told());
    fs::copy(fixtures().join("merges.txt"), folder.join("merges.txt")).unwrap();
    assert!(told().contains("model_max_length"));
    assert_eq!(open_folder(folder, Some(77)).unwrap().length(), 77);
    fs::write(folder.join("added_tokens.json"), vec![b' '; (8 << 20) + 1]).unwrap();
    assert!(told().contains("added_tokens.json") && told().contains("at most"), "{}", told());
}

#[test]
fn hostile_files_are_refused_by_file_and_key() {
    let map = |edit: fn(&mut Value)| changed("special_tokens_map.json", edit);
    let config = |edit: fn(&mut Value)| changed("tokenizer_config.json", edit);
    let vocabulary = |edit: fn(&mut Value)| changed("vocab.json", edit);
    let nested = format!("{}{}", "{\"a\":".repeat(20), "}".repeat(20));
    let cases: Vec<(Files, &[&str])> = vec![
        (replaced("merges.txt", "i n\nq"), &["t/merges.txt", "line 2", "\"q\""]),
        (replaced("merges.txt", "i n x"), &["t/merges.txt", "line 1"]),
        (replaced("merges.txt", " i"), &["t/merges.txt", "line 1"]),
        (replaced("merges.txt", "i ☃"), &["t/merges.txt", "line 1", "☃"]),
        (replaced("merges.txt", b"i \xff".to_vec()), &["t/merges.txt", "UTF-8"]),
        (replaced("merges.txt", "i n\n".repeat(300_001)), &["t/merges.txt", "300001"]),
        (replaced("merges.txt", vec![b'\n'; (8 << 20) + 1]), &["t/merges.txt", "limit"]),
        (replaced("vocab.json", ""), &["t/vocab.json", "empty"]),
        (replaced("vocab.json", "[]"), &["t/vocab.json", "object"]),
        (replaced("vocab.json", nested), &["t/vocab.json", "nesting"]),
        (replaced("vocab.json", vec![b'{'; 60_000]), &["t/vocab.json", "objects"]),
        (replaced("vocab.json", b"\xff\xfe{".to_vec()), &["t/vocab.json", "byte order mark"]),
        (replaced("vocab.json", "{\"a\": 1"), &["t/vocab.json"]),
        (vocabulary(|all| drop(all.as_object_mut().unwrap().remove("<|endoftext|>"))), &["t/vocab.json", "<|endoftext|>", "unk_token"]),
        (vocabulary(|all| all["<|endoftext|>"] = json!(-1)), &["t/vocab.json", "<|endoftext|>"]),
        (vocabulary(|all| all["a"] = json!(0)), &["t/vocab.json", "\"!\"", "\"a\"", "id 0"]),
        (vocabulary(|all| all["a"] = json!("x")), &["t/vocab.json", "\"a\""]),
        (vocabulary(|all| all["a"] = json!(1u64 << 32)), &["t/vocab.json", "\"a\""]),
        (config(|config| config["tokenizer_class"] = "GPT2Tokenizer".into()), &["t/tokenizer_config.json", "tokenizer_class", "GPT2Tokenizer"]),
        (config(|config| config["tokenizer_class"] = 3.into()), &["t/tokenizer_config.json", "tokenizer_class"]),
        (config(|config| config["padding_side"] = "up".into()), &["t/tokenizer_config.json", "padding_side"]),
        (config(|config| config["bos_token"] = 3.into()), &["t/tokenizer_config.json", "bos_token"]),
        (config(|config| config["added_tokens_decoder"] = json!([])), &["t/tokenizer_config.json", "added_tokens_decoder"]),
        (config(|config| config["added_tokens_decoder"] = json!({ "x": "y" })), &["t/tokenizer_config.json", "added_tokens_decoder", "\"x\""]),
        (config(|config| config["added_tokens_decoder"] = json!({ "5": { "content": "i" } })), &["t/tokenizer_config.json", "\"i\"", "id 5"]),
        (config(|config| config["added_tokens_decoder"] = json!({ "5": { "content": "i", "lstrip": 1 } })), &["lstrip"]),
        (map(|map| map["pad_token"] = json!({})), &["t/special_tokens_map.json", "pad_token", "content"]),
        (map(|map| map["additional_special_tokens"] = "x".into()), &["t/special_tokens_map.json", "additional_special_tokens"]),
        (replaced("added_tokens.json", "{\"x\": null}"), &["t/added_tokens.json", "\"x\""]),
        (replaced("tokenizer.json", "{}"), &["t/tokenizer.json", "model"]),
        (replaced("tokenizer.json", "{\"model\":{}}"), &["t/tokenizer.json", "post_processor"]),
    ];
    for (files, parts) in cases {
        let told = refusal(&files);
        assert!(parts.iter().all(|part| told.contains(part)), "{told} has not all of {parts:?}");
        assert!(told.len() < 2_000, "{} bytes", told.len());
    }
    // Keys of tokenizer.json that the conversion reads itself.
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 6] = [
        (|json| json["padding"]["pad_to_multiple_of"] = 7.into(), "pad_to_multiple_of"),
        (|json| json["padding"]["pad_to_multiple_of"] = 0.into(), "pad_to_multiple_of"),
        (|json| json["padding"]["pad_id"] = (-1).into(), "pad_id"),
        (|json| json["padding"]["pad_id"] = 5_000_000.into(), "pad_id"),
        (|json| json["truncation"]["direction"] = "Up".into(), "truncation.direction"),
        (|json| json["truncation"]["max_length"] = "x".into(), "truncation.max_length"),
    ];
    for (edit, key) in edits {
        let mut json = serde_json::from_slice(&fixture("transformers-5-tokenizer.json")).unwrap();
        edit(&mut json);
        let told = refusal(&[("tokenizer.json".into(), json.to_string().into_bytes())]);
        assert!(told.starts_with("t/tokenizer.json: ") && told.contains(key), "{told}");
    }
}
