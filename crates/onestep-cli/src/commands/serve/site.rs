//! The files that may be served: a list from addresses to files, made once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::exit::{Exit, Failure};

const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 16;
const INDEX: &str = "index.html";
const MANIFEST: &str = "manifest.json";
const BUNDLE: &str = "/bundle/";

/// One file that may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The page's or the bundle's folder, links resolved.
    pub folder: Arc<Path>,
    /// Its path below that folder, with `/` between the parts.
    pub relative: String,
    /// Its type, for `Content-Type`.
    pub media_type: &'static str,
}

impl Served {
    /// Whether compression makes it noticeably smaller: text of all kinds and WebAssembly, but no weights and no images.
    pub fn is_text(&self) -> bool {
        self.media_type.starts_with("text/")
            || ["application/json", "application/manifest+json", "application/wasm", "image/svg+xml"].contains(&self.media_type)
    }
}

/// Every file that may be served, by its address.
#[derive(Debug, Default)]
pub struct Site {
    files: BTreeMap<String, Served>,
    bytes: u64,
}

impl Site {
    /// Lists a page's folder, and a bundle's under `/bundle/`. Hidden files, links, and whatever else is no regular file are left out.
    pub fn list(page: &Path, bundle: Option<&Path>) -> Result<Self, Failure> {
        let mut site = Self::default();
        if !is_file(&page.join(INDEX)) {
            return Err(Failure::new(
                Exit::Input,
                format!(
                    "serving {}: expected a folder with {INDEX}, found {}; build the page first, or name its folder with --dir",
                    page.display(),
                    found(page, INDEX)
                ),
            ));
        }
        site.add_folder(page, "/")?;
        if let Some(bundle) = bundle {
            if !is_file(&bundle.join(MANIFEST)) {
                return Err(Failure::new(
                    Exit::Input,
                    format!(
                        "serving the bundle {}: expected a folder with {MANIFEST}, found {}; name a folder that `onestep export` wrote",
                        bundle.display(),
                        found(bundle, MANIFEST)
                    ),
                ));
            }
            site.files.retain(|address, _| !address.starts_with(BUNDLE));
            site.add_folder(bundle, BUNDLE)?;
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

    fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), Failure> {
        let folder: Arc<Path> = fs::canonicalize(folder).map_err(|e| unlisted(folder, &format!("expected a readable folder, found {e}")))?.into();
        self.add(&folder, prefix, "", 0)
    }

    /// Lists the content of `relative`, which is empty or ends with `/`, below `folder`.
    fn add(&mut self, folder: &Arc<Path>, prefix: &str, relative: &str, depth: usize) -> Result<(), Failure> {
        let here = folder.join(relative);
        if depth > MAX_DEPTH {
            return Err(unlisted(&here, &format!("expected at most {MAX_DEPTH} folders inside each other, found more")));
        }
        let unreadable = |e: io::Error| unlisted(&here, &format!("expected a readable folder, found {e}"));
        for entry in fs::read_dir(&here).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type().map_err(unreadable)?;
            if name.starts_with('.') {
                continue;
            }
            // A link is neither.
            if kind.is_dir() {
                self.add(folder, prefix, &format!("{relative}{name}/"), depth + 1)?;
            } else if kind.is_file() {
                if self.files.len() == MAX_FILES {
                    return Err(unlisted(&here, &format!("expected at most {MAX_FILES} files, found more")));
                }
                self.bytes = self.bytes.saturating_add(entry.metadata().map_err(unreadable)?.len());
                let media_type = media_type(&name);
                let served = Served { folder: Arc::clone(folder), relative: format!("{relative}{name}"), media_type };
                self.files.insert(format!("{prefix}{relative}{name}"), served);
            }
        }
        Ok(())
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
}

/// What is there instead of a folder with the file `name`.
fn found(folder: &Path, name: &str) -> &'static str {
    match fs::symlink_metadata(folder.join(name)) {
        Ok(metadata) if metadata.is_symlink() => "a link of that name, which is not followed",
        _ if folder.is_dir() => "one without it",
        _ => "no folder",
    }
}

fn unlisted(folder: &Path, reason: &str) -> Failure {
    Failure::new(Exit::Input, format!("listing {}: {reason}; name another folder with --dir", folder.display()))
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
        #[cfg(target_os = "linux")]
        rustix::fs::mknodat(rustix::fs::CWD, page.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
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
