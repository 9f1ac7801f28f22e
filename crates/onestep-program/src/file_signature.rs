//! File signatures: recognises by its first bytes what was downloaded in place of a weight file or configuration.

/// How Git LFS begins the text file that takes the place of a file that was not fetched.
const LFS: &[u8] = b"version https://git-lfs";
/// The byte order mark of UTF-8, which some editors write in front of text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// First bytes of a format, and what such a file is.
const SIGNATURES: &[(&[u8], &str)] = &[
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

/// Recognises a Git LFS pointer or an HTML page in place of the file itself.
///
/// The result completes the sentence "this is …" and says what to do. None for any other file.
pub fn placeholder(beginning: &[u8]) -> Option<&'static str> {
    if beginning.starts_with(LFS) {
        return Some("a Git LFS pointer, not the file itself; fetch it with `git lfs pull`");
    }
    let text = beginning.strip_prefix(BYTE_ORDER_MARK).unwrap_or(beginning).trim_ascii_start();
    text.starts_with(b"<").then_some("an HTML or XML page, not the file itself; download the file that the page is about")
}

/// Recognises a file of another format where safetensors or JSON is expected: a [`placeholder`], an archive, a pickle, GGUF, HDF5.
///
/// The result completes the sentence "this is …". None if the file may be what is expected.
pub fn wrong_format(beginning: &[u8]) -> Option<&'static str> {
    placeholder(beginning).or_else(|| SIGNATURES.iter().find(|(signature, _)| beginning.starts_with(signature)).map(|(_, what)| *what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_wrong_files_are_named() {
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
            assert!(wrong_format(bytes).is_some_and(|told| told.contains(part)), "{part}");
        }
        for plain in [&b"{\"a\": 1}"[..], b"", b"version 2", b"\x40\0\0\0\0\0\0\0{"] {
            assert_eq!(wrong_format(plain), None);
        }
    }
}
