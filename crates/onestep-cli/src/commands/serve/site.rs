//! The files that may be served: a list from addresses to files, made once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 16;
const INDEX: &str = "index.html";
const MANIFEST: &str = "manifest.json";
const BUNDLE: &str = "/bundle/";

/// One file that may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Where it lies, links resolved.
    pub file: PathBuf,
    /// Its type, for `Content-Type`.
    pub media_type: &'static str,
}

/// Every file that may be served, by its address.
#[derive(Debug, Default)]
pub struct Site {
    files: BTreeMap<String, Served>,
    bytes: u64,
}

impl Site {
    /// Lists a page's folder, and a bundle's under `/bundle/`. Hidden files and links are left out.
    pub fn list(page: &Path, bundle: Option<&Path>) -> Result<Self, Failure> {
        let mut site = Self::default();
        if !page.join(INDEX).is_file() {
            return Err(Failure::new(
                Exit::Input,
                format!(
                    "serving {}: expected a folder with {INDEX}, found {}; build the page first, or name its folder with --dir",
                    page.display(),
                    if page.is_dir() { "one without it" } else { "no folder" }
                ),
            ));
        }
        site.add(page, "/", 0)?;
        if let Some(bundle) = bundle {
            if !bundle.join(MANIFEST).is_file() {
                return Err(Failure::new(
                    Exit::Input,
                    format!(
                        "serving the bundle {}: expected a folder with {MANIFEST}, found {}; name a folder that `onestep export` wrote",
                        bundle.display(),
                        if bundle.is_dir() { "one without it" } else { "no folder" }
                    ),
                ));
            }
            site.files.retain(|address, _| !address.starts_with(BUNDLE));
            site.add(bundle, BUNDLE, 0)?;
        }
        Ok(site)
    }

    /// The file at an address, as it stands in a request but decoded.
    pub fn get(&self, address: &str) -> Option<&Served> {
        if address.ends_with('/') { self.files.get(&format!("{address}{INDEX}")) } else { self.files.get(address) }
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Their size together when they were listed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn add(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), Failure> {
        let refuse = |found: String| Failure::new(Exit::Input, format!("listing {}: {found}; name another folder with --dir", folder.display()));
        if depth > MAX_DEPTH {
            return Err(refuse(format!("expected at most {MAX_DEPTH} folders inside each other, found more")));
        }
        let unreadable = |e: io::Error| refuse(format!("expected a readable folder, found {e}"));
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type().map_err(unreadable)?;
            if name.starts_with('.') || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                self.add(&entry.path(), &format!("{prefix}{name}/"), depth + 1)?;
            } else if kind.is_file() {
                if self.files.len() == MAX_FILES {
                    return Err(refuse(format!("expected at most {MAX_FILES} files, found more")));
                }
                self.bytes = self.bytes.saturating_add(entry.metadata().map_err(unreadable)?.len());
                let file = fs::canonicalize(entry.path()).map_err(unreadable)?;
                let media_type = media_type(&name);
                self.files.insert(format!("{prefix}{name}"), Served { file, media_type });
            }
        }
        Ok(())
    }
}

/// The type of a file by the end of its name. Browsers compile WebAssembly while it arrives only if this one is right.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("avif") => "image/avif",
        Some("gif") => "image/gif",
        Some("svg") => "image/svg+xml",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt" | "md" | "ts") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_visible_files_are_listed() {
        let home = tempfile::tempdir().unwrap();
        let page = home.path().join("page");
        let bundle = home.path().join("bundle");
        for (folder, file) in [(&page, "index.html"), (&page, "app.wasm"), (&page, ".secret"), (&page, "bundle/old"), (&bundle, "manifest.json")] {
            let file = folder.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "12345").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc", page.join("etc")).unwrap();
        let site = Site::list(&page, Some(&bundle)).unwrap();
        let addresses: Vec<&str> = site.files.keys().map(String::as_str).collect();
        assert_eq!(addresses, ["/app.wasm", "/bundle/manifest.json", "/index.html"]);
        assert_eq!(site.get("/").unwrap().media_type, "text/html; charset=utf-8");
        assert_eq!(site.get("/app.wasm").unwrap().media_type, "application/wasm");
        assert!(site.get("").is_none() && site.get("/../page/index.html").is_none() && site.get("/bundle/").is_none());
        assert_eq!(Site::list(&bundle, None).unwrap_err().exit(), Exit::Input);
        assert_eq!(Site::list(&page, Some(&page)).unwrap_err().exit(), Exit::Input);
    }
}
