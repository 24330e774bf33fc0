//! Secrets that programs show: 256 random bits, of which only the hash is kept.
//!
//! ```text
//! plr_ (robot) or pla_ (application) | 43 characters of base62 | CRC-32 of all before it, 6 characters of base62
//! ```
//! The form tells a secret from a password without a database, and lets scanners of source code find one that leaked: the
//! prefix names us and the checksum keeps them from crying wolf. A hash without salt and work factor is enough for what
//! nobody can guess, and it is what finds the row.

use rand::CryptoRng;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// What a secret is for; its prefix says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// A robot's.
    Robot,
    /// An application token.
    Application,
    /// In a mail that lets its reader choose a new password.
    Recovery,
}

/// Digits, then letters; a double click selects all of it, and no shell needs quotes.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX_LEN: usize = 4;
/// 43 of 62 characters are 256.03 bits.
const RANDOM_LEN: usize = 43;
/// 62 to the 6th is more than 2 to the 32nd.
const CHECKSUM_LEN: usize = 6;

impl SecretKind {
    const ALL: [Self; 3] = [Self::Robot, Self::Application, Self::Recovery];

    /// What a secret of this kind begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Robot => "plr_",
            Self::Application => "pla_",
            Self::Recovery => "plm_",
        }
    }

    /// The kind of a text that has the form of a secret of ours, checksum included. Whether anybody has it is another matter.
    pub fn of(text: &SecretString) -> Option<Self> {
        let text = text.expose_secret();
        let kind = Self::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))?;
        if text.len() != PREFIX_LEN + RANDOM_LEN + CHECKSUM_LEN || !text.is_ascii() {
            return None;
        }
        let (body, sum) = text.split_at(PREFIX_LEN + RANDOM_LEN);
        (checksum(body) == sum).then_some(kind)
    }
}

/// A secret that nobody has yet: shown once, to whoever asked for it.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// A new one.
    pub fn new(kind: SecretKind, rng: &mut impl CryptoRng) -> Self {
        let mut text = String::with_capacity(PREFIX_LEN + RANDOM_LEN + CHECKSUM_LEN);
        text.push_str(kind.prefix());
        // Bytes from the last, incomplete round of the alphabet are drawn again, so that all characters are as likely.
        let whole = (256 / ALPHABET.len()) * ALPHABET.len();
        while text.len() < PREFIX_LEN + RANDOM_LEN {
            let mut byte = [0];
            rng.fill_bytes(&mut byte);
            let drawn = usize::from(byte[0]);
            if drawn < whole {
                text.push(char::from(ALPHABET[drawn % ALPHABET.len()]));
            }
        }
        let sum = checksum(&text);
        text.push_str(&sum);
        Self(text.into())
    }

    /// The text, to be shown.
    pub fn text(&self) -> &SecretString {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        hash_secret(&self.0)
    }
}

/// What is kept of a secret, ours or imported: its SHA-256.
pub fn hash_secret(text: &SecretString) -> [u8; 32] {
    Sha256::digest(text.expose_secret().as_bytes()).into()
}

fn checksum(body: &str) -> String {
    let mut rest = usize::try_from(crc32fast::hash(body.as_bytes())).unwrap_or(usize::MAX);
    let mut digits = [0; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretKind, hash_secret};
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use secrecy::{ExposeSecret as _, SecretString};

    #[test]
    fn a_secret_is_told_by_its_form() {
        let mut rng = StdRng::seed_from_u64(1);
        for kind in SecretKind::ALL {
            let secret = Secret::new(kind, &mut rng);
            let text = secret.text().expose_secret();
            assert_eq!(text.len(), 53);
            assert!(text.starts_with(kind.prefix()));
            assert_eq!(SecretKind::of(secret.text()), Some(kind));
            assert_eq!(secret.hash(), hash_secret(secret.text()));
            assert!(!format!("{secret:?}").contains(&text[4..]), "never printed");
        }
        assert_ne!(
            Secret::new(SecretKind::Robot, &mut rng).hash(),
            Secret::new(SecretKind::Robot, &mut rng).hash()
        );
    }

    #[test]
    fn a_slip_in_any_place_is_noticed() {
        let secret = Secret::new(SecretKind::Application, &mut StdRng::seed_from_u64(2));
        let text = secret.text().expose_secret();
        for place in 0..text.len() {
            let other = if text.as_bytes()[place] == b'x' {
                "y"
            } else {
                "x"
            };
            let mut changed = text.to_owned();
            changed.replace_range(place..=place, other);
            assert_eq!(SecretKind::of(&changed.into()), None, "place {place}");
            assert_eq!(
                SecretKind::of(&text[..place].into()),
                None,
                "cut at {place}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_form_or_none(text in "(pl[arm]_)?\\PC{0,60}") {
            prop_assert_eq!(SecretKind::of(&SecretString::from(text)), None);
        }
    }
}
