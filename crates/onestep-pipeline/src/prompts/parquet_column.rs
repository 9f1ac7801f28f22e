//! A column of texts of a Parquet file.

use std::io::Read;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use super::collector::Collector;
use super::column::{NAME_THE_COLUMN, choose, wanted};
use super::refusal::refusal;
use crate::error::PipelineError;

/// Most bytes of a page after it is unpacked.
const MAX_PAGE_BYTES: i64 = 256 << 20;
/// Most bytes of the description at the file's end.
const MAX_FOOTER_BYTES: usize = 64 << 20;
/// Rows per read.
const ROWS: usize = 4096;

/// Reads all rows of the column.
pub(super) fn read(file: impl ChunkReader + 'static, column: Option<&str>, collector: &mut Collector<'_>) -> Result<(), PipelineError> {
    let path = collector.path();
    let damaged = |error: ParquetError| {
        let said = error.to_string();
        refusal(path, "", "a Parquet file", format_args!("one that cannot be read ({})", said.trim_end()), "fetch or write it again")
    };
    let reader = SerializedFileReader::new(GuardedFile(file)).map_err(damaged)?;
    let metadata = reader.metadata();
    let columns = metadata.file_metadata().schema_descr().columns();
    let names: Vec<String> = columns.iter().map(|column| column.path().string()).collect();
    let chosen =
        choose(&names, column).map_err(|found| collector.refuse("", wanted(column), format_args!("the columns {found}"), NAME_THE_COLUMN))?;
    let (descriptor, name) = (&columns[chosen], &names[chosen]);
    let refuse = |expected: &str, found: String, advice: &str| Err(refusal(path, format_args!("column {name}"), expected, found, advice));
    if descriptor.physical_type() != Type::BYTE_ARRAY {
        return refuse("texts", format!("values of type {}", descriptor.physical_type()), NAME_THE_COLUMN);
    }
    if descriptor.max_rep_level() > 0 {
        return refuse("one text per row", "lists".into(), NAME_THE_COLUMN);
    }
    if let Some(kind) = descriptor.logical_type_ref().filter(|kind| !matches!(kind, LogicalType::String | LogicalType::Json | LogicalType::Enum)) {
        return refuse("texts", format!("values of type {kind:?}"), NAME_THE_COLUMN);
    }
    let levels = descriptor.max_def_level();
    let mut row = 0u64;
    for group in 0..metadata.num_row_groups() {
        let packing = metadata.row_group(group).column(chosen).compression();
        if !matches!(packing, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)) {
            return refuse("no compression, snappy or zstd", packing.to_string(), "write the file again with one of these");
        }
        let chunk = metadata.row_group(group).column(chosen);
        if chunk.data_page_offset() < 0 || chunk.compressed_size() < 0 || chunk.dictionary_page_offset().is_some_and(|offset| offset < 0) {
            return Err(damaged(ParquetError::General("a column that begins before the file".into())));
        }
        let pages = reader.get_row_group(group).and_then(|group| group.get_column_page_reader(chosen)).map_err(damaged)?;
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            get_column_reader(descriptor.clone(), Box::new(CheckedPages { pages, has_dictionary: false }))
        else {
            return refuse("texts", "others".into(), NAME_THE_COLUMN);
        };
        let (mut values, mut present): (Vec<ByteArray>, Vec<i16>) = (Vec::new(), Vec::new());
        loop {
            values.clear();
            present.clear();
            let (rows, _, _) = reader.read_records(ROWS, Some(&mut present), None, &mut values).map_err(damaged)?;
            if rows == 0 {
                break;
            }
            let mut texts = values.iter();
            for index in 0..rows {
                row += 1;
                // A required column has no levels, since every value is there.
                let text = if present.get(index).is_none_or(|&level| level == levels) { texts.next() } else { None };
                match text.map(|text| std::str::from_utf8(text.data())) {
                    Some(Ok(text)) => collector.add(text, format_args!("row {row} of column {name}"))?,
                    Some(Err(_)) => {
                        let location = format!("row {row} of column {name}");
                        return Err(collector.refuse(location, "UTF-8 text", "other bytes", NAME_THE_COLUMN));
                    }
                    None => collector.skip(),
                }
            }
        }
    }
    Ok(())
}

/// A file that refuses pages and a description with an implausible size, before the library allocates memory for them.
struct GuardedFile<R>(R);

impl<R: ChunkReader> Length for GuardedFile<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for GuardedFile<R> {
    type T = R::T;

    /// The library begins here for the header of every page: three numbers that a byte 0x15 precedes each, the second being the size unpacked.
    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let mut beginning = [0; 18];
        let count = self.0.get_read(start)?.read(&mut beginning)?;
        if let Some(size) = unpacked_size(&beginning[..count]).filter(|size| !(0..=MAX_PAGE_BYTES).contains(size)) {
            return Err(ParquetError::General(format!("a page of {size} bytes, expected at most {MAX_PAGE_BYTES}")));
        }
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let most = self.len().saturating_sub(start).min(MAX_PAGE_BYTES as u64);
        if length as u64 > most || (start.saturating_add(length as u64) + 8 == self.len() && length > MAX_FOOTER_BYTES) {
            return Err(ParquetError::General(format!("a part of {length} bytes at byte {start}, expected at most {most}")));
        }
        self.0.get_bytes(start, length)
    }
}

/// The size unpacked that the header of a page states; none if the bytes are no such header.
pub(super) fn unpacked_size(header: &[u8]) -> Option<i64> {
    let (_, rest) = number(header)?;
    Some(number(rest)?.0)
}

/// A field of type i32 that follows the one before it: the byte 0x15, then seven bits per byte with the sign in the lowest.
fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (&0x15, rest) = bytes.split_first()? else { return None };
    let end = rest.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let value = rest[..=end].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some(((value >> 1) as i64 ^ -((value & 1) as i64), &rest[end + 1..]))
}

/// Pages of a column, with what the library takes for granted checked: a dictionary of a plausible length, since it allocates that, before the pages
/// that need one.
struct CheckedPages {
    pages: Box<dyn PageReader>,
    has_dictionary: bool,
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        let refuse = |message: String| Err(ParquetError::General(message));
        match &page {
            Some(Page::DictionaryPage { .. }) if self.has_dictionary => return refuse("two dictionaries".into()),
            // The length of a text takes four bytes.
            Some(Page::DictionaryPage { buf, num_values, .. }) if *num_values as usize > buf.len() / 4 => {
                return refuse(format!("a dictionary of {num_values} texts in {} bytes", buf.len()));
            }
            Some(Page::DictionaryPage { .. }) => self.has_dictionary = true,
            Some(Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. })
                if matches!(encoding, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) && !self.has_dictionary =>
            {
                return refuse("numbers of a dictionary that is not there".into());
            }
            _ => {}
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
