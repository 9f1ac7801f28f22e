//! `cargo xtask release --check`: everything that has to be right before a version is published, and that no compiler looks at.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Failure, Result},
    wasm::Module,
};

/// The owner in the repository's address as long as nobody has chosen one.
const PLACEHOLDER: &str = "OWNER";
/// Files that every package carries besides its sources.
const LICENCES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];
/// Keys that a published crate has in its `[package]`, itself or by inheritance.
const METADATA: [&str; 9] = ["description", "keywords", "categories", "readme", "repository", "homepage", "documentation", "license", "rust-version"];
/// The same of the npm package.
const NPM_METADATA: [&str; 9] = ["description", "keywords", "homepage", "bugs", "repository", "author", "license", "engines", "files"];
const NPM: &str = "web/packages/onestep";
const USAGE: &str = "cargo xtask release takes --check and, after it, --tag vVERSION";

pub fn run(options: &[&str]) -> Result<()> {
    let tag = match options {
        ["--check"] => None,
        ["--check", "--tag", tag] => Some(*tag),
        [] => return Err(Failure(USAGE.into())),
        other => return Err(Failure(format!("{USAGE}, not {:?}", other.join(" ")))),
    };
    let root = folders::root();
    let problems = check(&root, &tracked(&root)?, tag)?;
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("Nothing stands in the way of a release.");
            Ok(())
        }
        1 => Err(Failure("one problem stands in the way of a release".into())),
        count => Err(Failure(format!("{count} problems stand in the way of a release"))),
    }
}

/// The kind of a problem, which a test can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Address,
    Changelog,
    Licence,
    Metadata,
    Version,
    Wasm,
}

#[derive(Debug)]
struct Problem {
    kind: Kind,
    sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Address => "address",
            Kind::Changelog => "changelog",
            Kind::Licence => "licence",
            Kind::Metadata => "metadata",
            Kind::Version => "version",
            Kind::Wasm => "wasm",
        };
        write!(formatter, "{kind}: {}", self.sentence)
    }
}

/// The files of the repository, relative to its root. The check is about what is committed, so git is asked.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let list = process::output(Command::new("git").current_dir(root).args(["ls-files", "-z"]));
    let list = list.ok_or_else(|| Failure("git cannot list the files of the repository; a release is checked in a clone of it".into()))?;
    Ok(list.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// Everything that stands in the way of a release of the tree at `root`, of which `files` are committed.
fn check(root: &Path, files: &[PathBuf], tag: Option<&str>) -> Result<Vec<Problem>> {
    let manifest = read(&root.join("Cargo.toml"))?;
    let version = value(&manifest, "workspace.package", "version").unwrap_or_default();
    let mut problems = Vec::new();
    let mut add = |kind, sentence: String| problems.push(Problem { kind, sentence });

    addresses(root, &manifest, files, &mut add);
    crates(root, &manifest, &version, &mut add)?;
    npm(root, &version, &mut add)?;

    if let Some(tag) = tag
        && tag.strip_prefix('v') != Some(version.as_str())
    {
        add(Kind::Version, format!("the tag is {tag:?}, but Cargo.toml has version {version:?}, whose tag is \"v{version}\""));
    }
    let citation = read(&root.join("CITATION.cff"))?;
    let cited = citation.lines().find_map(|line| line.strip_prefix("version:")).map_or("", str::trim).trim_matches('"');
    if cited != version {
        add(Kind::Version, format!("CITATION.cff has version {cited:?}, but Cargo.toml has {version:?}"));
    }
    let changelog = read(&root.join("CHANGELOG.md"))?;
    let titles = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    if !titles.filter_map(|title| title.split_whitespace().next()).any(|word| word.trim_matches(['[', ']']) == version) {
        add(Kind::Changelog, format!("CHANGELOG.md has no section \"## {version}\"; rename \"## Unreleased\""));
    }
    Ok(problems)
}

/// The address of the repository stands in Cargo.toml; every file that repeats it must say the same.
fn addresses(root: &Path, manifest: &str, files: &[PathBuf], add: &mut impl FnMut(Kind, String)) {
    let constant = value(manifest, "workspace.package", "repository").unwrap_or_default();
    let Some(owner) = constant.strip_prefix("https://github.com/").and_then(|rest| rest.strip_suffix("/onestep")) else {
        return add(
            Kind::Address,
            format!("repository in Cargo.toml is {constant:?}, expected https://github.com/{PLACEHOLDER}/onestep with a real owner"),
        );
    };
    let mut locations = Vec::new();
    for file in files {
        // Images and weights are not text.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        for (index, line) in text.lines().enumerate() {
            for found in owners(line) {
                let location = format!("{}:{}", file.display(), index + 1);
                if found == PLACEHOLDER {
                    locations.push(location);
                } else if found != owner {
                    add(Kind::Address, format!("{location} names the repository of {found:?}, but Cargo.toml that of {owner:?}"));
                }
            }
        }
    }
    locations.dedup();
    if !locations.is_empty() {
        let count = locations.len();
        add(Kind::Address, format!("{PLACEHOLDER} in the repository's address is still a placeholder, in {count} lines: {}", locations.join(", ")));
    }
}

