//! The name of a tag.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::serde_as_text;

/// The name of a tag within a repository.
///
/// ```text
/// [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
/// ```
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests>
///
/// Tags are ordered by their bytes, as `COLLATE "C"` orders them and the tag list is paged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName(Arc<str>);

impl TagName {
    /// The longest tag, in bytes.
    pub const MAX_LENGTH: usize = 128;

    /// The tag as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TagName {
    type Err = TagNameError;

    fn from_str(tag: &str) -> Result<Self, TagNameError> {
        let Some(&first) = tag.as_bytes().first() else {
            return Err(TagNameError::Empty);
        };
        if tag.len() > Self::MAX_LENGTH {
            return Err(TagNameError::TooLong { length: tag.len() });
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !is_word(first) {
            return Err(TagNameError::FirstCharacter);
        }
        if tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        {
            Ok(Self(tag.into()))
        } else {
            Err(TagNameError::Character)
        }
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagName({self})")
    }
}

serde_as_text!(TagName);

/// Why a text is not a [`TagName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagNameError {
    /// Nothing was given.
    #[error("tag is empty")]
    Empty,
    /// It is too long.
    #[error(
        "tag is {length} bytes long, at most {} are allowed",
        TagName::MAX_LENGTH
    )]
    TooLong {
        /// The length found, in bytes.
        length: usize,
    },
    /// It begins with a dot, a dash or something worse.
    #[error("tag must begin with a letter, a digit or `_`")]
    FirstCharacter,
    /// A later character is not allowed.
    #[error("tag must be letters, digits, `_`, `.` and `-` only")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_is_that_of_the_specification() {
        for tag in [
            "latest",
            "_",
            "1.2.3-rc.1",
            "A_b",
            "sha256-00",
            "v1..",
            &"x".repeat(128),
        ] {
            assert_eq!(tag.parse::<TagName>().unwrap().as_str(), tag);
        }
        for (tag, error) in [
            ("", TagNameError::Empty),
            (".a", TagNameError::FirstCharacter),
            ("-a", TagNameError::FirstCharacter),
            ("..", TagNameError::FirstCharacter),
            ("\u{e9}", TagNameError::FirstCharacter),
            ("a/b", TagNameError::Character),
            ("a:b", TagNameError::Character),
            ("1+1", TagNameError::Character),
            ("a\0", TagNameError::Character),
            ("a\u{e9}", TagNameError::Character),
            (&"x".repeat(129), TagNameError::TooLong { length: 129 }),
        ] {
            assert_eq!(tag.parse::<TagName>(), Err(error), "{tag:?}");
        }
    }
}
