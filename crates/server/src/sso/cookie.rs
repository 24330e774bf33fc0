//! Cookies: how they are read, and how ours are set (RFC 6265).

use crate::layer::Origin;
use crate::layer::origin::Scheme;
use axum::http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

/// A cookie of ours. None is for scripts, or for requests that another site's page makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// What belongs to one way to the provider and back.
    Login,
    /// The session.
    Session,
}

impl Cookie {
    /// With TLS the prefix keeps other hosts of the domain from setting it (RFC 6265bis section 4.1.3.2).
    fn name(self, origin: &Origin) -> &'static str {
        match (self, origin.scheme) {
            (Self::Login, Scheme::Https) => "__Host-portolan_login",
            (Self::Login, Scheme::Http) => "portolan_login",
            (Self::Session, Scheme::Https) => "__Host-portolan_session",
            (Self::Session, Scheme::Http) => "portolan_session",
        }
    }

    /// Its value in a request. Of two of one name neither is believed.
    pub(super) fn of<'a>(self, headers: &'a HeaderMap, origin: &Origin) -> Option<&'a str> {
        let name = self.name(origin);
        let lines = headers.get_all(header::COOKIE).iter();
        let mut values = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    /// The header that sets it. `value` is base64url.
    pub(super) fn set(self, value: &str, lifetime: Duration, origin: &Origin) -> HeaderValue {
        let secure = match origin.scheme {
            Scheme::Https => "; Secure",
            Scheme::Http => "",
        };
        let (name, seconds) = (self.name(origin), lifetime.as_secs());
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).expect("base64url and our own words stand in a header")
    }

    /// The header that takes it away.
    pub(super) fn clear(self, origin: &Origin) -> HeaderValue {
        self.set("", Duration::ZERO, origin)
    }
}
