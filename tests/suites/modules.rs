//! Modules of a crate depend on each other in one direction: whoever reads a file can read what it needs first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use petgraph::{algo::tarjan_scc, graph::DiGraph};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use onestep_tests::root;
use syn::{Attribute, Item, UseTree};

/// The segments of a module's path below the crate's root, which has none.
type Name = Vec<String>;

/// A file as the other modules see it.
#[derive(Default)]
struct Module {
    /// Names of `mod x;`.
    children: BTreeSet<String>,
    /// Names that `use` brings in, and the paths that they stand for.
    imports: BTreeMap<String, Name>,
    /// Paths of `use x::*`.
    globs: Vec<Name>,
    /// Names that are defined here.
    items: BTreeSet<String>,
    /// All paths outside of tests, as they are written.
    paths: Vec<Name>,
}

/// All modules of a crate by name.
struct Crate(BTreeMap<Name, Module>);

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let meta = attribute.meta.to_token_stream().to_string().replace(' ', "");
        meta == "cfg(test)" || meta == "test"
    })
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name by which other modules know an item.
fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Mod(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

impl Module {
    /// Notes a list of items; `depth`: how many inline modules they are in, so many `super` lead to this file.
    fn note(&mut self, items: &[Item], depth: usize) {
        for item in items.iter().filter(|item| !is_for_tests(attributes_of(item))) {
            match item {
                Item::Mod(module) => match &module.content {
                    Some((_, items)) => self.note(items, depth + 1),
                    None => drop(self.children.insert(module.ident.to_string())),
                },
                Item::Use(item) => self.note_use(&item.tree, &mut Vec::new(), depth),
                other => {
                    let mut paths = Vec::new();
                    paths_in(other.to_token_stream(), &mut paths);
                    self.paths.extend(paths.into_iter().map(|path| outwards(path, depth)));
                }
            }
            if depth == 0 {
                self.items.extend(name_of(item));
            }
        }
    }

    fn note_use(&mut self, tree: &UseTree, before: &mut Name, depth: usize) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_use(&path.tree, before, depth);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_use(tree, before, depth)),
            UseTree::Glob(_) => {
                let path = outwards(before.clone(), depth);
                self.globs.push(path.clone());
                self.paths.push(path);
            }
            UseTree::Name(_) | UseTree::Rename(_) => {
                let (from, to) = match tree {
                    UseTree::Rename(rename) => (&rename.ident, &rename.rename),
                    UseTree::Name(name) => (&name.ident, &name.ident),
                    _ => return,
                };
                let mut path = before.clone();
                if from != "self" {
                    path.push(from.to_string());
                }
                let name = if to == "self" { path.last().cloned() } else { Some(to.to_string()) };
                let path = outwards(path, depth);
                if let (Some(name), 0) = (name, depth) {
                    self.imports.insert(name, path.clone());
                }
                self.paths.push(path);
            }
        }
    }
}

/// A path of an inline module as its file would write it.
fn outwards(mut path: Name, depth: usize) -> Name {
    for _ in 0..depth {
        if path.first().is_some_and(|first| first == "super") {
            path.remove(0);
        }
    }
    path
}

