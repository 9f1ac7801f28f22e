//! The modules of a crate depend on each other one way (ARCHITECTURE.md, "Who may use whom").
//!
//! A re-export is no dependency. A module within a file is a part of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use onestep_tests::root;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree, Visibility};

/// A module by its path from the root of the crate; the root is empty.
type Name = Vec<String>;

/// What the source text of one module says.
#[derive(Default)]
struct Module {
    /// Every path in the text, tests excluded.
    paths: BTreeSet<Vec<String>>,
    /// Re-exports: name here, path that it stands for. A module that only passes a name on does not depend on what is behind it.
    exports: BTreeMap<String, Vec<String>>,
    /// Whether the module has no file: it is a part of the modules that enclose it.
    is_inline: bool,
}

/// Collects the modules of the file that is module `name` and of the files that it declares.
fn collect(file: &Path, name: &Name, modules: &mut BTreeMap<Name, Module>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let is_root = ["mod.rs", "lib.rs", "main.rs"].iter().any(|root| file.ends_with(root));
    let folder = if is_root { file.with_file_name("") } else { file.with_extension("") };
    add(&syntax.items, name, &folder, modules);
}

fn add(items: &[Item], name: &Name, folder: &Path, modules: &mut BTreeMap<Name, Module>) {
    let mut module = Module::default();
    for item in items {
        if let Item::Mod(ItemMod { attrs, ident, content, .. }) = item {
            let inner = [name.as_slice(), &[ident.to_string()]].concat();
            match content {
                _ if is_test(attrs) => {}
                Some((_, items)) => {
                    add(items, &inner, &folder.join(ident.to_string()), modules);
                    modules.entry(inner).or_default().is_inline = true;
                }
                None => {
                    let files: [PathBuf; 2] = [folder.join(format!("{ident}.rs")), folder.join(ident.to_string()).join("mod.rs")];
                    // A file that a build script writes has no path here.
                    if let Some(file) = files.iter().find(|file| file.is_file()) {
                        collect(file, &inner, modules);
                    }
                }
            }
        } else {
            module.visit_item(item);
        }
    }
    modules.insert(name.clone(), module);
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
}

impl<'a> Visit<'a> for Module {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if is_test(&item.attrs) {
            return;
        }
        for (alias, path) in leaves(&item.tree, &[]) {
            if matches!(item.vis, Visibility::Inherited) {
                self.paths.insert(path);
            } else {
                self.exports.insert(alias, path);
            }
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        // A name alone is a variable, or was brought in by a `use`.
        if path.segments.len() > 1 {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    /// What is inside a macro's brackets is text to the parser: paths in it are found by their `::`.
    fn visit_macro(&mut self, item: &'a syn::Macro) {
        let text = item.tokens.to_string().replace(" :: ", "::");
        let words = text.split(|character: char| !(character.is_alphanumeric() || "_:".contains(character)));
        self.paths.extend(words.filter(|word| word.contains("::")).map(|word| word.split("::").map(str::to_owned).collect()));
        visit::visit_macro(self, item);
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }
}

/// The names that a `use` brings in, each with its path.
fn leaves(tree: &UseTree, prefix: &[String]) -> Vec<(String, Vec<String>)> {
    let longer = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &longer(&path.ident)),
        UseTree::Name(name) if name.ident == "self" => vec![(prefix.last().cloned().unwrap_or_default(), prefix.to_vec())],
        UseTree::Name(name) => vec![(name.ident.to_string(), longer(&name.ident))],
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), longer(&rename.ident))],
        UseTree::Glob(_) => vec![("*".into(), prefix.to_vec())],
        UseTree::Group(group) => group.items.iter().flat_map(|tree| leaves(tree, prefix)).collect(),
    }
}

/// The module that defines what `path` means in module `from`; `None` for names of other crates, of the prelude and of the module itself.
fn defining(path: &[String], from: &Name, modules: &BTreeMap<Name, Module>) -> Option<Name> {
    let (mut full, mut rest) = match path.first()?.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => (from.clone(), path),
        first if modules.contains_key(&[from.as_slice(), &[first.to_owned()]].concat()) => (from.clone(), path),
        _ => return None,
    };
    while let Some((first, others)) = rest.split_first().filter(|(first, _)| *first == "super") {
        debug_assert_eq!(first, "super");
        full.pop()?;
        rest = others;
    }
    // A path leads through modules, and through re-exports to other modules; a chain of these is short.
    for _ in 0..16 {
        let Some((first, others)) = rest.split_first() else { break };
        let inner = [full.as_slice(), std::slice::from_ref(first)].concat();
        if modules.contains_key(&inner) {
            (full, rest) = (inner, others);
        } else {
            let exported = modules.get(&full).and_then(|module| module.exports.get(first)).filter(|target| *target != path);
            return match exported {
                Some(target) => defining(target, &full, modules).or(Some(full)),
                None => Some(full),
            };
        }
    }
    Some(full)
}

