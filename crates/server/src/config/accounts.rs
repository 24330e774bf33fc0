//! `[secrets]`, `[admin]` and `[tokens]`: keys and accounts.

use super::report::Report;
use super::setting::{Value, settings};
use super::values::{REDACTED, as_setting};
use portolan_auth::SealKey;
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

/// The installation's key: 32 bytes, written in base64.
#[derive(Debug, Clone)]
pub(crate) struct SecretKey(SecretString);

impl SecretKey {
    /// From text known to be such a key, as quickstart makes it.
    pub(crate) fn from_base64(text: &str) -> Self {
        Self(text.into())
    }

    /// The key for sealing.
    pub(crate) fn seal_key(&self) -> Result<SealKey, portolan_auth::Error> {
        SealKey::from_base64(&self.0)
    }
}

as_setting!(SecretKey);

impl Value for SecretKey {
    const WANTS: &'static str = "32 bytes in base64, as `openssl rand -base64 32` makes them";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let key = Self::from_base64(text);
        key.seal_key()
            .map(|_| key)
            .map_err(|_| format!("is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        REDACTED.to_owned()
    }
}

settings! {
    /// Keys of the installation.
    pub(crate) struct Secrets {
        /// 32 random bytes in base64 (`openssl rand -base64 32`), the same for every process. It seals what must stay secret in the database:
        /// the keys that sign tokens. Whoever has it and the database can make tokens.
        pub(crate) key: Option<SecretKey> = None,
        /// Keys that were `key` before, as a list. What they sealed opens still; `portolan admin key reseal` seals it with `key`, and then they can go.
        pub(crate) old_keys: Vec<SecretKey> = Vec::new(),
    }
}

settings! {
    /// An administrator's account that exists from the first start on.
    pub(crate) struct Admin {
        /// Its name. The account is made if it is missing; an existing one is left as it is, its password too.
        pub(crate) username: Option<String> = None,
        /// Its first password.
        pub(crate) password: Option<SecretString> = None,
    }
}

settings! {
    /// Tokens of the token service at `/v2/auth`.
    pub(crate) struct Tokens {
        /// The `service` that challenges name and tokens are made for. Must be the same in every process.
        pub(crate) service: String = "portolan".to_owned(),
        /// How long a token lasts. Rights are looked up with every request, so a longer life widens nothing; below 60 s clients would ask
        /// for a token with nearly every request.
        pub(crate) lifetime: Duration = Duration::from_mins(5),
        /// How long a key signs before another takes its place, which a process with the role `worker` sees to. Nobody notices. `0s`: only
        /// `portolan admin key rotate` does it.
        pub(crate) key_rotation: Duration = Duration::from_hours(90 * 24),
    }
}

/// The specification's least life of a token, which some clients assume without asking.
const SHORTEST_TOKEN: Duration = Duration::from_mins(1);
/// Tokens say who somebody is and cannot be taken back one by one; an hour bounds a stolen one.
const LONGEST_TOKEN: Duration = Duration::from_hours(1);
/// A few keys verify at any time, whatever the lives of tokens.
const SHORTEST_ROTATION: Duration = Duration::from_hours(24);

impl Secrets {
    /// What seals and opens; `None` where no key is configured.
    pub(crate) fn seal_key(&self) -> Result<Option<SealKey>, portolan_auth::Error> {
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let old = self.old_keys.iter().map(SecretKey::seal_key);
        Ok(Some(
            key.seal_key()?.with_old(old.collect::<Result<_, _>>()?),
        ))
    }

    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.key.is_none() {
            report.about(
                "secrets.key",
                "is required; `openssl rand -base64 32` makes one",
            );
        }
    }
}

impl Admin {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        match (&self.username, &self.password) {
            (Some(_), None) => {
                report.about("admin.password", "is missing, but `admin.username` is set");
            }
            (None, Some(_)) => {
                report.about("admin.username", "is missing, but `admin.password` is set");
            }
            _ => {}
        }
        if self
            .password
            .as_ref()
            .is_some_and(|password| password.expose_secret().is_empty())
        {
            report.about("admin.password", "is empty");
        }
    }
}

impl Tokens {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        let plain = |character: char| {
            character.is_ascii_lowercase()
                || character.is_ascii_digit()
                || ".-_:".contains(character)
        };
        // Some clients lower-case the whole challenge, and it stands inside quotes.
        if self.service.is_empty() || !self.service.chars().all(plain) {
            report.about(
                "tokens.service",
                "wants lower-case letters, digits and `.-_:`",
            );
        }
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&self.lifetime) {
            report.about("tokens.lifetime", "must lie between `1m` and `1h`");
        }
        if !self.key_rotation.is_zero() && self.key_rotation < SHORTEST_ROTATION {
            report.about("tokens.key_rotation", "must be `0s`, or at least `1d`");
        }
    }
}
