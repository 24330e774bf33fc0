//! Repository names, tags, references and upload ids.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use portolan_oci::{Reference, RepositoryName, TagName, UploadId};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fuzz;

/// The grammar as the specification prints it, with an end to every repetition.
const NAME: &str = r"[a-z0-9]{1,9}((\.|_|__|-{1,4})[a-z0-9]{1,5}){0,3}(/[a-z0-9]{1,9}((\.|_|__|-{1,4})[a-z0-9]{1,5}){0,3}){0,5}";
/// The same about the longest that is allowed.
const LONG_NAME: &str = r"[a-z0-9]{1,9}(/[a-z0-9]{60,90}){2,3}|[a-z0-9]{240,260}";
const TAG: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
/// Text near the grammars: mostly of their characters, with some of those that attackers like.
const NEAR: &str = "[a-z0-9A-Z._/:@%+\\-\\\\ \u{0}\n\u{e9}\u{3000}]{0,40}";
/// Closer still to a repository's name.
const NEARER: &str = "[ab0._/-]{0,14}";

/// Whatever parses is written back as it was, by `Display` and by serde.
pub(crate) fn round_trips<T>(text: &str) -> Option<T>
where
    T: FromStr + Display + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let quoted = serde_json::to_string(text).unwrap();
    let read: Option<T> = serde_json::from_str(&quoted).ok();
    let parsed = text.parse().ok();
    assert_eq!(parsed, read, "serde takes the same door");
    if let Some(parsed) = &parsed {
        assert_eq!(parsed.to_string(), text);
        assert_eq!(serde_json::to_string(parsed).unwrap(), quoted);
    }
    parsed
}

/// The grammar once more, said another way: words of letters and digits, and between any two of them
/// one separator.
fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.split('/').all(|segment| {
        let ends = [segment.bytes().next(), segment.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(is_word))
            && segment
                .split(|character: char| character.is_ascii() && is_word(character as u8))
                .all(|gap| {
                    matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-')
                })
    })
}

#[test]
fn names_of_the_grammar_parse_and_come_back() {
    fuzz::check(&prop_oneof![NAME, LONG_NAME], |name| {
        let fits = name.len()
            + if name.contains('/') {
                0
            } else {
                "library/".len()
            }
            <= 255;
        let parsed = round_trips::<RepositoryName>(&name);
        assert_eq!(parsed.is_some(), fits, "{name}");
        let Some(parsed) = parsed else { return };
        assert_eq!(parsed.requested(), name);
        assert_eq!(RepositoryName::canonical(parsed.as_str()).unwrap(), parsed);
        assert!(
            parsed
                .as_str()
                .starts_with(&format!("{}/", parsed.namespace()))
        );
    });
}

#[test]
fn names_near_the_grammar_parse_exactly_when_they_match_it() {
    fuzz::check(&prop_oneof![NEAR, NEARER], |name| {
        assert_eq!(
            round_trips::<RepositoryName>(&name).is_some(),
            is_name(&name),
            "{name:?}"
        );
    });
}

#[test]
fn a_canonical_name_is_never_folded_again() {
    fuzz::check(&prop_oneof![NEAR, NEARER, NAME], |name| {
        if let Ok(name) = RepositoryName::canonical(&name) {
            assert_eq!(
                name.as_str().parse::<RepositoryName>().unwrap().as_str(),
                name.as_str()
            );
            assert_eq!(name.requested(), name.as_str());
        }
    });
}

#[test]
fn tags_of_the_grammar_parse_and_come_back() {
    fuzz::check(&TAG, |tag| {
        let parsed = round_trips::<TagName>(&tag).unwrap();
        assert_eq!(tag.parse(), Ok(Reference::Tag(parsed)));
    });
}

#[test]
fn no_text_upsets_a_parser() {
    fuzz::check(
        &prop_oneof![any::<String>(), NEAR.prop_map(String::from)],
        |text| {
            round_trips::<RepositoryName>(&text);
            round_trips::<UploadId>(&text);
            let tag = round_trips::<TagName>(&text);
            let reference = round_trips::<Reference>(&text);
            assert_eq!(
                reference,
                tag.map(Reference::Tag),
                "no random text is a digest"
            );
        },
    );
}

#[test]
fn upload_ids_come_back() {
    fuzz::check(&any::<[u8; 16]>(), |bytes| {
        let id = UploadId::from_random(bytes);
        assert_eq!(id.as_uuid().get_version_num(), 4);
        assert_eq!(UploadId::from_uuid(id.as_uuid()), id);
        assert_eq!(round_trips::<UploadId>(&id.to_string()), Some(id));
        // An id may be all digits, and then it has one spelling.
        let text = id.to_string();
        let upper = text.to_uppercase();
        assert_eq!(
            round_trips::<UploadId>(&upper),
            (upper == text).then_some(id)
        );
    });
}
