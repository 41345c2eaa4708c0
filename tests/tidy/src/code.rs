//! Reads the Rust sources of a repository as tokens, without the code of tests.
//!
//! The rules look at names, paths and the heads of items, also inside the calls of macros. `syn`
//! would leave those as tokens, so everything here works on tokens. A path is resolved by the `use`
//! declarations and the modules of its crate; names that macros generate are not found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Modules that paths may pass through before a path counts as one that leads nowhere.
const HOPS_MAX: u32 = 8;

/// Keywords behind which the name of an item is.
const DECLARES: [&str; 9] = [
    "const",
    "enum",
    "fn",
    "macro_rules",
    "static",
    "struct",
    "trait",
    "type",
    "union",
];

/// One library or program: a root file with its modules.
pub struct Crate {
    /// Name of the package.
    pub package: String,
    /// Directory of the package, relative to the root of the repository.
    pub folder: PathBuf,
    /// Whether the root is a `lib.rs`.
    pub is_library: bool,
    /// The files of all modules.
    pub files: Vec<File>,
    /// All modules; the root is the first.
    pub modules: Vec<Module>,
}

/// One source file.
pub struct File {
    /// Path relative to the root of the repository, with `/`.
    pub name: String,
    /// Tokens without those of tests.
    pub tokens: Vec<TokenTree>,
}

/// One module, with or without a file of its own.
pub struct Module {
    /// Names from the root of the crate on.
    pub path: Vec<String>,
    parent: Option<usize>,
    /// Modules that this module declares.
    pub children: BTreeMap<String, usize>,
    /// Names that `use` declarations bring into the module, with the paths that they stand for.
    imports: BTreeMap<String, Vec<String>>,
    /// Paths whose names are all imported.
    globs: Vec<Vec<String>>,
    /// Names that the module declares itself.
    names: BTreeSet<String>,
    /// Paths that the code of the module contains, in `use` declarations too.
    paths: Vec<Vec<String>>,
}

impl Crate {
    /// Returns the modules whose names the code of a module uses.
    pub fn uses(&self, module: usize) -> BTreeSet<usize> {
        let paths = self.modules[module].paths.iter();
        paths
            .filter_map(|path| self.resolve(module, path, 0))
            .collect()
    }

    /// Returns the module that declares what a path names, or `None` if the path leads out of the
    /// crate.
    fn resolve(&self, module: usize, path: &[String], hops: u32) -> Option<usize> {
        let (first, mut rest) = path.split_first()?;
        if hops > HOPS_MAX {
            return None;
        }
        let here = &self.modules[module];
        let mut at = match first.as_str() {
            "crate" => 0,
            "self" => module,
            "super" => here.parent?,
            name => match (here.children.get(name), here.imports.get(name)) {
                (Some(child), _) => *child,
                (None, Some(import)) if import[..] != path[..1] => {
                    return self.resolve(module, &joined(import, rest), hops + 1);
                }
                (None, _) => return None,
            },
        };
        while let Some((name, behind)) = rest.split_first() {
            let current = &self.modules[at];
            if name == "super" {
                at = current.parent?;
            } else if current.names.contains(name) {
                return Some(at);
            } else if let Some(child) = current.children.get(name) {
                at = *child;
            } else if let Some(import) = current.imports.get(name) {
                return self.resolve(at, &joined(import, behind), hops + 1);
            } else {
                let globs = current.globs.iter();
                let mut origins = globs.filter_map(|glob| self.resolve(at, glob, hops + 1));
                let origin =
                    origins.find(|origin| *origin != at && self.modules[*origin].has(name));
                return match origin {
                    Some(origin) => {
                        self.resolve(origin, &joined(&["self".to_owned()], rest), hops + 1)
                    }
                    None => Some(at),
                };
            }
            rest = behind;
        }
        Some(at)
    }

