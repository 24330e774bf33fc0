//! The stored form of a password: an argon2id string in PHC format, or bcrypt's where it was imported.
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

/// The highest cost of bcrypt that is looked at: 14 takes a second of a core, and each further one doubles that. What is
/// imported has 10 to 12.
const BCRYPT_COST_MAX: u32 = 14;

/// The most that is looked at of each of argon2's parameters: KiB of memory, passes, lanes. Two are computed at a time, so this
/// is half a gibibyte. What others store has some 64 MiB and three passes.
const ARGON2_MAX: [(&str, u32); 3] = [("m", 256 << 10), ("t", 16), ("p", 16)];

/// A hash as it lies in the database.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash {
    text: String,
    scheme: Scheme,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Argon2id,
    /// Never made here.
    Bcrypt,
}

impl PasswordHash {
    /// Hashes `password` with today's parameters: about 20 ms of one core, so never on an async thread.
    pub(crate) fn compute(password: &SecretString, salt: [u8; SALT_BYTES]) -> Result<Self, Error> {
        let salt = SaltString::encode_b64(&salt).map_err(|_| Error::Crypto)?;
        hasher()?
            .hash_password(password.expose_secret().as_bytes(), Salt::from(&salt))
            .map(|hash| Self {
                text: hash.to_string(),
                scheme: Scheme::Argon2id,
            })
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
        let password = password.expose_secret().as_bytes();
        match self.scheme {
            Scheme::Argon2id => {
                let (Ok(stored), Ok(hasher)) = (Phc::new(&self.text), hasher()) else {
                    return false;
                };
                hasher.verify_password(password, &stored).is_ok()
            }
            // As whoever made the hash did, it reads the first 72 bytes.
            Scheme::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
        }
    }

    /// Whether it should be replaced when the password is next known, because it was made another way than ours.
    pub fn needs_upgrade(&self) -> bool {
        self.scheme == Scheme::Bcrypt
    }

    /// The text for the database.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn hasher() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Error::Crypto)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl FromStr for PasswordHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let scheme = if is_bcrypt {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| Error::PasswordHashInvalid)?;
            if parts.get_cost() > BCRYPT_COST_MAX {
                return Err(Error::PasswordHashInvalid);
            }
            Scheme::Bcrypt
        } else {
            let parsed = Phc::new(text).map_err(|_| Error::PasswordHashInvalid)?;
            let whole = parsed.salt.is_some() && parsed.hash.is_some();
            if parsed.algorithm.as_str() != "argon2id" || !whole {
                return Err(Error::PasswordHashInvalid);
            }
            for (name, most) in ARGON2_MAX {
                if parsed
                    .params
                    .get_decimal(name)
                    .is_some_and(|value| value > most)
                {
                    return Err(Error::PasswordHashInvalid);
                }
            }
            Scheme::Argon2id
        };
        Ok(Self {
            text: text.to_owned(),
            scheme,
        })
    }
}

/// Never shows the hash: it can be attacked offline.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::PasswordHash;
    use secrecy::SecretString;

    /// Of the password `U*U`, from the test vectors of John the Ripper.
    const OF_U_STAR_U: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[test]
    fn an_imported_hash_is_checked_and_asks_to_be_replaced() {
        for version in ["$2a$", "$2b$", "$2y$"] {
            let hash: PasswordHash = OF_U_STAR_U.replacen("$2a$", version, 1).parse().unwrap();
            assert!(hash.needs_upgrade());
            assert!(hash.matches(&SecretString::from("U*U")), "{version}");
            assert!(!hash.matches(&SecretString::from("U*V")), "{version}");
            assert!(!hash.matches(&SecretString::from("")), "{version}");
        }
        let ours = PasswordHash::compute(&SecretString::from("U*U"), [0; 16]).unwrap();
        assert!(!ours.needs_upgrade());
    }

    #[test]
    fn a_hash_that_would_take_minutes_is_not_looked_at() {
        let dear = OF_U_STAR_U.replacen("$05$", "$31$", 1);
        assert!(dear.parse::<PasswordHash>().is_err());
        for broken in ["$2a$05$", "$2a$xx$CCCC", "$2x$05$abc"] {
            assert!(broken.parse::<PasswordHash>().is_err(), "{broken}");
        }
        let ours = PasswordHash::compute(&SecretString::from("U*U"), [0; 16]).unwrap();
        for (ours_has, dear) in [("m=19456", "m=4194304"), ("t=2", "t=4000"), ("p=1", "p=17")] {
            let other = ours.as_str().replacen(ours_has, dear, 1);
            assert_ne!(other, ours.as_str());
            assert!(other.parse::<PasswordHash>().is_err(), "{dear}");
        }
    }
}
