//! Distinguished names (RFC 4514), as far as they are compared: what lies under what, and what something is called by.

/// One attribute and its value, as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// In small letters.
    attribute: String,
    value: String,
}

/// A distinguished name, the most specific part first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dn(Vec<Part>);

impl Dn {
    /// Reads one; `None`: it is none, or has a part of several attributes, which nobody gives to groups.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let mut parts = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (part, after) = part(text)?;
            parts.push(part);
            rest = after;
        }
        Some(Self(parts))
    }

    /// Whether it is that of everything.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it lies under `base`. Nearly every directory compares these values without regard to capital letters.
    pub(super) fn is_under(&self, base: &Self) -> bool {
        let Some(above) = self.0.len().checked_sub(base.0.len()) else {
            return false;
        };
        above > 0 && self.0[above..].iter().zip(&base.0).all(is_same)
    }

    /// Whether both are names of one thing.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(is_same)
    }

    /// The value of its first part, if that is of `attribute`.
    pub(super) fn called_by(&self, attribute: &str) -> Option<&str> {
        let first = self.0.first()?;
        let is_it = first.attribute.eq_ignore_ascii_case(attribute);
        is_it.then_some(first.value.as_str())
    }
}

fn is_same((one, other): (&Part, &Part)) -> bool {
    one.attribute == other.attribute && one.value.to_lowercase() == other.value.to_lowercase()
}

/// The first part of a text, and what comes after its comma.
fn part(text: &str) -> Option<(Part, Option<&str>)> {
    let (attribute, mut rest) = text.split_once('=')?;
    let attribute = attribute.trim().to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if attribute.is_empty() || !attribute.bytes().all(plain) {
        return None;
    }
    rest = rest.trim_start_matches(' ');
    // Hexadecimal, for syntaxes that have no text.
    if rest.starts_with('#') {
        return None;
    }
    let mut value = Vec::new();
    // Blanks at the end do not count, unless they are escaped.
    let mut kept = 0;
    let mut bytes = rest.bytes().enumerate();
    let after = loop {
        let Some((at, byte)) = bytes.next() else {
            break None;
        };
        match byte {
            b',' => break Some(&rest[at + 1..]),
            b'+' | b';' | b'"' | b'<' | b'>' | 0 => return None,
            b'\\' => {
                let (_, first) = bytes.next()?;
                if let Some(high) = hex(first) {
                    let low = hex(bytes.next()?.1)?;
                    value.push(high << 4 | low);
                } else if b" \"#+,;<=>\\".contains(&first) {
                    value.push(first);
                } else {
                    return None;
                }
                kept = value.len();
            }
            b' ' => value.push(b' '),
            other => {
                value.push(other);
                kept = value.len();
            }
        }
    };
    value.truncate(kept);
    let value = String::from_utf8(value).ok()?;
    Some((Part { attribute, value }, after))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::Dn;
    use proptest::prelude::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_group_is_called_by_its_first_part_and_lies_under_its_base() {
        let base = dn("ou=Groups, dc=example,dc=com");
        for (text, name) in [
            ("cn=dev,ou=groups,dc=example,dc=com", Some("dev")),
            ("CN=Dev Team,OU=Groups,DC=Example,DC=com", Some("Dev Team")),
            ("cn=a\\2cb\\, c,ou=groups,dc=example,dc=com", Some("a,b, c")),
            ("cn = dev , ou=x, ou=groups,dc=example,dc=com", Some("dev")),
            (
                "cn=J\\C3\\BCrgen,ou=groups,dc=example,dc=com",
                Some("J\u{fc}rgen"),
            ),
            ("ou=dev,ou=groups,dc=example,dc=com", None),
        ] {
            let group = dn(text);
            assert!(group.is_under(&base), "{text}");
            assert_eq!(group.called_by("CN"), name, "{text}");
        }
        for text in [
            "ou=groups,dc=example,dc=com",
            "cn=dev,ou=other,dc=example,dc=com",
            "cn=dev\\,ou=groups,dc=example,dc=com",
            "dc=com",
            "",
        ] {
            assert!(!dn(text).is_under(&base), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "dev",
            "=dev",
            "cn=a,",
            "cn=a,,dc=x",
            "cn=a+ou=b",
            "cn=\\",
            "cn=\\zz",
            "cn=\\ff",
            "cn=#04",
            "c n=a",
        ] {
            assert_eq!(Dn::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "\\PC{0,40}|[a-c=,+\\\\ #0-9]{0,16}") {
            if let Some(dn) = Dn::parse(&text) {
                prop_assert!(!dn.is_under(&dn));
            }
        }
    }
}
