//! Imports among the files of a crate, as far as their text tells: `use` and paths that begin with `crate::`, `super::` or
//! `self::`, except in tests.

use std::collections::{BTreeMap, BTreeSet};

/// The files of a crate by the names of their modules, each with the modules that it imports.
pub(super) struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Reads the files, given as paths below the crate's folder and code without comments and tests.
    pub(super) fn of(files: &[(String, String)]) -> Imports {
        let modules: BTreeSet<String> = files.iter().map(|(path, _)| module(path)).collect();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, code) in files {
            let own = module(path);
            let named = paths(code);
            let imported = named.iter().filter_map(|path| nearest(&modules, &absolute(&own, path)));
            let imported: BTreeSet<String> = imported.filter(|other| **other != own).cloned().collect();
            found.entry(own).or_default().extend(imported);
        }
        Imports(found)
    }

    /// Returns the imports that are part of a circle, or lead from one circle to another. A file with files below it is left
    /// out, because a module and its parent may import each other.
    pub(super) fn circles(&self) -> Vec<String> {
        let is_parent = |one: &str| one.is_empty() || self.0.keys().any(|other| other.starts_with(&format!("{one}::")));
        let mut left: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (one, others) in self.0.iter().filter(|(one, _)| !is_parent(one)) {
            left.insert(one, others.iter().map(String::as_str).filter(|other| !is_parent(other)).collect());
        }
        loop {
            let before = left.len();
            let imported: BTreeSet<&str> = left.values().flatten().copied().collect();
            left.retain(|one, others| !others.is_empty() && imported.contains(one));
            let names: BTreeSet<&str> = left.keys().copied().collect();
            for others in left.values_mut() {
                others.retain(|other| names.contains(other));
            }
            if left.len() == before {
                break;
            }
        }
        left.iter().flat_map(|(one, others)| others.iter().map(move |other| format!("{one} imports {other}"))).collect()
    }
}

/// Returns the module of a file: `wsgi::input` for `wsgi/input.rs`, `wsgi` for `wsgi/mod.rs`.
fn module(path: &str) -> String {
    let mut parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(last)) {
        parts.pop();
    }
    parts.join("::")
}

/// Returns the path from the crate's root of a path that is written in a module.
fn absolute(own: &str, path: &str) -> String {
    let mut here: Vec<&str> = own.split("::").filter(|word| !word.is_empty()).collect();
    for word in path.split("::") {
        match word {
            "crate" => here.clear(),
            "super" => drop(here.pop()),
            "self" => {}
            word => here.push(word),
        }
    }
    here.join("::")
}

/// Returns the module in which the item of a path is: the longest beginning that is the name of a module.
fn nearest<'a>(modules: &'a BTreeSet<String>, path: &str) -> Option<&'a String> {
    let mut path = path;
    loop {
        if let Some(module) = modules.get(path) {
            return Some(module);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Returns the paths that the code names.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut use_tree: Option<String> = None;
    for line in code.lines() {
        let start = line
            .split_once("use ")
            .filter(|(before, _)| before.is_empty() || before.trim().starts_with("pub") || before.trim().is_empty());
        match (&mut use_tree, start) {
            (Some(tree), _) => tree.push_str(line),
            (None, Some((_, tree))) => use_tree = Some(tree.to_owned()),
            (None, None) => rest.extend([line, "\n"]),
        }
        if let Some((whole, _)) = use_tree.as_ref().and_then(|tree| tree.split_once(';')) {
            expand("", whole, &mut found);
            use_tree = None;
        }
    }
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = rest.split(|c| !is_of_path(c));
    found.extend(
        words
            .filter(|word| ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)))
            .map(str::to_owned),
    );
    found
}

/// Adds the paths of a use tree: `a::b` and `a::c::d` for `a::{b, c::{d}}`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let mut depth = 0;
    let parts = tree.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((path, inner)) => {
                let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
                expand(&format!("{prefix}{path}"), inner, found);
            }
            None => found.push(format!("{prefix}{}", part.split(" as ").next().unwrap_or_default().trim())),
        }
    }
}

#[test]
fn circles_are_found_however_an_import_is_written() {
    let file = |path: &str, code: &str| (path.to_owned(), code.to_owned());
    let circles = |files: &[(String, String)]| Imports::of(files).circles();
    let straight = [
        file("lib.rs", "mod a;\nmod b;"),
        file("a/mod.rs", "pub(crate) mod c;\npub use c::C;"),
        file("a/c.rs", "use super::d::{self, D as Other};\nuse crate::{b, x::y};"),
        file("a/d.rs", "use crate::b::B;"),
        file("b.rs", "use std::fmt;\nfn f() { super::a::f() }"),
    ];
    assert_eq!(circles(&straight), Vec::<String>::new());
    let nested = [file("a.rs", "use crate::{\n    x,\n    b::{B, c},\n};"), file("b.rs", "fn f() -> super::a::A {}")];
    assert_eq!(circles(&nested), ["a imports b", "b imports a"]);
    let three =
        [file("a.rs", "use crate::b;"), file("b.rs", "use super::c::f;"), file("c.rs", "pub(crate) use crate::a::A;")];
    assert_eq!(circles(&three), ["a imports b", "b imports c", "c imports a"]);
    let beside = [file("a.rs", "use crate::b;"), file("b.rs", "use crate::a;"), file("c.rs", "use crate::a;")];
    assert_eq!(circles(&beside), ["a imports b", "b imports a"]);
}
