//! `cargo xtask docs`: the book and the API documentation as one site, in which no link is broken.

mod links;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders, native, package, page,
    process::{self, Failure, Result, while_doing},
    setup,
};

/// The crates that are documented: those that are published.
const CRATES: [&str; 11] = [
    "onestep",
    "onestep-compile",
    "onestep-cpu",
    "onestep-pipeline",
    "onestep-nets",
    "onestep-noise",
    "onestep-program",
    "onestep-runtime",
    "onestep-shaders",
    "onestep-store",
    "onestep-train",
];

/// Builds the site. `--book` builds the book alone, without the API documentation, and checks the links within it.
pub fn run(options: &[&str]) -> Result<()> {
    let book_only = match options {
        [] => false,
        ["--book"] => true,
        other => return Err(Failure(format!("cargo xtask docs does not know {:?}; it takes --book or nothing", other.join(" ")))),
    };
    let site = folders::root().join("dist-docs");
    remove(&site)?;
    book(&setup::mdbook()?, &site)?;
    if book_only {
        links::check(&site, &["rust", "javascript"])?;
    } else {
        rust(&site.join("rust"))?;
        javascript(&site.join("javascript"))?;
        links::check(&site, &[])?;
    }
    println!("The documentation is {}", site.join("index.html").display());
    Ok(())
}

/// The book. Its chapters link to files of the repository, as one reads them there; on the site these links lead to the repository's address.
fn book(mdbook: &Path, site: &Path) -> Result<()> {
    let staging = folders::target().join("docs");
    remove(&staging)?;
    let docs = folders::root().join("docs");
    stage(&docs.join("src"), &docs.join("src"), &staging, &repository()?)?;
    fs::copy(docs.join("book.toml"), staging.join("book.toml")).map_err(while_doing("docs/book.toml"))?;
    process::run(Command::new(mdbook).arg("build").arg(&staging).arg("--dest-dir").arg(site))
}

/// Copies chapters into `staging/src`, with the images of the repository that they show. `repository`: its address.
fn stage(folder: &Path, source: &Path, staging: &Path, repository: &str) -> Result<()> {
    let within = folder.strip_prefix(source).unwrap_or(Path::new(""));
    let into = staging.join("src").join(within);
    fs::create_dir_all(&into).map_err(while_doing(into.display()))?;
    for entry in fs::read_dir(folder).map_err(while_doing(folder.display()))? {
        let path = entry.map_err(while_doing(folder.display()))?.path();
        let target = into.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            stage(&path, source, staging, repository)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            let text = fs::read_to_string(&path).map_err(while_doing(path.display()))?;
            fs::write(&target, linked(&text, within, staging, repository)?).map_err(while_doing(target.display()))?;
        } else {
            fs::copy(&path, &target).map_err(while_doing(path.display()))?;
        }
    }
    Ok(())
}

/// A chapter with each link that leaves the book replaced by one that works on the site. `within`: the chapter's folder below `docs/src`.
fn linked(text: &str, within: &Path, staging: &Path, repository: &str) -> Result<String> {
    let up = "../".repeat(2 + within.components().count());
    let opening = format!("]({up}");
    let mut parts = text.split(opening.as_str());
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (file, rest) = part.split_once(')').unwrap_or((part, ""));
        let to = if file.ends_with(".png") { image(file, within, staging)? } else { format!("{repository}/blob/main/{file}") };
        result += &format!("]({to}){rest}");
    }
    Ok(result)
}

/// Puts an image of the repository into the book, and says how a chapter reaches it.
fn image(file: &str, within: &Path, staging: &Path) -> Result<String> {
    let name = file.replace('/', "-");
    let folder = staging.join("src/images");
    fs::create_dir_all(&folder).map_err(while_doing(folder.display()))?;
    fs::copy(folders::root().join(file), folder.join(&name)).map_err(while_doing(file))?;
    Ok(format!("{}images/{name}", "../".repeat(within.components().count())))
}

/// The repository's address, which stands in Cargo.toml alone.
fn repository() -> Result<String> {
    let manifest = fs::read_to_string(folders::root().join("Cargo.toml")).map_err(while_doing("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("repository = \"")?.strip_suffix('"'));
    line.map(str::to_owned).ok_or_else(|| Failure("Cargo.toml has no repository under [workspace.package]".into()))
}

/// rustdoc, which fails on links that it cannot resolve.
fn rust(into: &Path) -> Result<()> {
    let mut command = native::cargo();
    command.args(["doc", "--release", "--no-deps", "--lib", "--features=onestep/cpu,onestep/webgpu"]);
    process::run(command.args(CRATES.map(|name| format!("--package={name}"))).env("RUSTDOCFLAGS", "--deny warnings"))?;
    copy(&folders::target().join("doc"), into)
}

/// typedoc of the package as it is packed, which fails on what is undocumented.
fn javascript(into: &Path) -> Result<()> {
    page::build(&setup::page()?)?;
    setup::browser()?;
    let archive = package::pack(&folders::target().join("package"))?;
    let project = folders::target().join("docs-javascript");
    remove(&project)?;
    copy(&folders::root().join("tests/consumers/documentation"), &project)?;
    let npm: PathBuf = process::find("npm").ok_or_else(|| Failure("npm is missing, which installs typedoc".into()))?;
    let run = |words: &[&str]| process::run(Command::new(&npm).current_dir(&project).args(words));
    run(&["ci", "--no-audit", "--no-fund", "--ignore-scripts"])?;
    run(&["install", "--no-save", "--no-audit", "--no-fund", &archive.to_string_lossy()])?;
    run(&["run", "build"])?;
    copy(&project.join("api"), into)
}

/// Removes a folder that an earlier run left.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(while_doing(folder.display())) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(while_doing(to.display()))?;
    for entry in fs::read_dir(from).map_err(while_doing(from.display()))? {
        let path = entry.map_err(while_doing(from.display()))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(while_doing(path.display()))?;
        }
    }
    Ok(())
}
