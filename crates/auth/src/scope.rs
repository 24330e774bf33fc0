//! What clients ask a token for.
//!
//! ```text
//! scope        := item [ SP item ]*
//! item         := type [ "(" class ")" ] ":" name ":" action [ "," action ]*
//! ```
//! (<https://distribution.github.io/distribution/spec/auth/scope/>; RFC 6749 section 3.3 for the spaces.)
//! Parsing never fails: what we do not know is dropped, because fewer rights than asked is not an error.
//! A name may hold `host:port`, so the type ends at the first colon and the actions begin after the last.

use crate::{Actions, Grant};
use portolan_oci::RepositoryName;

/// The most entries one token carries. Builds ask for a handful; each is a key in one batched read, and the
/// token travels in a header line, which common proxies cut at 8 KiB.
pub const GRANTS_MAX: usize = 32;

/// The most bytes of repository names in one token, for the same 8 KiB: with 70 bytes of JSON around each name,
/// and base64 over it all, the longest token has about 6 KiB.
const NAMES_BYTES_MAX: usize = 2 * 1024;

/// One thing asked for.
pub type Scope = Grant;

/// Reads every scope of a request: the parameter may be repeated, and each value may hold several.
///
/// Equal repositories are merged, in the order of their first mention; at most [`GRANTS_MAX`] are kept.
pub fn parse_scopes<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Scope> {
    let mut scopes = Vec::new();
    let mut name_bytes = 0;
    for item in values
        .into_iter()
        .flat_map(|value| value.split_ascii_whitespace())
    {
        let Some(scope) = parse_item(item) else {
            continue;
        };
        if merge(&mut scopes, &scope) {
            continue;
        }
        if let Grant::Repository { name, .. } = &scope {
            name_bytes += name.as_str().len();
        }
        if scopes.len() == GRANTS_MAX || name_bytes > NAMES_BYTES_MAX {
            break;
        }
        scopes.push(scope);
    }
    scopes
}

/// Adds the actions to an entry for the same thing, if there is one.
fn merge(scopes: &mut [Scope], new: &Scope) -> bool {
    for known in scopes {
        match (known, new) {
            (Grant::Catalog, Grant::Catalog) => return true,
            (
                Grant::Repository { name, actions },
                Grant::Repository {
                    name: new_name,
                    actions: new_actions,
                },
            ) if name == new_name => {
                *actions = actions.union(*new_actions);
                return true;
            }
            _ => {}
        }
    }
    false
}

fn parse_item(item: &str) -> Option<Scope> {
    let (kind, rest) = item.split_once(':')?;
    let (name, words) = rest.rsplit_once(':')?;
    match kind {
        "repository" => {
            let name: RepositoryName = name.parse().ok()?;
            let actions: Actions = words.split(',').map(Actions::from_word).collect();
            (!actions.is_empty()).then_some(Grant::Repository { name, actions })
        }
        "registry" if name == "catalog" => words
            .split(',')
            .any(|word| word == "*")
            .then_some(Grant::Catalog),
        // A class (`repository(plugin)`) is a kind of its own that we do not have.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_scopes;
    use crate::{Actions, GRANTS_MAX, Grant};
    use proptest::prelude::*;

    fn shown(values: &[&str]) -> Vec<String> {
        parse_scopes(values.iter().copied())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn scopes_may_be_repeated_and_share_a_value() {
        assert_eq!(
            shown(&[
                "repository:a/b:pull repository:c/d:pull,push",
                "registry:catalog:*"
            ]),
            [
                "repository:a/b:pull",
                "repository:c/d:pull,push",
                "registry:catalog:*"
            ]
        );
    }

    #[test]
    fn the_order_of_actions_is_free_and_equal_repositories_merge() {
        assert_eq!(
            shown(&["repository:a/b:push,pull", "repository:a/b:delete"]),
            ["repository:a/b:pull,push,delete"]
        );
        assert_eq!(
            shown(&["repository:alpine:pull repository:library/alpine:push"]),
            ["repository:alpine:pull,push"]
        );
    }

    #[test]
    fn unknown_actions_and_types_are_dropped() {
        assert_eq!(
            shown(&["repository:a/b:metadata_read,pull,content_read"]),
            ["repository:a/b:pull"]
        );
        for dropped in [
            "repository:a/b:metadata_read",
            "repository:a/b:",
            "repository:a/b",
            "repository(plugin):a/b:pull",
            "repository:host:5000/a/b:pull",
            "repository:A/B:pull",
            "repository:../b:pull",
            "registry:catalog:pull",
            "registry:other:*",
            "plugin:a/b:pull",
            ":::",
            "",
        ] {
            assert_eq!(shown(&[dropped]), Vec::<String>::new(), "{dropped}");
        }
    }

    #[test]
    fn a_star_asks_for_every_action() {
        assert_eq!(
            parse_scopes(["repository:a/b:*"]),
            [Grant::Repository {
                name: "a/b".parse().unwrap(),
                actions: Actions::ALL
            }]
        );
    }

    #[test]
    fn a_flood_of_scopes_is_cut() {
        let many: Vec<String> = (0..1000)
            .map(|i| format!("repository:a/b{i}:pull"))
            .collect();
        assert_eq!(
            parse_scopes(many.iter().map(String::as_str)).len(),
            GRANTS_MAX
        );
        let long: Vec<String> = (0..100)
            .map(|i| format!("repository:a/{}{i:03}:pull", "x".repeat(240)))
            .collect();
        let names: usize = parse_scopes(long.iter().map(String::as_str)).len() * 245;
        assert!(names < super::NAMES_BYTES_MAX + 245);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = parse_scopes([text.as_str()]);
        }

        #[test]
        fn what_is_shown_reads_back(
            name in "[a-z]{1,8}(/[a-z0-9]{1,8}){0,3}",
            bits in 1u8..8,
            separator in prop_oneof![Just(" "), Just("  "), Just("\t")],
        ) {
            let actions: Actions = crate::Action::ALL
                .into_iter()
                .enumerate()
                .filter(|(place, _)| bits & (1 << place) != 0)
                .map(|(_, action)| Actions::from(action))
                .collect();
            let grant = Grant::Repository { name: name.parse().unwrap(), actions };
            let text = format!("{separator}{grant}{separator}registry:catalog:*");
            prop_assert_eq!(parse_scopes([text.as_str()]), vec![grant, Grant::Catalog]);
        }
    }
}
