//! How other servers are asked, which is done by whoever knows HTTP.

use super::HttpsUrl;
use secrecy::SecretString;
use std::fmt::Debug;
use std::pin::Pin;

/// What to ask.
#[derive(Debug)]
pub struct Ask {
    /// Whom.
    pub url: HttpsUrl,
    /// With which credentials.
    pub shown: Shown,
    /// The form to post; `None`: a GET.
    pub form: Option<SecretString>,
}

/// Credentials for another server.
#[derive(Debug)]
pub enum Shown {
    /// None.
    Nothing,
    /// By HTTP Basic, both as the header wants them.
    Basic {
        /// The name.
        name: String,
        /// The password.
        password: SecretString,
    },
    /// By token.
    Bearer(SecretString),
}

/// What was answered. Redirects are answers, and not followed.
#[derive(Debug)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// The body, within the fetcher's bound.
    pub body: Vec<u8>,
}

/// There was no answer, or one beyond the bounds; the fetcher has said why in the log.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there was no answer")]
pub struct Unanswered;

/// What a [`Fetch`] returns.
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<Told, Unanswered>> + Send + 'a>>;

/// Asks other servers, each time within a bound of time and size.
///
/// Dropping the future gives the question up.
pub trait Fetch: Debug + Send + Sync {
    /// Asks once.
    fn fetch(&self, ask: Ask) -> FetchFuture<'_>;
}

/// Text as a form or a query has it: everything but RFC 3986's unreserved characters is encoded.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string never fails");
        }
    }
    out
}

/// Pairs as a form or a query.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
