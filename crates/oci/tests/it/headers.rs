//! Media types, alone and in headers.

use portolan_oci::MediaType;
use proptest::prelude::*;

use crate::fuzz;
use crate::names::round_trips;

const NAME: &str = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}";

#[test]
fn media_types_of_the_grammar_come_back() {
    fuzz::check(
        &(NAME, NAME, "( ?; ?[a-z]+=[!-~]+)?"),
        |(kind, subtype, parameters)| {
            let text = format!("{kind}/{subtype}{parameters}");
            assert_eq!(
                round_trips::<MediaType>(&text).is_some(),
                text.len() <= 255,
                "{text}"
            );
        },
    );
}

#[test]
fn a_header_says_the_type_and_nothing_else() {
    let header = (NAME, NAME, "[ \t]{0,2}", "(;[ -~]{0,20}){0,2}");
    fuzz::check(&header, |(kind, subtype, space, parameters)| {
        let bare = format!("{kind}/{subtype}").to_ascii_lowercase();
        let header = format!("{space}{kind}/{subtype}{space}{parameters}");
        assert_eq!(
            MediaType::from_content_type(&header).unwrap().as_str(),
            bare
        );
    });
}

#[test]
fn no_header_upsets_a_media_type() {
    fuzz::check(
        &prop_oneof![any::<String>(), "[a-z/;, =*\"\u{0}-\u{20}\u{e9}]{0,30}"],
        |text| {
            round_trips::<MediaType>(&text);
            if let Ok(media_type) = MediaType::from_content_type(&text) {
                let text = media_type.as_str();
                assert!(
                    !text.contains([';', ' ', '\r', '\n']) && text.is_ascii(),
                    "{text:?}"
                );
                assert_eq!(MediaType::from_content_type(text), Ok(media_type.clone()));
            }
        },
    );
}