/// The owner of the repository or page that a line names: `github.com/…/onestep`, `….github.io/onestep`.
fn owners(line: &str) -> BTreeSet<&str> {
    let name = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let mut found = BTreeSet::new();
    for (at, host) in line.match_indices("github.com/") {
        let rest = &line[at + host.len()..];
        let end = rest.find(|character| !name(character)).unwrap_or(rest.len());
        if end > 0 && ends_there(rest[end..].strip_prefix("/onestep")) {
            found.insert(&rest[..end]);
        }
    }
    for (at, host) in line.match_indices(".github.io") {
        let owner = &line[line[..at].trim_end_matches(name).len()..at];
        if !owner.is_empty() && ends_there(line[at + host.len()..].strip_prefix("/onestep")) {
            found.insert(owner);
        }
    }
    found
}

/// Whether a name ends where `rest` begins: `onestep-models` is another repository.
fn ends_there(rest: Option<&str>) -> bool {
    rest.is_some_and(|rest| !rest.starts_with(|character: char| character.is_ascii_alphanumeric() || "-_".contains(character)))
}

/// Every crate of the workspace is either published, with all that its registry shows, or says `publish = false`.
fn crates(root: &Path, manifest: &str, version: &str, add: &mut impl FnMut(Kind, String)) -> Result<()> {
    for line in section(manifest, "workspace.dependencies").filter(|line| line.contains("path = ")) {
        if !line.contains(&format!("version = \"={version}\"")) {
            add(Kind::Version, format!("in Cargo.toml, `{line}` must have version = \"={version}\""));
        }
    }
    for folder in published(root, manifest)? {
        let text = read(&root.join(&folder).join("Cargo.toml"))?;
        let name = folder.display();
        for key in METADATA {
            if section(&text, "package").all(|line| key_of(line) != key) {
                add(Kind::Metadata, format!("{name}/Cargo.toml has no {key}; if the crate is not to be published, it says publish = false"));
            }
        }
        if section(&text, "package").all(|line| line != "version.workspace = true") {
            add(Kind::Version, format!("{name}/Cargo.toml has a version of its own, expected version.workspace = true"));
        }
        if !root.join(&folder).join("README.md").is_file() {
            add(Kind::Metadata, format!("{name} has no README.md"));
        }
        licences(root, &folder, add);
    }
    Ok(())
}

/// The folders of the crates that are published.
fn published(root: &Path, manifest: &str) -> Result<Vec<PathBuf>> {
    let members = section(manifest, "workspace").find(|line| key_of(line) == "members").unwrap_or_default();
    let mut folders = Vec::new();
    for member in members.split('"').skip(1).step_by(2) {
        let Some(parent) = member.strip_suffix("/*") else {
            folders.push(PathBuf::from(member));
            continue;
        };
        let entries = fs::read_dir(root.join(parent)).map_err(process::while_doing(parent))?;
        folders.extend(entries.flatten().map(|entry| Path::new(parent).join(entry.file_name())));
    }
    folders.retain(|folder| root.join(folder).join("Cargo.toml").is_file());
    folders.sort();
    let mut kept = Vec::new();
    for folder in folders {
        if section(&read(&root.join(&folder).join("Cargo.toml"))?, "package").all(|line| line != "publish = false") {
            kept.push(folder);
        }
    }
    Ok(kept)
}

/// A package has copies of the licence texts: links would be short text files in a clone on Windows.
fn licences(root: &Path, folder: &Path, add: &mut impl FnMut(Kind, String)) {
    for licence in LICENCES {
        let copy = folder.join(licence);
        match (read(&root.join(licence)), read(&root.join(&copy))) {
            (_, Err(_)) => add(Kind::Licence, format!("{} is missing; copy {licence} there", copy.display())),
            (Ok(text), Ok(other)) if text != other => {
                add(Kind::Licence, format!("{} is not {licence}; copy it there again", copy.display()));
            }
            _ => {}
        }
    }
}

