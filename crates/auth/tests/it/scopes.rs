//! Scopes as clients and others write them.

use crate::fuzz::check;
use portolan_auth::{GRANTS_MAX, Grant, parse_scopes};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashSet;

/// Pieces of scopes, and what stands where it should not.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("repository:".to_owned()),
        Just("registry:catalog:*".to_owned()),
        Just("repository(plugin):".to_owned()),
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just(" ".to_owned()),
        Just("pull,push,delete".to_owned()),
        Just("*".to_owned()),
        Just("host:5000/".to_owned()),
        Just("../".to_owned()),
        Just("\u{0}".to_owned()),
        "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}",
        "repository:[a-z]{1,3}(/[a-z]{1,3}){0,2}:(pull|push|delete|\\*|other)(,(pull|push|\\*)){0,2}",
        "\\PC{0,6}",
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn whatever_is_asked_for_the_answer_is_bounded_and_made_of_what_was_asked() {
    check(&vec(text(), 0..60), |values| {
        let scopes = parse_scopes(values.iter().map(String::as_str));
        assert!(scopes.len() <= GRANTS_MAX);
        let mut names = HashSet::new();
        let mut bytes = 0;
        for scope in &scopes {
            match scope {
                Grant::Catalog => assert!(names.insert("registry:catalog"), "{scopes:?}"),
                Grant::Repository { name, actions } => {
                    assert!(!actions.is_empty());
                    assert!(names.insert(name.as_str()), "twice the same: {scopes:?}");
                    bytes += name.as_str().len();
                    let asked = format!(":{}:", name.requested());
                    assert!(
                        values.iter().any(|value| value.contains(&asked)),
                        "nobody asked for {name:?}"
                    );
                }
            }
        }
        // 2 KiB of names and the one that was too long, which ends the list.
        assert!(bytes <= 2 * 1024 + 255, "{bytes} bytes of names");
    });
}

#[test]
fn what_was_understood_is_understood_again() {
    check(&vec(text(), 0..8), |values| {
        let scopes = parse_scopes(values.iter().map(String::as_str));
        let written: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        let joined = written.join(" ");
        assert_eq!(parse_scopes([joined.as_str()]), scopes);
        assert_eq!(parse_scopes(written.iter().map(String::as_str)), scopes);
    });
}
