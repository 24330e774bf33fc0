//! An entry of a directory, by the attributes that are asked for.

use ldap3::SearchEntry;

/// The longest value that tells somebody apart; a UUID has 36.
const ID_BYTES_MAX: usize = 255;

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl From<SearchEntry> for Entry {
    fn from(found: SearchEntry) -> Self {
        let SearchEntry {
            dn,
            attrs,
            bin_attrs,
        } = found;
        let texts = attrs.into_iter().map(|(name, values)| {
            let values = values.into_iter().map(String::into_bytes).collect();
            (name, values)
        });
        Self {
            dn,
            attributes: texts.chain(bin_attrs).collect(),
        }
    }
}

impl Entry {
    /// The values of an attribute, whose name may be written in any way.
    fn values(&self, attribute: &str) -> &[Vec<u8>] {
        let found = self
            .attributes
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        found.map_or(&[], |(_, values)| values)
    }

    /// Those that are text.
    pub(super) fn texts(&self, attribute: &str) -> impl Iterator<Item = &str> {
        let values = self.values(attribute).iter();
        values.filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Whether not all values are there: Active Directory gives 1,500 at a time, under the name `memberOf;range=0-1499`.
    pub(super) fn is_cut(&self, attribute: &str) -> bool {
        let is_part = |name: &str| {
            name.split_once(';').is_some_and(|(name, option)| {
                name.eq_ignore_ascii_case(attribute)
                    && option.to_ascii_lowercase().starts_with("range=")
            })
        };
        self.attributes.iter().any(|(name, _)| is_part(name))
    }

    /// What tells this entry from all others, for ever; `None`: the attribute is not there once, or can tell nobody apart.
    pub(super) fn id(&self, attribute: &str) -> Option<String> {
        let [value] = self.values(attribute) else {
            return None;
        };
        // Active Directory keeps it as 16 bytes, of which some happen to be text. Its tools show it like this.
        if attribute.eq_ignore_ascii_case("objectGUID") {
            let bytes = value.as_slice().try_into().ok()?;
            return Some(uuid::Uuid::from_bytes_le(bytes).to_string());
        }
        let text = std::str::from_utf8(value).ok()?;
        let is_usable =
            !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.chars().any(char::is_control);
        is_usable.then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;
    use ldap3::SearchEntry;
    use std::collections::HashMap;

    fn entry(text: &[(&str, &[&str])], binary: &[(&str, &[&[u8]])]) -> Entry {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let attrs = text
            .iter()
            .map(|(name, values)| ((*name).to_owned(), owned(values)));
        let bytes = |values: &[&[u8]]| values.iter().map(|value| value.to_vec()).collect();
        let bin_attrs = binary
            .iter()
            .map(|(name, values)| ((*name).to_owned(), bytes(values)));
        Entry::from(SearchEntry {
            dn: "uid=a".to_owned(),
            attrs: attrs.collect::<HashMap<_, _>>(),
            bin_attrs: bin_attrs.collect::<HashMap<_, _>>(),
        })
    }

    #[test]
    fn an_id_is_there_once_and_the_same_however_it_comes() {
        let text = entry(
            &[("entryUUID", &["6f1c"]), ("uid", &["a", "b"]), ("e", &[""])],
            &[],
        );
        assert_eq!(text.id("entryuuid").as_deref(), Some("6f1c"));
        for none in ["uid", "e", "missing"] {
            assert_eq!(text.id(none), None, "{none}");
        }
        let guid = b"0123456789abcdef";
        let expected = "33323130-3534-3736-3839-616263646566";
        let as_text = entry(&[("objectGUID", &["0123456789abcdef"])], &[]);
        let as_bytes = entry(&[], &[("objectGUID", &[guid])]);
        for entry in [as_text, as_bytes] {
            assert_eq!(entry.id("objectGUID").as_deref(), Some(expected));
        }
        assert_eq!(entry(&[], &[("id", &[&[0xff, 1]])]).id("id"), None);
        assert_eq!(
            entry(&[("objectGUID", &["short"])], &[]).id("objectGUID"),
            None
        );
    }

    #[test]
    fn a_part_of_the_values_is_told_from_all_of_them() {
        let cut = entry(
            &[("memberOf;range=0-1499", &["cn=a"]), ("memberOf", &[])],
            &[],
        );
        assert!(cut.is_cut("memberof"));
        assert!(!cut.is_cut("member"));
        assert!(!entry(&[("memberOf", &["cn=a"])], &[]).is_cut("memberOf"));
    }
}