fn npm(root: &Path, version: &str, add: &mut impl FnMut(Kind, String)) -> Result<()> {
    let folder = Path::new(NPM);
    let text = read(&root.join(folder).join("package.json"))?;
    // npm's own layout: the keys of the package are those that are indented once.
    let keys: Vec<(&str, &str)> = text.lines().filter_map(|line| line.strip_prefix("  \"")?.split_once("\": ")).collect();
    for key in NPM_METADATA {
        if keys.iter().all(|(found, _)| *found != key) {
            add(Kind::Metadata, format!("{NPM}/package.json has no {key}"));
        }
    }
    let found = keys.iter().find(|(key, _)| *key == "version").map_or("", |(_, value)| value.trim_matches(['"', ',']));
    if found != version {
        add(Kind::Version, format!("{NPM}/package.json has version {found:?}, but Cargo.toml has {version:?}"));
    }
    licences(root, folder, add);
    let names = Module::ALL.iter().flat_map(|module| [format!("{}.js", module.name()), format!("{}_bg.wasm", module.name())]);
    let missing: Vec<String> = names.filter(|name| !root.join(folder).join("wasm").join(name).is_file()).collect();
    if !missing.is_empty() {
        add(Kind::Wasm, format!("{NPM}/wasm lacks {}; `cargo xtask package` builds them", missing.join(", ")));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).map_err(process::while_doing(path.display()))?;
    // git may have given the files of a clone on Windows its line ends.
    Ok(text.replace("\r\n", "\n"))
}

/// The lines of a section of a TOML file: enough for manifests that are written one key a line.
fn section<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let title = format!("[{name}]");
    let lines = text.lines().map(str::trim).skip_while(move |line| *line != title).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The key of a line of TOML; of `key.workspace = true` it is `key`.
fn key_of(line: &str) -> &str {
    let key = line.split('=').next().unwrap_or_default().trim();
    key.strip_suffix(".workspace").unwrap_or(key)
}

