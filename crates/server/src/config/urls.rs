//! The two kinds of URLs that can be set.

use super::setting::Value;
use super::values::{REDACTED, as_setting};
use http::uri::{Authority, PathAndQuery, Scheme};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;

/// A `postgres://` URL; its password is hidden when shown.
#[derive(Clone)]
pub(crate) struct DatabaseUrl(SecretString);

impl DatabaseUrl {
    /// From text known to be a URL of a database, as quickstart makes it.
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self(url.into().into())
    }

    /// The whole URL, password included.
    pub(crate) fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({})", self.text())
    }
}

as_setting!(DatabaseUrl);

impl Value for DatabaseUrl {
    const WANTS: &'static str = "a URL such as `postgres://user:password@host:5432/database`";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(format!("is not {}", Self::WANTS));
        }
        let url = Self::new(text);
        // The error's own text names the part that is wrong, never the value.
        portolan_pg::Endpoint::parse(&url.0).map_err(|error| format!("is not usable: {error}"))?;
        Ok(url)
    }

    fn text(&self) -> String {
        redact_url(self.0.expose_secret())
    }
}

/// `postgres://user:secret@host/db?password=secret` without its secrets.
fn redact_url(url: &str) -> String {
    let (before_query, query) = url
        .split_once('?')
        .map_or((url, None), |(url, query)| (url, Some(query)));
    let mut shown = match (
        before_query.split_once("://"),
        before_query.rsplit_once('@'),
    ) {
        (Some((scheme, _)), Some((credentials, rest))) => {
            let account = &credentials[scheme.len() + 3..];
            let user = account.split_once(':').map_or(account, |(user, _)| user);
            let password = if account.contains(':') {
                format!(":{REDACTED}")
            } else {
                String::new()
            };
            format!("{scheme}://{user}{password}@{rest}")
        }
        _ => before_query.to_owned(),
    };
    if let Some(query) = query {
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((name, _)) if name.contains("password") => format!("{name}={REDACTED}"),
            _ => part.to_owned(),
        });
        shown.push('?');
        shown.push_str(&parts.collect::<Vec<_>>().join("&"));
    }
    shown
}

/// Scheme and authority of a URL that has nothing else: no path, and nobody's name or password.
pub(super) fn without_path(text: &str) -> Option<(Scheme, Authority)> {
    let http::uri::Parts {
        scheme,
        authority,
        path_and_query,
        ..
    } = text.parse::<http::Uri>().ok()?.into_parts();
    let path = path_and_query.as_ref().map(PathAndQuery::as_str);
    let is_bare = matches!(path, None | Some("/" | ""));
    let authority = authority.filter(|authority| is_bare && !authority.as_str().contains('@'))?;
    Some((scheme?, authority))
}

/// The address that clients know this registry by: a scheme and an authority, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    /// Whether clients come by TLS.
    pub(crate) https: bool,
    /// Host, and port where it is not the scheme's own.
    pub(crate) authority: Authority,
}

as_setting!(PublicUrl);

impl PublicUrl {
    /// `https://registry.example.com`
    pub(crate) fn base(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

impl Value for PublicUrl {
    const WANTS: &'static str = "a URL without a path such as `https://registry.example.com`";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not {}", Self::WANTS);
        let (scheme, authority) = without_path(text).ok_or_else(wrong)?;
        let https = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        Ok(Self { https, authority })
    }

    fn text(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_passwords() {
        assert_eq!(
            redact_url("postgres://u:p@h:5432/d"),
            "postgres://u:[redacted]@h:5432/d"
        );
        assert_eq!(
            redact_url("postgres://u:p%40@h/d?sslpassword=x&a=b"),
            "postgres://u:[redacted]@h/d?sslpassword=[redacted]&a=b"
        );
        assert_eq!(
            redact_url("postgres://u@/d?host=%2Ftmp"),
            "postgres://u@/d?host=%2Ftmp"
        );
        assert_eq!(redact_url("postgres://h/d"), "postgres://h/d");
        assert_eq!(
            redact_url("postgres://u:a:b@c@h/d"),
            "postgres://u:[redacted]@h/d"
        );
    }

    #[test]
    fn a_public_url_has_no_path() {
        assert!(PublicUrl::parse("https://registry.example.com").is_ok());
        assert!(PublicUrl::parse("http://localhost:5000/").is_ok());
        for text in [
            "registry.example.com",
            "https://h/path",
            "ftp://h",
            "https://u@h",
            "https://h?x",
            "",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }
}
