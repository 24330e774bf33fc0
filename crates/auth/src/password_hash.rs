//! The stored form of a password: an argon2id string in PHC format.
//!
//! <https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md>

use crate::Error;
use argon2::password_hash::{PasswordHash as Phc, Salt, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use rand::CryptoRng;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::str::FromStr;

/// Memory for one hash: 19 MiB with two passes and one lane, the first choice of the OWASP Password Storage
/// Cheat Sheet for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Salt as RFC 9106 section 3.1 recommends.
const SALT_BYTES: usize = 16;

/// A hash as it lies in the database.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes `password` with today's parameters: about 20 ms of one core, so never on an async thread.
    pub(crate) fn compute(password: &SecretString, salt: [u8; SALT_BYTES]) -> Result<Self, Error> {
        let salt = SaltString::encode_b64(&salt).map_err(|_| Error::Crypto)?;
        hasher()?
            .hash_password(password.expose_secret().as_bytes(), Salt::from(&salt))
            .map(|hash| Self(hash.to_string()))
            .map_err(|_| Error::Crypto)
    }

    /// A new salt.
    pub(crate) fn salt(rng: &mut impl CryptoRng) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        salt
    }

    /// Whether `password` is the one. Costs what the stored parameters say; compares in constant time.
    pub(crate) fn matches(&self, password: &SecretString) -> bool {
        let (Ok(stored), Ok(hasher)) = (Phc::new(&self.0), hasher()) else {
            return false;
        };
        hasher
            .verify_password(password.expose_secret().as_bytes(), &stored)
            .is_ok()
    }

    /// The PHC string, for the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn hasher() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Error::Crypto)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl FromStr for PasswordHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = Phc::new(text).map_err(|_| Error::PasswordHashInvalid)?;
        let whole = parsed.salt.is_some() && parsed.hash.is_some();
        if parsed.algorithm.as_str() != "argon2id" || !whole {
            return Err(Error::PasswordHashInvalid);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Never shows the hash: it can be attacked offline.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