/// A string of a TOML file.
fn value(text: &str, name: &str, key: &str) -> Option<String> {
    let line = section(text, name).find(|line| key_of(line) == key)?;
    Some(line.split('"').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "1.2.3";

    /// A small repository that could be released, in a temporary folder.
    struct Tree {
        root: PathBuf,
        files: Vec<PathBuf>,
    }

    impl Tree {
        fn new(test: &str) -> Self {
            let root = std::env::temp_dir().join(format!("xtask-release-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let mut tree = Self { root, files: Vec::new() };
            let address = address("somebody");
            tree.write(
                "Cargo.toml",
                &format!(
                    "[workspace]\nmembers = [\"crates/*\", \"shaders\"]\n\n[workspace.package]\nversion = \"{VERSION}\"\nrepository = \"{address}\"\n\n\
                     [workspace.dependencies]\none = {{ path = \"crates/one\", version = \"={VERSION}\" }}\n"
                ),
            );
            let keys: String = METADATA.iter().map(|key| format!("{key}.workspace = true\n")).collect();
            for folder in ["crates/one", "shaders"] {
                tree.write(&format!("{folder}/Cargo.toml"), &format!("[package]\nname = \"one\"\nversion.workspace = true\n{keys}"));
                tree.write(&format!("{folder}/README.md"), "# one\n");
            }
            tree.write("crates/tools/Cargo.toml", "[package]\nname = \"tools\"\npublish = false\n");
            for folder in [".", "crates/one", "shaders", NPM] {
                for licence in LICENCES {
                    tree.write(&format!("{folder}/{licence}"), licence);
                }
            }
            let keys: String = NPM_METADATA.iter().map(|key| format!("  \"{key}\": \"\",\n")).collect();
            tree.write(&format!("{NPM}/package.json"), &format!("{{\n{keys}  \"version\": \"{VERSION}\"\n}}\n"));
            for module in Module::ALL {
                for name in [format!("{}.js", module.name()), format!("{}_bg.wasm", module.name())] {
                    tree.write(&format!("{NPM}/wasm/{name}"), "");
                }
            }
            tree.write("CITATION.cff", &format!("version: \"{VERSION}\"\n"));
            tree.write("CHANGELOG.md", &format!("# Changelog\n\n## {VERSION} – today\n"));
            tree
        }
        fn write(&mut self, name: &str, text: &str) {
            let path = self.root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self.files.push(name.into());
        }
        fn change(&mut self, name: &str, from: &str, to: &str) {
            let path = self.root.join(name);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{name} has no {from:?}");
            fs::write(path, text.replace(from, to)).unwrap();
        }
        fn problems(&self, tag: Option<&str>) -> Vec<String> {
            check(&self.root, &self.files, tag).unwrap().iter().map(ToString::to_string).collect()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    /// Not written in one part, since this file is searched as well.
    fn address(owner: &str) -> String {
        format!("https://github.com/{owner}/{}", "onestep")
    }

    #[test]
    fn a_tree_that_has_everything_has_no_problem() {
        let none: [String; 0] = [];
        assert_eq!(Tree::new("whole").problems(Some("v1.2.3")), none);
    }

    #[test]
    fn each_problem_is_found_and_named() {
        type Change = fn(&mut Tree);
        let cases: [(&str, Change, &[&str]); 11] = [
            ("key", |tree| tree.change("shaders/Cargo.toml", "keywords.workspace = true\n", ""), &["metadata: shaders/Cargo.toml has no keywords"]),
            ("readme", |tree| fs::remove_file(tree.root.join("crates/one/README.md")).unwrap(), &["metadata: crates/one has no README.md"]),
            ("licence", |tree| fs::remove_file(tree.root.join("shaders/LICENSE-MIT")).unwrap(), &["licence: shaders/LICENSE-MIT is missing"]),
            ("copy", |tree| tree.write("shaders/LICENSE-MIT", "../LICENSE-MIT"), &["licence: shaders/LICENSE-MIT is not LICENSE-MIT"]),
            ("path", |tree| tree.change("Cargo.toml", "version = \"=1.2.3\"", "version = \"=1.2.2\""), &["version: in Cargo.toml, `one = "]),
            (
                "own",
                |tree| tree.change("crates/one/Cargo.toml", "version.workspace = true\n", "version = \"1\"\n"),
                &["version: crates/one/Cargo.toml"],
            ),
            ("npm", |tree| tree.change(&format!("{NPM}/package.json"), VERSION, "1.2.4"), &["package.json has version \"1.2.4\""]),
            ("bugs", |tree| tree.change(&format!("{NPM}/package.json"), "  \"bugs\": \"\",\n", ""), &["package.json has no bugs"]),
            ("cited", |tree| tree.change("CITATION.cff", VERSION, "0.1.0"), &["CITATION.cff has version \"0.1.0\""]),
            ("log", |tree| tree.change("CHANGELOG.md", VERSION, "Unreleased"), &["changelog: CHANGELOG.md has no section \"## 1.2.3\""]),
            (
                "wasm",
                |tree| fs::remove_file(tree.root.join(NPM).join("wasm/onestep-wasm_bg.wasm")).unwrap(),
                &["wasm: web/packages/onestep/wasm lacks onestep-wasm_bg.wasm;"],
            ),
        ];
        for (name, change, expected) in cases {
            let mut tree = Tree::new(name);
            change(&mut tree);
            let found = tree.problems(None);
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{name}: {found}");
            }
        }
        let found = Tree::new("tag").problems(Some("v1.2.4"));
        assert!(found.len() == 1 && found[0].contains("the tag is \"v1.2.4\""), "{found:?}");
    }

    #[test]
    fn the_placeholder_is_named_with_its_places() {
        let mut tree = Tree::new("placeholder");
        let old = address("somebody");
        tree.write("docs/page.md", &format!("# Page\n\nSee {}/issues.\n", address(PLACEHOLDER)));
        tree.write("other.md", &format!("{}\n{}-models\n", address("stranger"), address(PLACEHOLDER)));
        let found = tree.problems(None);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("other.md:1 names the repository of \"stranger\""), "{found:?}");
        assert!(found[1].contains("in 1 lines: docs/page.md:3"), "{found:?}");

        tree.change("Cargo.toml", &old, &address(PLACEHOLDER));
        let found = tree.problems(None);
        assert!(found.iter().any(|line| line.contains("in 2 lines: Cargo.toml:6, docs/page.md:3")), "{found:?}");
        tree.change("Cargo.toml", &address(PLACEHOLDER), "https://example.org/onestep");
        assert!(tree.problems(None)[0].contains("repository in Cargo.toml is \"https://example.org/onestep\""));
    }

    #[test]
    fn pages_count_as_addresses_too() {
        let found = |line: &str| owners(line).into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(found(&format!("https://a-b.github.io/{}/x", "onestep")), ["a-b"]);
        assert_eq!(found(&format!("git+{}.git", address("ab"))), ["ab"]);
        assert_eq!(found("https://github.com/tracel-ai/burn"), [""; 0]);
        assert_eq!(found("https://github.com/"), [""; 0]);
        assert_eq!(found(&format!("…a.github.io/{}, github.com/…/x", "onestep")), ["a"]);
    }

    /// Before a release the address, the changelog and the built files are open. All else must always hold.
    #[test]
    fn this_repository_lacks_only_what_a_release_brings() {
        let root = folders::root();
        // A tree that was unpacked from an archive has no git; there the addresses are not searched.
        let found = check(&root, &tracked(&root).unwrap_or_default(), None).unwrap();
        let open = [Kind::Address, Kind::Changelog, Kind::Wasm];
        let strange = |problem: &Problem| !open.contains(&problem.kind) || problem.sentence.contains("names the repository of");
        let wrong: Vec<&Problem> = found.iter().filter(|problem| strange(problem)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(published(&root, &read(&root.join("Cargo.toml")).unwrap()).unwrap().len() > 5);
    }
}