    /// Adds a module and all modules below it. `folder` has the files of its children.
    fn add(
        &mut self,
        root: &Path,
        tokens: &[TokenTree],
        parent: Option<usize>,
        path: Vec<String>,
        folder: &Path,
    ) -> usize {
        let index = self.modules.len();
        self.modules.push(Module::new(path.clone(), parent));
        for item in items(tokens) {
            match item.keyword().as_str() {
                "mod" => {
                    let name = item.name();
                    let (path, folder) = (
                        joined(&path, std::slice::from_ref(&name)),
                        folder.join(&name),
                    );
                    let child = match item.body() {
                        Some(body) => self.add(root, &body, Some(index), path, &folder),
                        None => self.add_file(root, Some(index), path, &folder),
                    };
                    self.modules[index].children.insert(name, child);
                }
                "use" => {
                    let module = &mut self.modules[index];
                    for (path, name) in imports(&item.head[1..], &[]) {
                        module.paths.push(path.clone());
                        match name {
                            Some(name) => drop(module.imports.insert(name, path)),
                            None => module.globs.push(path),
                        }
                    }
                }
                keyword => {
                    let module = &mut self.modules[index];
                    if DECLARES.contains(&keyword) {
                        module.names.insert(item.name());
                    }
                    paths(item.tokens, &mut module.paths);
                }
            }
        }
        index
    }

    /// Adds the module whose file is `folder` with `.rs` behind, or `mod.rs` in it.
    fn add_file(
        &mut self,
        root: &Path,
        parent: Option<usize>,
        path: Vec<String>,
        folder: &Path,
    ) -> usize {
        let beside = folder.with_extension("rs");
        let file = if beside.exists() {
            beside
        } else {
            folder.join("mod.rs")
        };
        let tokens = read(&file);
        let index = self.add(root, &tokens, parent, path, folder);
        self.keep_file(root, &file, tokens);
        index
    }

    fn keep_file(&mut self, root: &Path, file: &Path, tokens: Vec<TokenTree>) {
        let name = file.strip_prefix(root).unwrap_or(file);
        let name = name.to_string_lossy().replace('\\', "/");
        self.files.push(File { name, tokens });
    }
}

impl Module {
    fn new(path: Vec<String>, parent: Option<usize>) -> Module {
        Module {
            path,
            parent,
            children: BTreeMap::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            names: BTreeSet::new(),
            paths: Vec::new(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
            || self.children.contains_key(name)
            || self.imports.contains_key(name)
    }
}

/// Reads every crate of a repository: the library and the programs of each directory that has a
/// `Cargo.toml`, in the default locations of Cargo.
pub fn crates(root: &Path) -> Vec<Crate> {
    let mut folders = vec![PathBuf::from("migrations")];
    for group in ["infra", "tests", "workers"] {
        let entries = std::fs::read_dir(root.join(group)).expect("a directory");
        folders.extend(entries.flatten().map(|entry| {
            let name = entry.file_name();
            Path::new(group).join(name)
        }));
    }
    folders.retain(|folder| root.join(folder).join("Cargo.toml").exists());
    folders.sort();
    folders
        .iter()
        .flat_map(|folder| {
            let source = root.join(folder).join("src");
            let mut roots = vec![source.join("lib.rs"), source.join("main.rs")];
            let programs = std::fs::read_dir(source.join("bin"));
            let programs = programs.into_iter().flatten().flatten();
            roots.extend(programs.map(|program| program.path()));
            roots.retain(|file| file.extension().is_some_and(|end| end == "rs") && file.exists());
            let read = roots.into_iter().map(|file| one(root, folder, &file));
            read.collect::<Vec<_>>()
        })
        .collect()
}

/// Reads the library of one crate.
pub fn library(root: &Path, folder: &str) -> Crate {
    let file = root.join(folder).join("src/lib.rs");
    one(root, Path::new(folder), &file)
}

fn one(root: &Path, folder: &Path, file: &Path) -> Crate {
    let package = folder.file_name().expect("a name");
    let mut of = Crate {
        package: package.to_string_lossy().into_owned(),
        folder: folder.to_owned(),
        is_library: file.ends_with("lib.rs"),
        files: Vec::new(),
        modules: Vec::new(),
    };
    let tokens = read(file);
    of.add(
        root,
        &tokens,
        None,
        Vec::new(),
        file.parent().expect("a directory"),
    );
    of.keep_file(root, file, tokens);
    of
}

fn read(file: &Path) -> Vec<TokenTree> {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tokens =
        TokenStream::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    without_tests(tokens)
}

/// Returns the tokens without the items that are compiled for tests only: those behind `cfg(test)`,
/// or behind the feature `testing`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let item = attributes_end(&tokens, at);
        if tokens[at..item].iter().any(is_for_tests) {
            at = item_end(&tokens, item);
            continue;
        }
        kept.extend_from_slice(&tokens[at..item]);
        if let Some(token) = tokens.get(item) {
            kept.push(match token {
                TokenTree::Group(group) => {
                    let inner = without_tests(group.stream());
                    let mut same = Group::new(group.delimiter(), inner.into_iter().collect());
                    same.set_span(group.span());
                    same.into()
                }
                other => other.clone(),
            });
        }
        at = item + 1;
    }
    kept
}

