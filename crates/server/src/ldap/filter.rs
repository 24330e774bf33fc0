//! Filters with a place for what somebody typed.

use ldap3::{ldap_escape, parse_filter};
use std::str::FromStr;

/// What stands for the name, or for a member's DN in a filter of groups.
const VALUE: [&str; 2] = ["{}", "%s"];
/// What stands for a member's name in a filter of groups.
const NAME: &str = "{name}";

/// Nothing that is escaped as it should be makes anything but a value of this. Blanks keep it out of the place of an
/// attribute's name.
const SAMPLE: &str = "x y*)(uid=\\00\0";

/// A filter (RFC 4515) with places that are filled in. What is filled in is a value, whatever it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterTemplate {
    text: String,
}

impl FilterTemplate {
    /// How people are found by default.
    pub(crate) fn users() -> Self {
        Self {
            text: "(uid={})".to_owned(),
        }
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it asks for a name beside the value.
    pub(crate) fn names_both(&self) -> bool {
        self.text.contains(NAME)
    }

    /// The filter for a value, and for a name.
    pub(super) fn fill(&self, value: &str, name: &str) -> String {
        let (value, name) = (ldap_escape(value), ldap_escape(name));
        let mut filled = String::with_capacity(self.text.len() + value.len() + name.len());
        let mut rest = self.text.as_str();
        // Once through, so that a value that holds a place is not filled in itself.
        while let Some(next) = rest.chars().next() {
            let place = [(VALUE[0], &value), (VALUE[1], &value), (NAME, &name)]
                .into_iter()
                .find(|(place, _)| rest.starts_with(place));
            if let Some((place, by)) = place {
                filled.push_str(by);
                rest = &rest[place.len()..];
            } else {
                filled.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        filled
    }
}

impl FromStr for FilterTemplate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let template = Self {
            text: text.to_owned(),
        };
        let has_place = VALUE.iter().any(|place| text.contains(place)) || template.names_both();
        // What is typed would stand for all names that it is a part of, each of which can be guessed at by many.
        let is_part = text.split(['(', ')']).any(|item| {
            item.contains('*')
                && [VALUE[0], VALUE[1], NAME]
                    .iter()
                    .any(|place| item.contains(place))
        });
        if !has_place || is_part || !text.starts_with('(') {
            return Err(());
        }
        parse_filter(template.fill(SAMPLE, SAMPLE)).map_err(drop)?;
        Ok(template)
    }
}

#[cfg(test)]
mod tests {
    use super::FilterTemplate;
    use ldap3::parse_filter;
    use proptest::prelude::*;

    fn template(text: &str) -> FilterTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_filled_in_is_escaped() {
        let users = template("(&(objectClass=person)(|(uid={})(mail=%s)))");
        assert_eq!(
            users.fill("alice", "alice"),
            "(&(objectClass=person)(|(uid=alice)(mail=alice)))"
        );
        assert_eq!(
            template("(uid={})").fill("*)(uid=*", ""),
            "(uid=\\2a\\29\\28uid=\\2a)"
        );
        assert_eq!(
            template("(uid={})").fill("{}%s\\\0", ""),
            "(uid={}%s\\5c\\00)"
        );
        let groups = template("(|(member={})(memberUid={name}))");
        assert_eq!(
            groups.fill("uid=a(b),dc=x", "a{}"),
            "(|(member=uid=a\\28b\\29,dc=x)(memberUid=a{}))"
        );
        template("(member:1.2.840.113556.1.4.1941:={})");
        template("(&(mail=*)(uid={}))");
    }

    #[test]
    fn what_is_no_filter_or_has_no_place_for_a_value_is_refused() {
        for text in [
            "",
            "uid={}",
            "(uid=*)",
            "(uid={}*)",
            "(|(uid={})(mail=*%s))",
            "(uid={}",
            "({}=alice)",
            "(uid={}))",
            "(&(uid={})",
            "{}",
            "({})",
        ] {
            assert!(text.parse::<FilterTemplate>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_makes_another_filter(name in "\\PC{0,20}|[*()\\\\&|!={}%s\\x00]{0,12}") {
            let filter = template("(uid={})").fill(&name, "");
            // Of the form of an equality, and with this very value.
            let tag = parse_filter(&filter).unwrap();
            let expected = format!("{:?}", equality(name.as_bytes()));
            prop_assert_eq!(format!("{tag:?}"), expected);
        }
    }

    /// Every byte written as RFC 4515 lets it be.
    fn equality(value: &[u8]) -> impl std::fmt::Debug + use<> {
        use std::fmt::Write as _;
        let mut text = String::from("(uid=");
        for byte in value {
            write!(text, "\\{byte:02x}").unwrap();
        }
        text.push(')');
        parse_filter(text).unwrap()
    }
}