/// The cycles among the modules of the crate with the root `file`: each a path that ends where it begins.
fn cycles(file: &Path) -> Vec<String> {
    let mut modules = BTreeMap::new();
    collect(file, &Name::new(), &mut modules);
    let edges: BTreeMap<&Name, BTreeSet<Name>> = modules
        .iter()
        .map(|(name, module)| {
            let targets = module.paths.iter().filter_map(|path| defining(path, name, &modules));
            let is_part = |target: &Name| target == name || module.is_inline && name.starts_with(target);
            (name, targets.filter(|target| !is_part(target)).collect())
        })
        .collect();
    let mut found = Vec::new();
    let mut done: BTreeSet<&Name> = BTreeSet::new();
    for name in modules.keys() {
        walk(name, &edges, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

fn walk<'a>(
    name: &'a Name,
    edges: &'a BTreeMap<&'a Name, BTreeSet<Name>>,
    way: &mut Vec<&'a Name>,
    done: &mut BTreeSet<&'a Name>,
    found: &mut Vec<String>,
) {
    if let Some(start) = way.iter().position(|on_way| *on_way == name) {
        let shown = |name: &Name| if name.is_empty() { "(root)".to_owned() } else { name.join("::") };
        let cycle: Vec<String> = way[start..].iter().chain([&name]).map(|name| shown(name)).collect();
        found.push(cycle.join(" → "));
    } else if !done.contains(name) {
        way.push(name);
        for target in &edges[name] {
            walk(target, edges, way, done, found);
        }
        way.pop();
        done.insert(name);
    }
}

#[test]
fn no_module_depends_on_itself() {
    let roots = ["lib.rs", "main.rs"];
    let crates = fs::read_dir(root().join("crates")).expect("the crates").map(|entry| entry.expect("an entry").path());
    let mut found = Vec::new();
    for folder in crates.chain([root().join("shaders"), root().join("tests")]) {
        let files = roots.map(|name| folder.join("src").join(name)).into_iter().filter(|file| file.is_file());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(files.flat_map(|file| cycles(&file)).map(|cycle| format!("{name}: {cycle}")));
    }
    assert!(found.is_empty(), "modules that depend on each other:\n{}", found.join("\n"));
}

/// The test itself: a cycle through a re-export and one through a macro are found, a chain is none.
#[test]
fn cycles_are_found() {
    let check = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, text).expect("written");
        }
        cycles(&folder.path().join("lib.rs"))
    };
    let lib = "mod a; mod b; pub use a::A; pub use b::B;";
    assert_eq!(check(&[("lib.rs", lib), ("a.rs", "pub struct A;"), ("b.rs", "use crate::A; pub struct B(A);")]), [""; 0]);
    let a = "pub struct A; fn f() -> bool { matches!(1, crate::b::C) }";
    assert_eq!(check(&[("lib.rs", lib), ("a.rs", a), ("b.rs", "use crate::A; pub struct B(A);")]), ["a → b → a"]);
    let siblings = [("lib.rs", "mod a;"), ("a/mod.rs", "mod b; mod c;"), ("a/b.rs", "use super::c::D;"), ("a/c.rs", "use super::b::E;")];
    assert_eq!(check(&siblings), ["a::b → a::c → a::b"]);
    let outer =
        [("lib.rs", "mod a; mod d;"), ("a/mod.rs", "mod b; const C: u8 = b::D;"), ("a/b.rs", "use crate::d::D;"), ("d.rs", "use crate::a::C;")];
    assert_eq!(check(&outer), ["a → a::b → d → a"]);
    let inner = [("lib.rs", "mod a;"), ("a/mod.rs", "mod b; const C: u8 = b::D;"), ("a/b.rs", "pub const D: u8 = super::C;")];
    assert_eq!(check(&inner), ["a → a::b → a"]);
    let inline = [("lib.rs", "mod a;"), ("a.rs", "mod b { pub const D: u8 = super::C; } const C: u8 = b::D;")];
    assert_eq!(check(&inline), [""; 0]);
    let in_tests = [("lib.rs", lib), ("a.rs", "#[cfg(test)] mod tests { use crate::b::B; }"), ("b.rs", "use crate::a::A;")];
    assert_eq!(check(&in_tests), [""; 0]);
}
