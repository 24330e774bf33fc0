//! Where other servers are: URLs that may be asked.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

/// The longest URL that is read, in bytes. Those of providers have about a hundred.
const BYTES_MAX: usize = 2048;

/// A URL with `https`, or with `http` on this machine's loopback, without user and fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpsUrl(Arc<str>);

/// A text that is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no URL with `https`, or with `http` on the loopback")]
pub struct HttpsUrlError;

impl HttpsUrl {
    /// The URL as it was written: issuers are compared byte by byte.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has a query, which an issuer must not (OpenID Connect Discovery 1.0 section 2).
    pub fn has_query(&self) -> bool {
        self.0.contains('?')
    }

    /// Where an issuer says what there is of it (OpenID Connect Discovery 1.0 section 4).
    pub(super) fn discovery(&self) -> Self {
        let issuer = self.0.trim_end_matches('/');
        Self(format!("{issuer}/.well-known/openid-configuration").into())
    }
}

impl FromStr for HttpsUrl {
    type Err = HttpsUrlError;

    fn from_str(text: &str) -> Result<Self, HttpsUrlError> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
        let (rest, secure) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (rest, true),
            (_, Some(rest)) => (rest, false),
            _ => return Err(HttpsUrlError),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host(authority).ok_or(HttpsUrlError)?;
        let fits = text.len() <= BYTES_MAX && text.bytes().all(plain);
        if fits && (secure || is_loopback(host)) {
            Ok(Self(text.into()))
        } else {
            Err(HttpsUrlError)
        }
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host of a host with or without a port; `None` where it cannot be one, a user's name before it included.
fn host(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = match host.strip_prefix('[') {
        Some(inner) => inner.trim_end_matches(']').parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(named),
    };
    let is_port = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    (is_host && is_port).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::HttpsUrl;

    #[test]
    fn only_https_or_the_loopback() {
        for good in [
            "https://id.example.com",
            "https://id.example.com:8443/realms/a?x=y",
            "https://[2001:db8::1]:1/",
            "http://127.0.0.1:9401",
            "http://127.1.2.3/x",
            "http://localhost:1",
            "http://[::1]:80/",
        ] {
            assert!(good.parse::<HttpsUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "id.example.com",
            "http://id.example.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@evil.example",
            "http://localhost:1@evil.example/",
            "http://169.254.169.254/",
            "http://[::2]/",
            "https://",
            "https:///x",
            "https://u@h",
            "https://h:x",
            "https://h#f",
            "https://h\\e",
            "https://h x",
            "https://h\n",
            "file:///etc/passwd",
            "HTTPS://h",
        ] {
            assert!(bad.parse::<HttpsUrl>().is_err(), "{bad}");
        }
    }
}
