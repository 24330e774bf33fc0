//! The challenge of a 401: where to get a token, and for what.
//!
//! Exactly one, Bearer only, values in double quotes and no space after a comma: oras reads only the first
//! header, Watchtower wants the word `Bearer` first, and a Basic challenge beside it broke
//! go-containerregistry (goharbor/harbor#18856). Basic is accepted on `/v2` but never advertised.

use super::origin::Origin;
use axum::http::HeaderValue;
use std::fmt::Write as _;
use std::sync::Arc;

/// Where tokens are made, below the origin the client sees. Lower case, because Watchtower lower-cases it.
const TOKEN_PATH: &str = "/v2/auth";

/// Why the credentials that came were not enough (RFC 6750 section 3.1). Without it containerd cannot tell
/// that it asks in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChallengeError {
    /// Unreadable, expired, forged, or of an account that ended its tokens.
    InvalidToken,
    /// Good, but not for this.
    InsufficientScope,
}

impl ChallengeError {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// Writes challenges for this installation's service name.
#[derive(Debug, Clone)]
pub(crate) struct Challenger {
    service: Arc<str>,
}

impl Challenger {
    /// For the service that tokens are made for.
    pub(crate) fn new(service: Arc<str>) -> Self {
        Self { service }
    }

    /// The value of `WWW-Authenticate`. `scope` is absent on `/v2/` only. The realm has the host and port
    /// that the client used, since go-containerregistry refuses a private address that differs.
    pub(crate) fn challenge(
        &self,
        origin: &Origin,
        scope: Option<&str>,
        error: Option<ChallengeError>,
    ) -> HeaderValue {
        let mut text = String::with_capacity(160);
        text.push_str("Bearer ");
        attribute(
            &mut text,
            "realm",
            &format!("{}{TOKEN_PATH}", origin.base_url()),
        );
        text.push(',');
        attribute(&mut text, "service", &self.service);
        if let Some(scope) = scope {
            text.push(',');
            attribute(&mut text, "scope", scope);
        }
        if let Some(error) = error {
            text.push(',');
            attribute(&mut text, "error", error.as_str());
        }
        HeaderValue::try_from(text).expect("attributes hold visible ASCII and spaces only")
    }
}

/// Adds `name="value"` as a quoted string (RFC 9110 section 5.6.4); what cannot stand in a header is left out.
fn attribute(into: &mut String, name: &str, value: &str) {
    write!(into, "{name}=\"").expect("writing to a string does not fail");
    for character in value.chars() {
        match character {
            '"' | '\\' => into.extend(['\\', character]),
            ' '..='~' => into.push(character),
            _ => {}
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::attribute;
    use proptest::prelude::*;

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let mut text = String::new();
        attribute(&mut text, "realm", "a\",scope=\"b\\\r\nX: y");
        assert_eq!(text, r#"realm="a\",scope=\"b\\X: y""#);
    }

    proptest! {
        #[test]
        fn any_value_makes_a_header(value in "\\PC*|[\\x00-\\x1f]*") {
            let mut text = String::new();
            attribute(&mut text, "realm", &value);
            prop_assert!(axum::http::HeaderValue::try_from(text).is_ok());
        }
    }
}
