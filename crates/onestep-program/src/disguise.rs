//! Files that are something else than their names say: the usual accidents of downloads, told as what they are.

/// How Git LFS begins the text that stands for a file that was not fetched.
const LFS: &[u8] = b"version https://git-lfs";
/// The mark that some editors put before UTF-8 text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Beginnings of files, and what such a file is.
const MAGIC: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a ZIP archive, as PyTorch's .bin, .pt and .pth files are"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x80\x02", "a pickle, as older .bin, .pt and .pth files of PyTorch are"),
    (b"\x80\x03", "a pickle, as older .bin, .pt and .pth files of PyTorch are"),
    (b"\x80\x04", "a pickle, as older .bin, .pt and .pth files of PyTorch are"),
    (b"\x80\x05", "a pickle, as older .bin, .pt and .pth files of PyTorch are"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
];

/// What stands in the place of any file that was not fetched, as the end of "this is …", and what to do about it.
pub fn stand_in(beginning: &[u8]) -> Option<&'static str> {
    if beginning.starts_with(LFS) {
        return Some("a Git LFS pointer, not the file itself; fetch it with `git lfs pull`");
    }
    let text = beginning.strip_prefix(BYTE_ORDER_MARK).unwrap_or(beginning).trim_ascii_start();
    text.starts_with(b"<").then_some("an HTML or XML page, not the file itself; download the file that the page is about")
}

/// What a file that should hold safetensors or JSON is instead, as [`stand_in`] tells it. None if it may be what it should.
pub fn disguise(beginning: &[u8]) -> Option<&'static str> {
    stand_in(beginning).or_else(|| MAGIC.iter().find(|(magic, _)| beginning.starts_with(magic)).map(|(_, what)| *what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_accidents_are_told() {
        let cases: [(&[u8], &str); 8] = [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "`git lfs pull`"),
            (b"<!DOCTYPE html>", "HTML"),
            (b"\n  <html>", "HTML"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>", "XML"),
            (b"PK\x03\x04rest", "ZIP"),
            (b"\x80\x02}q\x00", "pickle"),
            (b"GGUF\x03", "GGUF"),
            (b"\x1f\x8b\x08", "gzip"),
        ];
        for (bytes, part) in cases {
            assert!(disguise(bytes).is_some_and(|told| told.contains(part)), "{part}");
        }
        for plain in [&b"{\"a\": 1}"[..], b"", b"version 2", b"\x40\0\0\0\0\0\0\0{"] {
            assert_eq!(disguise(plain), None);
        }
    }
}
