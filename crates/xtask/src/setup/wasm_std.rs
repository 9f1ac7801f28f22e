//! A compiler with the standard library for wasm32-unknown-unknown: rustup's, else Debian's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Failure, Result, while_doing},
    setup::{Missing, missing, packages},
    wasm::Compiler,
};

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Below the `/usr` that is the sysroot of Debian's compiler.
const DEBIAN_LIBRARIES: &str = "/usr/lib/rustlib/wasm32-unknown-unknown/lib";

/// A compiler for wasm32 where rustup can fetch no target: the compiler, its cargo and the source of its standard library.
const RUSTC_WEB: packages::Package =
    packages::Package { debian: "rustc-web", why: "compiles for browsers", is_there: || Path::new("/usr/bin/rustc").is_file() };
const CARGO_WEB: packages::Package =
    packages::Package { debian: "cargo-web", why: "builds the standard library for browsers", is_there: || Path::new("/usr/bin/cargo").is_file() };
const RUST_SRC: packages::Package =
    packages::Package { debian: "rust-web-src", why: "is the standard library's source", is_there: || source().is_some() };

const PACKAGES: [packages::Package; 3] = [RUSTC_WEB, CARGO_WEB, RUST_SRC];

pub fn missing() -> Option<Missing> {
    if has_core(&libraries("rustc")) || debian().is_some() {
        return None;
    }
    let otherwise =
        format!("where rustup cannot: Debian's rustc-web, cargo-web and rust-web-src, and a standard library built into {DEBIAN_LIBRARIES}");
    Some(Missing {
        what: vec![(format!("Rust's standard library for {TARGET}"), "is part of the page's WebAssembly")],
        location: if is_debian() { otherwise } else { String::new() },
        command: process::line(&rustup_target_add()),
        by_hand: false,
    })
}

/// The compiler, unless it is the one that rustup chooses.
pub fn find_or_install() -> Result<Option<Compiler>> {
    if has_core(&libraries("rustc")) {
        return Ok(None);
    }
    if let Some(debian) = debian() {
        return Ok(Some(debian));
    }
    if process::run(&mut rustup_target_add()).is_ok() && has_core(&libraries("rustc")) {
        return Ok(None);
    }
    if !is_debian() {
        return Err(Failure(format!("the standard library for {TARGET} cannot be installed: `rustup target add {TARGET}` failed")));
    }
    println!("rustup has no {TARGET} for this toolchain; using the compiler of Debian's packages instead");
    missing::agree(packages::missing(&PACKAGES).as_slice())?;
    packages::find_or_install(&PACKAGES)?;
    build()?;
    debian().map(Some).ok_or_else(|| Failure(format!("{DEBIAN_RUSTC} still has no standard library for {TARGET}")))
}

fn rustup_target_add() -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(folders::root()).args(["target", "add", TARGET]);
    command
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").is_file()
}

/// Where a compiler of the repository's toolchain looks for the target's libraries.
fn libraries(compiler: &str) -> Option<PathBuf> {
    process::output(Command::new(compiler).current_dir(folders::root()).args(["--print", "target-libdir", "--target", TARGET])).map(PathBuf::from)
}

fn has_core(libraries: &Option<PathBuf>) -> bool {
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    libraries
        .as_ref()
        .is_some_and(|folder| fs::read_dir(folder).is_ok_and(|files| files.flatten().any(|file| file.file_name().to_str().is_some_and(is_core))))
}

/// Debian's compiler, if it has the libraries, with the linker of rustup's toolchain, since it has none itself.
fn debian() -> Option<Compiler> {
    let compiler = PathBuf::from(DEBIAN_RUSTC);
    if !compiler.is_file() || !has_core(&Some(PathBuf::from(DEBIAN_LIBRARIES))) {
        return None;
    }
    Some(Compiler { compiler, linker: linker()? })
}

fn linker() -> Option<PathBuf> {
    let sysroot = PathBuf::from(process::output(Command::new("rustc").current_dir(folders::root()).args(["--print", "sysroot"]))?);
    let host = process::output(Command::new("rustc").current_dir(folders::root()).arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    Some(sysroot.join("lib/rustlib").join(host).join("bin/rust-lld")).filter(|linker| linker.is_file()).or_else(|| process::find("wasm-ld"))
}

/// Where the source of Debian's standard library is.
pub fn source() -> Option<PathBuf> {
    let sysroot = process::output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))?;
    Some(Path::new(&sysroot).join("lib/rustlib/src/rust/library")).filter(|folder| folder.is_dir())
}

/// Builds the standard library once and puts it where the compiler looks.
fn build() -> Result<()> {
    println!("Building the standard library for {TARGET} into {DEBIAN_LIBRARIES} (a minute or two, once)");
    let folder = folders::cache().join("wasm-std");
    let empty = [("Cargo.toml", "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n"), ("src/lib.rs", "")];
    fs::create_dir_all(folder.join("src")).map_err(while_doing(folder.display()))?;
    for (name, text) in empty {
        fs::write(folder.join(name), text).map_err(while_doing(name))?;
    }
    let target = folder.join("target");
    let mut cargo = Command::new(DEBIAN_CARGO);
    cargo.current_dir(&folder).args(["build", "--quiet", "-Zbuild-std=std,panic_abort", "--target", TARGET, "--release"]);
    // With its bitcode, or link-time optimisation fails later.
    cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes").env("CARGO_TARGET_DIR", &target);
    process::run(&mut cargo)?;

    let libraries = Path::new(DEBIAN_LIBRARIES);
    fs::create_dir_all(libraries).map_err(while_doing(DEBIAN_LIBRARIES))?;
    let built = target.join(TARGET).join("release/deps");
    let mut names: Vec<PathBuf> = fs::read_dir(&built).map_err(while_doing(built.display()))?.flatten().map(|file| file.path()).collect();
    // Core last: by it we see that everything is there.
    names.sort_by_key(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcore-")));
    for path in names {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(&path, libraries.join(name)).map_err(while_doing(path.display()))?;
        }
    }
    fs::remove_dir_all(&folder).map_err(while_doing(folder.display()))
}
