use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::parquet_column::unpacked_size;
use super::*;

fn written(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(name: &str, bytes: &[u8], column: Option<&str>) -> Result<PromptFile, PipelineError> {
    let (_folder, path) = written(name, bytes);
    PromptFile::read(&path, column)
}

fn prompts(name: &str, bytes: &[u8], column: Option<&str>) -> (Vec<String>, u64) {
    let file = read(name, bytes, column).unwrap();
    (file.prompts, file.blank)
}

fn refusal(name: &str, bytes: &[u8], column: Option<&str>) -> String {
    read(name, bytes, column).expect_err("refused").to_string()
}

const MARK: &str = "\u{feff}";

#[test]
fn text_has_a_prompt_on_each_line() {
    let expected = (vec!["a red heart".to_owned(), "ein Bär".into(), "a red heart".into(), "<lora> x".into()], 2);
    for text in ["a red heart\n\n  ein Bär \t\n \na red heart\n<lora> x", "a red heart\r\n\r\nein Bär\r\n\r\na red heart\r\n<lora> x\r\n"] {
        assert_eq!(prompts("a.txt", text.as_bytes(), None), expected);
        assert_eq!(prompts("prompts", format!("{MARK}{text}").as_bytes(), None), expected);
    }
    assert_eq!(prompts("a.txt", b"<html", None).0, ["<html"]);
}

#[test]
fn json_lines_have_a_key_with_the_prompt() {
    let lines = "{\"text\": \"a \\\"b\\\"\", \"n\": 1}\r\n\r\n{\"caption\": \"c\"}\n{\"prompt\": \"\\n\"}\n{\"prompt\": null}\n{\"prompt\": \"p\", \"caption\": \"d\"}";
    assert_eq!(prompts("a.jsonl", format!("{MARK}{lines}").as_bytes(), None), (vec!["a \"b\"".to_owned(), "c".into(), "d".into()], 3));
    assert_eq!(prompts("a.NDJSON", b"{\"text\": \"a\", \"short\": \"b\"}", Some("short")).0, ["b"]);
}

#[test]
fn csv_has_a_column_with_the_prompt() {
    let rows = "id,Prompt\r\n1,a\r\n2,\"b, \"\"c\"\"\"\r\n\r\n3,\r\n4,\"two\nlines\"\r\n5,a";
    let expected = (["a", "b, \"c\"", "two\nlines", "a"].map(str::to_owned).to_vec(), 1);
    assert_eq!(prompts("a.csv", rows.as_bytes(), None), expected);
    assert_eq!(prompts("a.csv", format!("{MARK}{rows}").as_bytes(), Some("Prompt")), expected);
    assert_eq!(prompts("a.tsv", b"text\tother\nx, y\tz\n", None).0, ["x, y"]);
    // A field longer than the buffers it begins with, and more fields.
    let long = "x".repeat(20_000);
    let names = (0..200).map(|field| format!("n{field}")).collect::<Vec<_>>().join(",");
    let row = (0..200).map(|field| if field == 150 { long.clone() } else { field.to_string() }).collect::<Vec<_>>().join(",");
    assert_eq!(prompts("a.csv", format!("{names}\n{row}\n").as_bytes(), Some("n150")).0, [long]);
}

const SCHEMA: &str = "message m { optional int32 id; required binary caption (STRING); optional binary other (UTF8); repeated binary list (UTF8); optional binary raw; }";

/// Four rows: `other` is null in the second.
fn table(packing: Compression, dictionary: bool) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(packing).set_dictionary_enabled(dictionary).set_data_page_row_count_limit(2).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(parse_message_type(SCHEMA).unwrap()), Arc::new(properties)).unwrap();
    for group in [["a", "b"], ["a", "c"]] {
        let mut groups = writer.next_row_group().unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|text| ByteArray::from(text.as_bytes().to_vec())).collect::<Vec<_>>();
        let mut column = groups.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&[1, 2], Some(&[1, 1]), None).unwrap();
        column.close().unwrap();
        for (values, present, repeated) in [
            (texts(&group), None, None),
            (if group[1] == "b" { texts(&["x"]) } else { texts(&["y", "z"]) }, Some(if group[1] == "b" { [1, 0] } else { [1, 1] }), None),
            (texts(&group), Some([1, 1]), Some([0, 0])),
            (vec![ByteArray::from(vec![0xff]); 2], Some([1, 1]), None),
        ] {
            let mut column = groups.next_column().unwrap().unwrap();
            let (present, repeated): (Option<[i16; 2]>, Option<[i16; 2]>) = (present, repeated);
            column.typed::<ByteArrayType>().write_batch(&values, present.as_ref().map(|l| &l[..]), repeated.as_ref().map(|l| &l[..])).unwrap();
            column.close().unwrap();
        }
        groups.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_has_a_column_with_the_prompt() {
    for packing in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        for dictionary in [false, true] {
            let bytes = table(packing, dictionary);
            assert_eq!(prompts("a.parquet", &bytes, None), (["a", "b", "a", "c"].map(str::to_owned).to_vec(), 0), "{packing} {dictionary}");
            assert_eq!(prompts("a.PARQUET", &bytes, Some("other")), (["x", "y", "z"].map(str::to_owned).to_vec(), 1), "{packing} {dictionary}");
        }
    }
    let bytes = table(Compression::SNAPPY, true);
    for (column, parts) in [
        ("id", ["column id", "INT32"]),
        ("list", ["column list", "lists"]),
        ("raw", ["row 1 of column raw", "other bytes"]),
        ("none", ["a column none", "\"caption\""]),
    ] {
        let told = refusal("a.parquet", &bytes, Some(column));
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[test]
fn damaged_parquet_is_refused() {
    for (packing, dictionary) in [(Compression::UNCOMPRESSED, false), (Compression::SNAPPY, true)] {
        let whole = table(packing, dictionary);
        let read = |bytes: Vec<u8>| parquet_column::read(Bytes::from(bytes), None, &mut Collector::new(Path::new("a.parquet")));
        for length in 0..whole.len() {
            read(whole[..length].to_vec()).expect_err("a part of a file");
        }
        // A changed byte may be harmless; it never ends in a panic.
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                read(bytes).unwrap_or_default();
            }
        }
    }
}

