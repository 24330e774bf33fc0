//! Keyed digests of what must be recognised and never kept.

use aws_lc_rs::hmac;
use std::fmt;

/// A key for digests of one kind of thing.
#[derive(Clone)]
pub struct DigestKey(hmac::Key);

impl DigestKey {
    /// Of 32 bytes that nobody knows.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The digest of these parts, in this order; where one ends is part of it.
    pub fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::DigestKey;

    #[test]
    fn the_key_and_the_places_of_the_cuts_count() {
        let key = DigestKey::new(&[1; 32]);
        let digest = key.digest(&[b"ab", b"c"]);
        assert_eq!(digest, DigestKey::new(&[1; 32]).digest(&[b"ab", b"c"]));
        assert_ne!(digest, key.digest(&[b"a", b"bc"]));
        assert_ne!(digest, DigestKey::new(&[2; 32]).digest(&[b"ab", b"c"]));
    }
}
