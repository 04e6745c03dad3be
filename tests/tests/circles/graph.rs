//! The graph of files that need each other, and its circles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::source::{Meaning, Modules};

/// Longest chain of re-exports that is followed: a longer one is a circle of names.
const HOPS_MAX: usize = 16;

/// The target of a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    /// An item that this file defines, or a part of it.
    File(&'a Path),
    Module(usize),
}

/// A file, and another file that it needs.
type Tie<'a> = (&'a Path, &'a Path);

/// The circles of a crate, each as text: its files, and the names by which they need each other.
pub(crate) fn circles(modules: &Modules) -> Vec<String> {
    let needs = needs(modules);
    let graph: DiGraphMap<&Path, ()> = needs.keys().copied().collect();
    let components = tarjan_scc(&graph);
    let circles = components.into_iter().filter(|files| files.len() > 1);
    circles
        .map(|files| {
            let inside = needs
                .iter()
                .filter(|((from, to), _)| files.contains(from) && files.contains(to));
            let ties = inside.map(|((from, to), names)| {
                let names: Vec<&str> = names.iter().copied().collect();
                let (from, to) = (from.display(), to.display());
                format!("  {from} -> {to}: {}\n", names.join(", "))
            });
            format!(
                "a circle of {} files:\n{}",
                files.len(),
                ties.collect::<String>()
            )
        })
        .collect()
}

/// The names by which one file needs another.
fn needs(modules: &Modules) -> BTreeMap<Tie<'_>, BTreeSet<&str>> {
    let mut needs = BTreeMap::<_, BTreeSet<&str>>::new();
    for (index, module) in modules.0.iter().enumerate() {
        for path in &module.paths {
            for place in resolve(modules, index, path, 0) {
                if let Place::File(file) = place
                    && file != module.file
                {
                    let names = needs.entry((module.file.as_path(), file)).or_default();
                    names.extend(path.last().map(String::as_str));
                }
            }
        }
    }
    needs
}

/// The targets of a path in the module `from`; none if it leads out of the crate.
fn resolve<'a>(modules: &'a Modules, from: usize, path: &[String], hops: usize) -> Vec<Place<'a>> {
    let Some((first, rest)) = path.split_first() else {
        return Vec::new();
    };
    let parent = |module: usize| modules.0[module].parent.map(Place::Module);
    let mut places = match first.as_str() {
        "crate" => vec![Place::Module(0)],
        "self" => vec![Place::Module(from)],
        "super" => parent(from).into_iter().collect(),
        name => named(modules, from, name, hops).unwrap_or_default(),
    };
    for name in rest {
        // Before `::`, a name that both a module and an item have means the module.
        if places.iter().any(|place| matches!(place, Place::Module(_))) {
            places.retain(|place| matches!(place, Place::Module(_)));
        }
        let next = |place| match place {
            Place::File(_) => vec![place],
            Place::Module(module) if name == "super" => parent(module).into_iter().collect(),
            // A macro makes a name that no item declares.
            Place::Module(module) => named(modules, module, name, hops)
                .unwrap_or_else(|| vec![Place::File(&modules.0[module].file)]),
        };
        places = places.into_iter().flat_map(next).collect();
    }
    places
}

/// The targets of a name in a module; `None` if the module has no such name.
fn named<'a>(modules: &'a Modules, at: usize, name: &str, hops: usize) -> Option<Vec<Place<'a>>> {
    let module = &modules.0[at];
    if hops > HOPS_MAX {
        return None;
    }
    if let Some(meanings) = module.names.get(name) {
        let places = meanings.iter().flat_map(|meaning| match meaning {
            Meaning::Item => vec![Place::File(&module.file)],
            Meaning::Module(child) => vec![Place::Module(*child)],
            Meaning::Import(path) => resolve(modules, at, path, hops + 1),
        });
        return Some(places.collect());
    }
    let globs = module.globs.iter();
    let mut wholes = globs.flat_map(|glob| resolve(modules, at, glob, hops + 1));
    wholes.find_map(|whole| match whole {
        Place::Module(whole) => named(modules, whole, name, hops + 1),
        Place::File(_) => None,
    })
}
