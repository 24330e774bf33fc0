//! Where a store keeps one blob's bytes: a key relative to the store's prefix.
//!
//! No client ever sees one. It stands here because rows name it and stores open it, and neither
//! of those crates may know the other. A key of ours is random and never used twice; the keys of
//! an adopted store are whatever its former owner chose, so the grammar only keeps out what could
//! mean another place than it says: empty, `.` and `..` segments, control characters, a leading slash.

use std::fmt;
use std::str::FromStr;

/// S3's bound on the length of an object key, in bytes (Amazon S3 user guide, "Naming Amazon S3 objects").
const MAX_LEN: usize = 1_024;

/// A checked key, like `b/3f/3f0c…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageKey(Box<str>);

/// A text that cannot be a storage key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StorageKeyError {
    /// No characters, or more bytes than S3 allows.
    #[error("a storage key has between 1 and {MAX_LEN} bytes")]
    Length,
    /// A segment that is empty, `.` or `..`.
    #[error("a storage key has no empty, `.` or `..` segment")]
    Segment,
    /// A control character.
    #[error("a storage key has no control character")]
    Control,
}

impl StorageKey {
    /// A key of our own layout, `b/<2 hex>/<32 hex>`, from 16 random bytes.
    ///
    /// The two hex digits spread keys over folders and over S3's key ranges.
    pub fn fresh(random: [u8; 16]) -> Self {
        let name = hex::encode(random);
        Self(format!("b/{}/{name}", &name[..2]).into_boxed_str())
    }

    /// The key as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorageKey {
    type Err = StorageKeyError;

    fn from_str(text: &str) -> Result<Self, StorageKeyError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(StorageKeyError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(StorageKeyError::Control);
        }
        if text
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(StorageKeyError::Segment);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_is_spread_by_its_first_byte_and_parses() {
        let key = StorageKey::fresh([0xab; 16]);
        assert_eq!(key.as_str(), "b/ab/abababababababababababababababab");
        assert_eq!(key.as_str().parse::<StorageKey>(), Ok(key));
    }

    #[test]
    fn a_key_that_means_another_place_is_refused() {
        for text in ["/a", "a/", "a//b", ".", "a/../b", "a/./b", ".."] {
            assert_eq!(
                text.parse::<StorageKey>(),
                Err(StorageKeyError::Segment),
                "{text}"
            );
        }
        assert_eq!("a\nb".parse::<StorageKey>(), Err(StorageKeyError::Control));
        assert_eq!("".parse::<StorageKey>(), Err(StorageKeyError::Length));
        assert_eq!(
            "a".repeat(1_025).parse::<StorageKey>(),
            Err(StorageKeyError::Length)
        );
    }
}
