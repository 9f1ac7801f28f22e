//! Reads files of prompts that pyarrow wrote (`tests/reference/prompts.py`).

use std::path::Path;

use onestep_pipeline::prompts::PromptFile;

fn read(name: &str, column: Option<&str>) -> Result<PromptFile, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/prompts");
    PromptFile::read(&folder.join(name), column).map_err(|error| error.to_string())
}

#[test]
fn columns_are_read_however_they_are_packed() {
    let all = (0..50).flat_map(|number| ["red", "grün"].map(|colour| format!("a {colour} heart number {}", number % 7)));
    let expected: Vec<String> = all.enumerate().filter(|(row, _)| ![5, 6].contains(row)).map(|(_, text)| text).collect();
    for name in ["snappy.parquet", "zstd.parquet", "delta.parquet"] {
        for column in [None, Some("prompt"), Some("long")] {
            let file = read(name, column).unwrap();
            assert_eq!((file.prompts(), file.blank()), (&expected[..], 2), "{name} {column:?}");
        }
        let told = read(name, Some("list.list.element")).unwrap_err();
        assert!(told.contains("column list.list.element") && told.contains("lists"), "{told}");
    }
}

#[test]
fn other_compressions_are_named() {
    let told = read("gzip.parquet", None).unwrap_err();
    assert!(told.contains("gzip.parquet, column prompt") && told.contains("snappy or zstd") && told.contains("GZIP"), "{told}");
}
