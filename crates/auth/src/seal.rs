//! Secrets that lie in the database, sealed with the configured key.
//!
//! AES-256-GCM with a random nonce. The associated data is the purpose and the record's name, so that a
//! sealed value moved to another row, or from another kind of secret, does not open.
//!
//! ```text
//! version (1) | fingerprint of the sealing key (4) | nonce (12) | ciphertext | tag (16)
//! ```
//! Random nonces are safe for 2^32 values under one key (NIST SP 800-38D section 8.3); we seal some tens a year.

use crate::{DigestKey, Error};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest as _, Sha256};
use std::fmt;

const VERSION: u8 = 1;
const FINGERPRINT_LEN: usize = 4;
const HEADER_LEN: usize = 1 + FINGERPRINT_LEN + NONCE_LEN;
const KEY_LEN: usize = 32;

/// What a sealed value is; part of the associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The private half of a token-signing key.
    SigningKey,
    /// What a browser carries on its way to a provider of single sign-on and back.
    Login,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::SigningKey => "signing-key",
            Self::Login => "login",
        }
    }
}

/// The installation's key for secrets at rest (`SECRETS__KEY`), and those it had before (`SECRETS__OLD_KEYS`): they open
/// what was sealed with them, and seal nothing.
pub struct SealKey {
    key: LessSafeKey,
    /// Where keys for other ends come from.
    root: hmac::Key,
    /// Tells "sealed with another key" from "damaged"; says nothing about the key itself.
    fingerprint: [u8; FINGERPRINT_LEN],
    old: Vec<SealKey>,
}

/// What a sealed value was sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedWith {
    /// The key that seals now.
    Current,
    /// One of the old ones.
    Old,
    /// None that is known here.
    Unknown,
}

impl SealKey {
    /// From its 32 bytes.
    pub fn from_bytes(bytes: &SecretBox<[u8; KEY_LEN]>) -> Result<Self, Error> {
        let raw = bytes.expose_secret();
        let key = UnboundKey::new(&AES_256_GCM, raw).map_err(|_| Error::Crypto)?;
        let hash = Sha256::new()
            .chain_update("portolan seal fingerprint\0")
            .chain_update(raw)
            .finalize();
        let mut fingerprint = [0; FINGERPRINT_LEN];
        fingerprint.copy_from_slice(&hash[..FINGERPRINT_LEN]);
        Ok(Self {
            key: LessSafeKey::new(key),
            root: hmac::Key::new(hmac::HMAC_SHA256, raw),
            fingerprint,
            old: Vec::new(),
        })
    }

    /// And these were used before.
    #[must_use]
    pub fn with_old(self, old: Vec<SealKey>) -> Self {
        Self { old, ..self }
    }

    /// With which key a value was sealed.
    pub fn sealed_with(&self, sealed: &[u8]) -> SealedWith {
        let fingerprint = sealed.get(1..=FINGERPRINT_LEN).unwrap_or_default();
        if fingerprint == self.fingerprint {
            SealedWith::Current
        } else if self.old.iter().any(|old| fingerprint == old.fingerprint) {
            SealedWith::Old
        } else {
            SealedWith::Unknown
        }
    }

    /// From the configured text, standard base64 with or without surrounding white space.
    pub fn from_base64(text: &SecretString) -> Result<Self, Error> {
        let decoded = STANDARD
            .decode(text.expose_secret().trim())
            .map_err(|_| Error::SealKeyInvalid)?;
        let raw: [u8; KEY_LEN] = decoded.try_into().map_err(|_| Error::SealKeyInvalid)?;
        Self::from_bytes(&SecretBox::new(Box::new(raw)))
    }

    /// A key for keyed digests of `what`, the same in every process that has this one, and of no use for anything else.
    pub fn digest_key(&self, what: &str) -> DigestKey {
        let derived = hmac::sign(&self.root, format!("portolan digest\0{what}").as_bytes());
        DigestKey::new(derived.as_ref())
    }