/// Every `a::b::c` in tokens, those of macros included.
fn paths_in(tokens: TokenStream, paths: &mut Vec<Name>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(sign)) if sign.as_char() == ':');
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => paths_in(group.stream(), paths),
            TokenTree::Ident(first) if at < 2 || !(is_colon(at - 1) && is_colon(at - 2)) => {
                let mut path = vec![first.to_string()];
                while is_colon(at + 1) && is_colon(at + 2) {
                    let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                    path.push(next.to_string());
                    at += 3;
                }
                if path.len() > 1 {
                    paths.push(path);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let mut waiting = vec![(Vec::new(), root.to_owned())];
        while let Some((name, file)) = waiting.pop() {
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut module = Module::default();
            module.note(&parsed.items, 0);
            let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
                Some("mod" | "lib" | "main") => file.parent().expect("a folder").to_owned(),
                _ => file.with_extension(""),
            };
            for child in &module.children {
                let candidates: [PathBuf; 2] = [folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs")];
                // Others are made by a build script.
                if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
                    waiting.push(([&name[..], &[child.clone()]].concat(), found));
                }
            }
            modules.insert(name, module);
        }
        Self(modules)
    }

    /// The module that defines what a path names, followed through re-exports.
    fn definer(&self, from: &Name, path: &[String], hops: usize) -> Option<Name> {
        if hops > 16 {
            return None;
        }
        let mut here = from.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => here = Vec::new(),
            "self" => {}
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    here.pop()?;
                    rest = &rest[1..];
                }
                return self.below(&here, rest, hops);
            }
            first => {
                let module = self.0.get(&here)?;
                if !module.children.contains(first) && !module.imports.contains_key(first) {
                    return None;
                }
                return self.below(&here, rest, hops);
            }
        }
        self.below(&here, &rest[1..], hops)
    }

    fn below(&self, here: &Name, rest: &[String], hops: usize) -> Option<Name> {
        let module = self.0.get(here)?;
        let Some(first) = rest.first() else { return Some(here.clone()) };
        let child = [&here[..], std::slice::from_ref(first)].concat();
        if self.0.contains_key(&child) {
            return self.below(&child, &rest[1..], hops);
        }
        if let Some(path) = module.imports.get(first) {
            let whole = [&path[..], &rest[1..]].concat();
            return self.definer(here, &whole, hops + 1);
        }
        if !module.items.contains(first) {
            for glob in &module.globs {
                if let Some(found) = self.definer(here, &[&glob[..], rest].concat(), hops + 1)
                    && self.0.get(&found).is_some_and(|module| module.items.contains(rest.last().expect("not empty")) || module.items.contains(first))
                {
                    return Some(found);
                }
            }
        }
        Some(here.clone())
    }

    /// Groups of modules that need each other.
    fn cycles(&self) -> Vec<String> {
        let mut graph = DiGraph::<&Name, ()>::new();
        let nodes: BTreeMap<_, _> = self.0.keys().map(|name| (name, graph.add_node(name))).collect();
        for (name, module) in &self.0 {
            for path in &module.paths {
                if let Some(to) = self.definer(name, path, 0)
                    && to != *name
                {
                    graph.update_edge(nodes[name], nodes[&to], ());
                }
            }
        }
        let mut cycles = Vec::new();
        for group in tarjan_scc(&graph).into_iter().filter(|group| group.len() > 1) {
            let mut edges = Vec::new();
            for &from in &group {
                let to: Vec<_> = graph.neighbors(from).filter(|to| group.contains(to)).map(|to| show(graph[to])).collect();
                edges.push(format!("{} -> {}", show(graph[from]), to.join(", ")));
            }
            edges.sort();
            cycles.push(edges.join("\n    "));
        }
        cycles
    }
}

fn show(name: &Name) -> String {
    if name.is_empty() { "the root".into() } else { name.join("::") }
}

#[test]
fn modules_of_a_crate_do_not_need_each_other() {
    let repository = root();
    let mut folders: Vec<PathBuf> = fs::read_dir(repository.join("crates")).expect("crates").map(|entry| entry.expect("an entry").path()).collect();
    folders.push(repository.join("shaders"));
    folders.sort();
    let mut found = Vec::new();
    for folder in folders {
        for root in ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)).into_iter().filter(|root| root.is_file()) {
            found.extend(Crate::read(&root).cycles().into_iter().map(|cycle| format!("{}:\n    {cycle}", root.display())));
        }
    }
    assert!(found.is_empty(), "{} groups of modules need each other:\n{}", found.len(), found.join("\n"));
}

/// The check itself: a crate of three files in which two modules need each other, one of them through a re-export.
#[test]
fn a_cycle_through_a_re_export_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).expect("written");
    write("lib.rs", "mod a;\nmod b;\npub use a::A;\n");
    write("a.rs", "use crate::b::B;\npub struct A(B);\n");
    write("b.rs", "pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::A;\n}\n");
    let root = folder.path().join("lib.rs");
    assert_eq!(Crate::read(&root).cycles(), [""; 0]);
    write("b.rs", "pub struct B;\nimpl B {\n    fn a() -> crate::A {\n        todo!()\n    }\n}\n");
    assert_eq!(Crate::read(&root).cycles(), ["a -> b\n    b -> a"]);
}
