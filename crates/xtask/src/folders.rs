//! Folders: the repository, and the folder that outlives a clone.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the repository: by what cargo says now, since this program may have been built for another clone that shares its target folder.
pub fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from);
    here.join("../..").canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}

/// Kept between clones: tools and build results.
pub fn cache() -> PathBuf {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("ONESTEP_CACHE").unwrap_or_else(|| {
        let caches = if cfg!(windows) {
            from("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            from("HOME").map(|home| home.join("Library/Caches"))
        } else {
            from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")))
        };
        caches.unwrap_or_else(env::temp_dir).join("onestep")
    })
}

/// Where native builds go: CARGO_TARGET_DIR where it is set, else a folder that clones share, since burn takes long to compile.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()).map_or_else(|| cache().join("target"), |folder| root().join(folder))
}

/// Tells a task that a build for browsers has begun where that build goes: `CARGO_TARGET_DIR` is another there.
pub const WASM_TARGET: &str = "ONESTEP_WASM_TARGET";

/// Where wasm builds go. Apart, since their compiler may be another version.
pub fn wasm_target() -> PathBuf {
    if let Some(folder) = env::var_os(WASM_TARGET) {
        return PathBuf::from(folder);
    }
    if env::var_os("CARGO_TARGET_DIR").is_some_and(|value| !value.is_empty()) { target().join("web") } else { cache().join("target-wasm") }
}

/// Programs that were installed for this repository alone.
pub fn tools() -> PathBuf {
    cache().join("tools")
}

/// What the comparison with other systems keeps: them, and the networks.
pub fn bench() -> PathBuf {
    cache().join("bench")
}

/// Where the browser tests leave screenshots and what they compared.
pub fn browser_results() -> PathBuf {
    target().join("browser")
}
