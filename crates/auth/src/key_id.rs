//! The name of a signing key.

use crate::Error;
use rand::CryptoRng;
use std::fmt;
use std::str::FromStr;

/// How many random bytes a name holds; there are a few keys, and the table's primary key refuses a clash.
const BYTES: usize = 8;

/// `kid`: exactly 16 lower-case hexadecimal digits, so that no name from a token can be a path, a URL or SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; BYTES]);

impl KeyId {
    /// A new name.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; BYTES];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let lower = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; BYTES];
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(Error::KeyIdInvalid);
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::KeyId;
    use proptest::prelude::*;

    #[test]
    fn anything_but_sixteen_lower_case_digits_is_refused() {
        for text in [
            "",
            "0",
            "0123456789ABCDEF",
            "../../../etc/key",
            "0123456789abcdef0",
            "0123456789abcde\n",
        ] {
            assert!(text.parse::<KeyId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back(bytes: [u8; 8]) {
            let id = KeyId(bytes);
            prop_assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        }

        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = text.parse::<KeyId>();
        }
    }
}
