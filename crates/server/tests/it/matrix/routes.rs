//! Which routes the public listener has, read from the source: one that somebody adds and forgets here is noticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Routes of the private listener, which asks nobody who he is.
const PRIVATE: &str = "private.rs";

/// Ways to add routes that this does not read; whoever needs one teaches it here.
const UNREAD: [&str; 7] = [
    ".nest(",
    ".nest_service(",
    ".route_service(",
    ".fallback_service(",
    "on_service(",
    "MethodFilter",
    "routing::any",
];

const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// Method and path of every route, as `GET /v2/`.
pub(super) fn declared() -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).expect("a source file");
        let text = text
            .split("#[cfg(test)]")
            .next()
            .expect("text before the tests");
        for way in UNREAD {
            assert!(
                !text.contains(way),
                "{}: routes by `{way}` are not read by this test",
                file.display()
            );
        }
        if file.ends_with(PRIVATE) {
            continue;
        }
        for (at, call) in text.match_indices(".route(") {
            let arguments = balanced(&text[at + call.len()..]);
            let (path, handlers) = arguments.split_once(',').expect("a path and its handlers");
            let path = path.trim().trim_matches('"');
            assert!(
                path.starts_with('/'),
                "{}: `{path}` is no text",
                file.display()
            );
            let found = methods(&resolved(text, handlers.trim().trim_end_matches(',')));
            assert!(
                !found.is_empty(),
                "{}: no method of `{path}` is seen",
                file.display()
            );
            routes.extend(
                found
                    .iter()
                    .map(|method| format!("{} {path}", method.to_uppercase())),
            );
        }
    }
    routes
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// What stands before the parenthesis that closes the call.
fn balanced(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return &text[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    panic!("a call that does not end: {text}")
}

/// The handlers; where they have been given a name in the same file, what it stands for.
fn resolved(text: &str, handlers: &str) -> String {
    if handlers.contains('(') {
        return handlers.to_owned();
    }
    let name = format!("let {handlers} = ");
    let (_, rest) = text
        .split_once(&name)
        .unwrap_or_else(|| panic!("`{handlers}` is named elsewhere"));
    rest.split(';').next().expect("a statement ends").to_owned()
}

fn methods(handlers: &str) -> Vec<&'static str> {
    let called = |method: &&&str| {
        let call = format!("{method}(");
        handlers.match_indices(&call).any(|(at, _)| {
            let before = handlers[..at].chars().next_back();
            before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
        })
    };
    METHODS.iter().filter(called).copied().collect()
}