    /// Seals `plain` as the `purpose` secret called `name`.
    pub fn seal(
        &self,
        purpose: Purpose,
        name: &str,
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut body = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                associated(purpose, name),
                &mut body,
            )
            .map_err(|_| Error::Crypto)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.fingerprint);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`SealKey::seal`] made for the same purpose and name.
    pub fn open(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &[u8],
    ) -> Result<SecretBox<Vec<u8>>, Error> {
        let (header, body) = sealed
            .split_at_checked(HEADER_LEN)
            .ok_or(Error::SealBroken)?;
        let (version, header) = header.split_at(1);
        let (fingerprint, nonce) = header.split_at(FINGERPRINT_LEN);
        if version != [VERSION] {
            return Err(Error::SealBroken);
        }
        if fingerprint != self.fingerprint {
            let old = self.old.iter().find(|old| fingerprint == old.fingerprint);
            return old
                .ok_or(Error::SealedWithOtherKey)?
                .open(purpose, name, sealed);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::SealBroken)?;
        let mut opened = body.to_vec();
        let length = self
            .key
            .open_in_place(nonce, associated(purpose, name), &mut opened)
            .map_err(|_| Error::SealBroken)?
            .len();
        opened.truncate(length);
        Ok(SecretBox::new(Box::new(opened)))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("fingerprint", &hex::encode(self.fingerprint))
            .finish_non_exhaustive()
    }
}

fn associated(purpose: Purpose, name: &str) -> Aad<Vec<u8>> {
    // Neither part can hold a NUL, so the pair is unambiguous.
    Aad::from(format!("portolan\0{}\0{name}", purpose.label()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Purpose, SealKey, SealedWith};
    use crate::Error;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use secrecy::{ExposeSecret as _, SecretBox, SecretString};

    fn key(byte: u8) -> SealKey {
        SealKey::from_bytes(&SecretBox::new(Box::new([byte; 32]))).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_under_the_same_name_only() {
        let mut rng = StdRng::seed_from_u64(1);
        let sealed = key(1)
            .seal(Purpose::SigningKey, "a", b"secret", &mut rng)
            .unwrap();
        let opened = key(1).open(Purpose::SigningKey, "a", &sealed).unwrap();
        assert_eq!(opened.expose_secret(), b"secret");
        assert!(matches!(
            key(1).open(Purpose::SigningKey, "b", &sealed),
            Err(Error::SealBroken)
        ));
        assert!(matches!(
            key(2).open(Purpose::SigningKey, "a", &sealed),
            Err(Error::SealedWithOtherKey)
        ));
    }

    #[test]
    fn what_an_old_key_sealed_opens_and_is_sealed_anew_with_the_new_one() {
        let mut rng = StdRng::seed_from_u64(1);
        let seal = |key: &SealKey, rng: &mut StdRng| {
            key.seal(Purpose::SigningKey, "a", b"secret", rng).unwrap()
        };
        let rotated = || key(3).with_old(vec![key(2), key(1)]);
        for old in [1, 2] {
            let sealed = seal(&key(old), &mut rng);
            assert_eq!(rotated().sealed_with(&sealed), SealedWith::Old);
            let opened = rotated().open(Purpose::SigningKey, "a", &sealed).unwrap();
            assert_eq!(opened.expose_secret(), b"secret");
        }
        let anew = seal(&rotated(), &mut rng);
        assert_eq!(rotated().sealed_with(&anew), SealedWith::Current);
        assert!(key(3).open(Purpose::SigningKey, "a", &anew).is_ok());
        let strange = seal(&key(9), &mut rng);
        assert_eq!(rotated().sealed_with(&strange), SealedWith::Unknown);
        assert!(matches!(
            rotated().open(Purpose::SigningKey, "a", &strange),
            Err(Error::SealedWithOtherKey)
        ));
    }

    #[test]
    fn a_changed_or_cut_value_does_not_open() {
        let mut rng = StdRng::seed_from_u64(1);
        let sealed = key(1)
            .seal(Purpose::SigningKey, "a", b"secret", &mut rng)
            .unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(
                key(1).open(Purpose::SigningKey, "a", &changed).is_err(),
                "byte {place}"
            );
            assert!(
                key(1)
                    .open(Purpose::SigningKey, "a", &sealed[..place])
                    .is_err(),
                "cut at {place}"
            );
        }
    }

    #[test]
    fn equal_secrets_look_different() {
        let mut rng = StdRng::seed_from_u64(1);
        let one = key(1)
            .seal(Purpose::SigningKey, "a", b"secret", &mut rng)
            .unwrap();
        let two = key(1)
            .seal(Purpose::SigningKey, "a", b"secret", &mut rng)
            .unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn the_configured_key_must_be_thirty_two_bytes() {
        let text = |text: &str| SecretString::from(text);
        assert!(
            SealKey::from_base64(&text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")).is_ok()
        );
        for bad in [
            "",
            "AAAA",
            "not base64",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(
                matches!(SealKey::from_base64(&text(bad)), Err(Error::SealKeyInvalid)),
                "{bad}"
            );
        }
    }
}