#[test]
fn the_size_that_a_page_states_is_read_from_its_header() {
    let bytes = table(Compression::SNAPPY, false);
    // The first page follows the mark of the file: two numbers of 4 bytes.
    assert_eq!(unpacked_size(&bytes[4..]), Some(8 + 6));
    assert_eq!(unpacked_size(&[0x15, 0x00, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f]), Some(i64::from(i32::MAX)));
    assert_eq!(unpacked_size(&[0x15, 0x00, 0x15, 0x01]), Some(-1));
    for other in [&b"PAR1"[..], &[0x15, 0x00, 0x15, 0x80], &[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00], &[]] {
        assert_eq!(unpacked_size(other), None);
    }
}

#[test]
fn each_mistake_has_its_sentence() {
    let deep = "[".repeat(100_000);
    let long = "x".repeat(70_000);
    type Case<'a> = (&'a str, &'a [u8], Option<&'a str>, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("a.txt", b"", None, &["a.txt", "expected prompts, found none"]),
        ("a.txt", b"\n \n", None, &["2 blank lines"]),
        ("a.txt", b"a\nb \xff\n", None, &["line 2, byte 3", "UTF-8"]),
        ("a.txt", b"a\0b", None, &["line 1", "zero byte after 1"]),
        ("a.txt", b"\xff\xfea\0", None, &["UTF-16"]),
        ("a.txt", b"PAR1....", None, &["Parquet", ".parquet"]),
        ("a.txt", b"\x1f\x8b\x08", None, &["gzip"]),
        ("a.txt", b"PK\x03\x04", None, &["ZIP"]),
        ("a.txt", long.as_bytes(), None, &["line 1", "65536", "70000"]),
        ("a.txt", b"a", Some("text"), &["plain text", "leave --caption-column out"]),
        ("a.json", b"[]", None, &[".jsonl"]),
        ("a.png", b"x", None, &[".png"]),
        ("a.jsonl", b"{\"text\": \"a\"}\n{\"text\"", None, &["line 2, column 7", "EOF"]),
        ("a.jsonl", b"\"a\"", None, &["line 1", "a JSON object", "a"]),
        ("a.jsonl", b"{\"text\": 7}", None, &["line 1", "the key \"text\"", "7"]),
        ("a.jsonl", b"{\"x\": 7, \"y\": 8}", None, &["line 1", "text, caption or prompt", "\"x\", \"y\"", "--caption-column"]),
        ("a.jsonl", b"{\"text\": \"a\"}", Some("y"), &["a key \"y\"", "\"text\""]),
        ("a.jsonl", deep.as_bytes(), None, &["line 1", "recursion"]),
        ("a.csv", b"a,b\n1,2\n", None, &["line 1", "text, caption or prompt", "\"a\", \"b\"", "--caption-column"]),
        ("a.csv", b"text,text\n1,2\n", None, &["line 1", "one column text"]),
        ("a.csv", b"text,b\r\n1,2\r\n\r\n1,2,3\r\n", None, &["line 4", "2 fields", "found 3"]),
        ("a.csv", b"text,b\n\"1\n1\",2\n1\n", None, &["line 4", "2 fields", "found 1"]),
        ("a.csv", b"text,b\n\xff,2\n", None, &["line 2, field 1", "UTF-8"]),
        ("a.csv", b"", None, &["found none"]),
        ("a.parquet", b"PAR1", None, &["a Parquet file"]),
        ("a.parquet", b"", None, &["a Parquet file"]),
    ];
    for (name, bytes, column, parts) in cases {
        let told = refusal(name, bytes, *column);
        assert!(told.starts_with("reading the prompts in ") && parts.iter().all(|part| told.contains(part)), "{name} {parts:?}: {told}");
    }
    let quote = [b"text\n\"".to_vec(), vec![b'x'; 17 << 20]].concat();
    let told = refusal("a.csv", &quote, None);
    assert!(told.contains("begins in line 2") && told.contains("a quote missing"), "{told}");
    let told = refusal("a.jsonl", &vec![b' '; 17 << 20], None);
    assert!(told.contains("line 1") && told.contains("16 MiB"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    assert!(PromptFile::read(folder.path(), None).unwrap_err().to_string().contains("found a folder"));
    assert!(PromptFile::read(&folder.path().join("none.txt"), None).unwrap_err().to_string().contains("nothing there"));
    #[cfg(unix)]
    assert!(PromptFile::read(Path::new("/dev/zero"), None).unwrap_err().to_string().contains("a device"));
}
