//! The modules of a crate as its sources declare them: the names in each, and the paths in its
//! code.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, File, ImplItem, Item, ItemMod, ItemUse, Meta, Token, UseTree, Visibility,
    punctuated::Punctuated,
};

/// The segments of a path, outermost first.
pub(crate) type Names = Vec<String>;

/// One module, in a file of its own or inline in its parent's.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// `None` for the root.
    pub(crate) parent: Option<usize>,
    /// Several meanings for one name: modules, types, values and macros may share it.
    pub(crate) names: BTreeMap<String, Vec<Meaning>>,
    /// Modules and enums that are imported whole.
    pub(crate) globs: Vec<Names>,
    /// All paths in its code, and those of its private imports.
    pub(crate) paths: BTreeSet<Names>,
}

/// The meaning of a name in the module that declares it.
pub(crate) enum Meaning {
    Item,
    Module(usize),
    Import(Names),
}

/// All modules of a crate; the root is the first.
pub(crate) struct Modules(pub(crate) Vec<Module>);

impl Modules {
    /// Reads a crate. `read` returns the text of a file, or `None` if there is no such file.
    pub(crate) fn of_crate(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Modules {
        let mut reader = Reader {
            read,
            children: root.parent().expect("a folder").to_owned(),
            modules: Vec::new(),
            here: 0,
        };
        let text = read(root).unwrap_or_else(|| panic!("no {}", root.display()));
        reader.file(None, root.to_owned(), &text);
        Modules(reader.modules)
    }
}

/// Walks through the syntax of one module after another.
struct Reader<'a> {
    read: &'a dyn Fn(&Path) -> Option<String>,
    /// The folder with the files of this module's children.
    children: PathBuf,
    modules: Vec<Module>,
    here: usize,
}

impl Reader<'_> {
    fn file(&mut self, parent: Option<usize>, file: PathBuf, text: &str) -> usize {
        let syntax = syn::parse_file(text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.module(parent, file, |reader| reader.visit_file(&syntax))
    }

    /// Adds a module with what `walk` finds in it.
    fn module(
        &mut self,
        parent: Option<usize>,
        file: PathBuf,
        walk: impl FnOnce(&mut Self),
    ) -> usize {
        let index = self.modules.len();
        self.modules.push(Module {
            file,
            parent,
            ..Module::default()
        });
        let outer = mem::replace(&mut self.here, index);
        walk(self);
        self.here = outer;
        index
    }

    fn here(&mut self) -> &mut Module {
        &mut self.modules[self.here]
    }

    fn declare(&mut self, name: String, meaning: Meaning) {
        self.here().names.entry(name).or_default().push(meaning);
    }

    /// Declares every name that a `use` imports, with its path.
    fn import(&mut self, tree: &UseTree, mut path: Names, is_private: bool) {
        let (last, alias) = match tree {
            UseTree::Path(outer) => {
                path.push(outer.ident.to_string());
                return self.import(&outer.tree, path, is_private);
            }
            UseTree::Group(group) => {
                let import = |tree| self.import(tree, path.clone(), is_private);
                return group.items.iter().for_each(import);
            }
            UseTree::Glob(_) => {
                self.here().globs.push(path.clone());
                self.here().paths.extend(is_private.then_some(path));
                return;
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(name) => (&name.ident, &name.rename),
        };
        // `use outer::{self}` imports `outer`.
        if last == "self" && !path.is_empty() {
            let outer = path.last().cloned().unwrap_or_default();
            let alias = if alias == "self" {
                outer
            } else {
                alias.to_string()
            };
            self.declare(alias, Meaning::Import(path.clone()));
        } else {
            path.push(last.to_string());
            self.declare(alias.to_string(), Meaning::Import(path.clone()));
        }
        self.here().paths.extend(is_private.then_some(path));
    }

    /// Finds the paths in the arguments of a macro or an attribute, which `syn` does not parse.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Names::new();
        // The last two points decide whether a name continues a path (`::`), or is a field's or a
        // method's (`.`).
        let mut before = (' ', ' ');
        for token in tokens {
            let is_path = before == (':', ':');
            if !matches!(&token, TokenTree::Punct(point) if point.as_char() == ':') && !is_path {
                self.here().paths.extend(Some(mem::take(&mut path)));
            }
            match token {
                TokenTree::Ident(_) if before.1 == '.' && before.0 != '.' => path.clear(),
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(point) => {
                    before = (before.1, point.as_char());
                    continue;
                }
                TokenTree::Literal(_) => {}
            }
            before = (' ', ' ');
        }
        self.here().paths.insert(path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast File) {
        if !is_test(&file.attrs) {
            visit::visit_file(self, file);
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = attributes_and_name(item);
        if is_test(attributes) {
            return;
        }
        if let Some(name) = name {
            self.declare(name.to_string(), Meaning::Item);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if is_test(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        let folder = self.children.join(&name);
        let outer = mem::replace(&mut self.children, folder.clone());
        let parent = Some(self.here);
        let index = if let Some((_, items)) = &item.content {
            let file = self.here().file.clone();
            let walk = |reader: &mut Self| items.iter().for_each(|item| reader.visit_item(item));
            self.module(parent, file, walk)
        } else {
            let files = [folder.with_extension("rs"), folder.join("mod.rs")];
            let read = |file: &PathBuf| Some((file.clone(), (self.read)(file)?));
            let found = files.iter().find_map(read);
            let (file, text) = found.unwrap_or_else(|| panic!("no file of {}", folder.display()));
            self.file(parent, file, &text)
        };
        self.children = outer;
        self.declare(name, Meaning::Module(index));
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_private = matches!(item.vis, Visibility::Inherited);
        if item.leading_colon.is_none() {
            self.import(&item.tree, Names::new(), is_private);
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|part| part.ident.to_string());
            self.here().paths.insert(names.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// Whether these are the attributes of code that exists in tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list
            .parse_args()
            .is_ok_and(|condition| needs_test(&condition)),
        _ => false,
    };
    attributes.iter().any(is_test)
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        _ => false,
    }
}

/// The attributes and the name of an item. The name is `None` if the item has none, or if another
/// method declares it.
fn attributes_and_name(item: &Item) -> (&[Attribute], Option<&syn::Ident>) {
    match item {
        Item::Const(item) => (&item.attrs, Some(&item.ident)),
        Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        Item::Static(item) => (&item.attrs, Some(&item.ident)),
        Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        Item::TraitAlias(item) => (&item.attrs, Some(&item.ident)),
        Item::Type(item) => (&item.attrs, Some(&item.ident)),
        Item::Union(item) => (&item.attrs, Some(&item.ident)),
        Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        Item::Mod(item) => (&item.attrs, None),
        Item::Use(item) => (&item.attrs, None),
        Item::Impl(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}