/// Returns whether an attribute limits its item to tests.
fn is_for_tests(attribute: &TokenTree) -> bool {
    let TokenTree::Group(group) = attribute else {
        return false;
    };
    let words: Vec<String> = flat(group.stream());
    words.first().is_some_and(|word| word == "cfg")
        && words
            .iter()
            .any(|word| word == "test" || word == "\"testing\"")
        && !words.iter().any(|word| word == "not")
}

/// Returns all tokens, those in groups too, as text.
fn flat(tokens: TokenStream) -> Vec<String> {
    tokens
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Group(group) => flat(group.stream()),
            other => vec![other.to_string()],
        })
        .collect()
}

/// Returns the first index behind the attributes and doc comments at `at`.
fn attributes_end(tokens: &[TokenTree], mut at: usize) -> usize {
    while is_punct(tokens.get(at), '#') {
        let inner = usize::from(is_punct(tokens.get(at + 1), '!'));
        if group(tokens.get(at + 1 + inner), Delimiter::Bracket).is_none() {
            break;
        }
        at += 2 + inner;
    }
    at
}

/// Returns the first index behind the item at `at`, which begins behind its attributes: a `;` ends
/// it, or its first block in braces, except in a `use` or in a value.
fn item_end(tokens: &[TokenTree], at: usize) -> usize {
    let keyword = visibility_end(tokens, at);
    let is_function = ["fn", "unsafe", "async", "extern"]
        .iter()
        .any(|word| is_ident(tokens.get(keyword + 1), word));
    let to_semicolon = ["use", "static", "type"]
        .iter()
        .any(|word| is_ident(tokens.get(keyword), word))
        || is_ident(tokens.get(keyword), "const") && !is_function;
    let rest = tokens.iter().enumerate().skip(at);
    let mut ends = rest.filter(|(_, token)| {
        is_punct(Some(token), ';')
            || !to_semicolon && group(Some(token), Delimiter::Brace).is_some()
    });
    ends.next().map_or(tokens.len(), |(end, _)| end + 1)
}

/// Returns the first index behind `pub`, or behind `pub(crate)` and its like.
fn visibility_end(tokens: &[TokenTree], at: usize) -> usize {
    if !is_ident(tokens.get(at), "pub") {
        return at;
    }
    at + 1 + usize::from(group(tokens.get(at + 1), Delimiter::Parenthesis).is_some())
}

/// An item of a module, an `impl` or a trait.
pub struct Item<'a> {
    /// The first line of its doc comment, or nothing.
    pub doc: String,
    /// Whether it is `pub` without a restriction.
    pub is_public: bool,
    /// All tokens without attributes.
    tokens: &'a [TokenTree],
    /// The tokens behind the visibility, without the closing `;` or block.
    head: &'a [TokenTree],
}

/// Returns the items among the tokens of a file or of a block.
pub fn items(tokens: &[TokenTree]) -> Vec<Item<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let begin = attributes_end(tokens, at);
        if begin >= tokens.len() {
            return found;
        }
        let end = item_end(tokens, begin);
        let head = visibility_end(tokens, begin);
        found.push(Item {
            doc: doc(&tokens[at..begin]),
            is_public: head == begin + 1,
            tokens: &tokens[begin..end],
            head: &tokens[head.min(end - 1)..end - 1],
        });
        at = end;
    }
}

/// Returns the first line of the doc comment among attributes.
fn doc(attributes: &[TokenTree]) -> String {
    // `//!` has a `!` before the group; it describes the module.
    let outer = attributes
        .windows(2)
        .filter(|pair| is_punct(pair.first(), '#'));
    let mut texts = outer.filter_map(|pair| doc_text(pair.last()));
    let text = texts.next().unwrap_or_default();
    text.trim_matches('"').trim().to_owned()
}

