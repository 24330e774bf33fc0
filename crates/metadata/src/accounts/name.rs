//! The names of accounts.

use portolan_oci::DEFAULT_NAMESPACE;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes: that of the longest repository name, whose first segment it can be.
const MAX_LEN: usize = 255;

/// The name of a user, an organization (`acme`) or a robot (`acme+ci`).
///
/// A user's or organization's follows the grammar of one segment of a repository's name (distribution-spec, "Pulling
/// manifests"): `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, so that it can be a namespace. A robot's is its owner's, `+`, and
/// `[a-z0-9][a-z0-9_.-]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

/// A text that no account can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account's name is lower-case letters and digits, with single `.`, `_`, `__` or dashes between them"
)]
pub struct AccountNameError;

impl AccountName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a robot's.
    pub fn is_robot(&self) -> bool {
        self.0.contains('+')
    }

    /// Whether nobody gets it for the asking: whoever had it would answer for every image that is called by one word.
    pub fn is_reserved(&self) -> bool {
        *self.0 == *DEFAULT_NAMESPACE
    }

    /// The name of the user or organization that a robot belongs to.
    pub fn robot_owner(&self) -> Option<Self> {
        self.0.split_once('+').map(|(owner, _)| Self(owner.into()))
    }
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<Self, AccountNameError> {
        let valid = text.len() <= MAX_LEN
            && match text.split_once('+') {
                None => is_segment(text),
                Some((owner, short)) => is_segment(owner) && is_short_name(short),
            };
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(AccountNameError)
        }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_segment(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_alphanumeric(*first) || !is_alphanumeric(*last) {
        return false;
    }
    bytes.split(|byte| is_alphanumeric(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

fn is_short_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(is_alphanumeric)
        && bytes.all(|byte| is_alphanumeric(byte) || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::AccountName;

    #[test]
    fn names_follow_the_grammar_of_a_repository_segment() {
        for name in [
            "a",
            "0",
            "acme",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a---b",
            "acme+ci",
            "a.b+x_y.z-",
        ] {
            let parsed: AccountName = name.parse().unwrap();
            assert_eq!(parsed.as_str(), name);
        }
        let long = "a".repeat(256);
        for name in [
            "", ".", "-a", "a-", "a..b", "a.-b", "a___b", "A", "a b", "a/b", "ä", "a\0", "+", "a+",
            "+a", "a+b+c", "a+-b", &long,
        ] {
            assert!(name.parse::<AccountName>().is_err(), "{name:?}");
        }
    }
}
