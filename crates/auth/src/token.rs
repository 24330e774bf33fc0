//! What a token says.
//!
//! ```json
//! {"iss":"portolan","aud":"portolan","sub":"alice","uid":17,"gen":1,"via":"password","iat":..,"nbf":..,"exp":..,"jti":"..",
//!  "access":[{"type":"repository","name":"library/alpine","actions":["pull"]}]}
//! ```
//! `uid`, `gen` and `via` are absent for the anonymous; `cid` is there where the token ends with a credential of its own. The account's generation ends all its tokens at once: the
//! statement that resolves a repository compares it with the row.

use crate::{Error, Grant, Method};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `iss` of every token.
pub(crate) const ISSUER: &str = "portolan";

/// How long a token lives unless configured otherwise: clients that are not told assume 60 s, so this divides
/// their token requests by five, and a leaked token is of use for five minutes.
pub const LIFETIME: Duration = Duration::from_mins(5);

/// How far two clocks may differ, as the distribution project's verifier allows.
pub(crate) const LEEWAY: Duration = Duration::from_mins(1);

/// The longest token that is looked at. Ours have at most about 6 KiB (see `scope`); common proxies cut a header
/// line at 8 KiB.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The name of an account as a token carries it, for logs; nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The longest name, in bytes; a repository's path, which begins with it, cannot be longer either.
    const BYTES_MAX: usize = 255;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Error::SubjectInvalid);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The account's row.
    pub account: i64,
    /// The generation its tokens must have.
    pub generation: i64,
    /// Its name.
    pub name: Subject,
    /// What it was given for.
    pub method: Method,
    /// The row of that, where the token is to end with it.
    pub credential: Option<i64>,
}

/// What a new token is to say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// `None` for the anonymous.
    pub holder: Option<TokenHolder>,
    /// How far it reaches.
    pub grants: Vec<Grant>,
}

/// A verified token.
#[derive(Debug, Clone)]
pub struct Token {
    /// `None` for the anonymous.
    pub holder: Option<TokenHolder>,
    /// How far it reaches: an upper bound, never a right.
    pub grants: Arc<[Grant]>,
    /// The end of its life; a minute's difference between clocks is allowed for beyond it.
    pub expires_at: SystemTime,
    pub(crate) valid_from: SystemTime,
}

/// The claims as they are written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) r#gen: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) via: Option<Method>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cid: Option<i64>,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) exp: u64,
    pub(crate) jti: String,
    #[serde(default)]
    pub(crate) access: Vec<Grant>,
}

/// Seconds since 1970, as `NumericDate` of RFC 7519 section 2.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