/// Returns the literal of an attribute that is a doc comment.
pub fn doc_text(attribute: Option<&TokenTree>) -> Option<String> {
    let tokens: Vec<TokenTree> = group(attribute, Delimiter::Bracket)?
        .stream()
        .into_iter()
        .collect();
    match &tokens[..] {
        [word, _, TokenTree::Literal(text)] if is_ident(Some(word), "doc") => {
            Some(text.to_string())
        }
        _ => None,
    }
}

impl Item<'_> {
    /// Returns the index of the word that says what the item is.
    fn at(&self) -> usize {
        let is_before = |token: &TokenTree| match token {
            TokenTree::Ident(word) => ["const", "async", "unsafe", "extern"]
                .iter()
                .any(|before| word == before),
            // The ABI of an `extern` function.
            TokenTree::Literal(_) => true,
            TokenTree::Group(_) | TokenTree::Punct(_) => false,
        };
        let before = self
            .head
            .iter()
            .take_while(|token| is_before(token))
            .count();
        let is_item = ["fn", "impl", "trait", "mod"]
            .iter()
            .any(|word| is_ident(self.head.get(before), word));
        if is_item { before } else { 0 }
    }

    /// Returns the word that says what the item is, such as `fn` or `impl`.
    pub fn keyword(&self) -> String {
        self.head
            .get(self.at())
            .map_or_else(String::new, ToString::to_string)
    }

    /// Returns the word behind the keyword, which is the name of most items.
    pub fn name(&self) -> String {
        let words = self.head.iter().skip(self.at() + 1);
        let mut names = words
            .filter(|token| matches!(token, TokenTree::Ident(_)) && !is_ident(Some(token), "mut"));
        names.next().map_or_else(String::new, ToString::to_string)
    }

    /// Returns the tokens of the block that ends the item.
    pub fn body(&self) -> Option<Vec<TokenTree>> {
        let block = group(self.tokens.last(), Delimiter::Brace)?;
        Some(block.stream().into_iter().collect())
    }
}

/// Collects the paths among tokens, such as `crate::queue::Queue`, and those of `use` declarations.
/// A name alone is no path: it was imported or belongs to the same module.
fn paths(tokens: &[TokenTree], found: &mut Vec<Vec<String>>) {
    let mut at = 0;
    while at < tokens.len() {
        if let TokenTree::Group(group) = &tokens[at] {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            paths(&inner, found);
        }
        if is_ident(tokens.get(at), "use") && !is_punct(tokens.get(at + 1), '<') {
            let rest = &tokens[at + 1..];
            let is_end = |token: &TokenTree| is_punct(Some(token), ';');
            let end = rest.iter().position(is_end).unwrap_or(rest.len());
            found.extend(imports(&rest[..end], &[]).into_iter().map(|(path, _)| path));
            at += 1 + end;
            continue;
        }
        let is_behind = at >= 2 && is_separator(tokens, at - 2);
        let mut path = Vec::new();
        if let (TokenTree::Ident(first), false) = (&tokens[at], is_behind) {
            path.push(first.to_string());
            while is_separator(tokens, at + 1)
                && let Some(TokenTree::Ident(name)) = tokens.get(at + 3)
            {
                path.push(name.to_string());
                at += 3;
            }
            if path.len() > 1 || is_separator(tokens, at + 1) {
                found.push(path);
            }
        }
        at += 1;
    }
}

/// Returns the paths of a `use` declaration, each with the name that it gets, or with `None` for
/// all names of a module.
fn imports(tree: &[TokenTree], prefix: &[String]) -> Vec<(Vec<String>, Option<String>)> {
    let mut path = prefix.to_vec();
    let mut alias = None;
    let mut at = 0;
    while let Some(token) = tree.get(at) {
        match token {
            TokenTree::Ident(word) if word == "as" => {
                alias = tree.get(at + 1).map(ToString::to_string);
                at += 1;
            }
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let parts = inner.split(|token| is_punct(Some(token), ','));
                let parts = parts.filter(|part| !part.is_empty());
                return parts.flat_map(|part| imports(part, &path)).collect();
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => return vec![(path, None)],
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.or_else(|| path.last().cloned());
    vec![(path, name)]
}

/// Returns whether `::` is at an index.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Returns whether a token is this sign.
pub fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Returns whether a token is this word.
pub fn is_ident(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

fn joined(path: &[String], rest: &[String]) -> Vec<String> {
    [path, rest].concat()
}
