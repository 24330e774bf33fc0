//! The parameters of a token request, from a query or a form.

use super::Error;
use super::login::Login;
use portolan_auth::{Scope, parse_scopes};
use secrecy::SecretString;

/// Parameters as they came, repeated names included. Names we have no use for are ignored: `service` (there
/// is one), `account` (the credentials say who), `client_id`, `offline_token` and `access_type` (no refresh
/// token is ever made, and wanting one must not fail).
pub(super) type Pairs = Vec<(String, String)>;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// What we understood of it.
    pub(super) scopes: Vec<Scope>,
    /// Whether there was any, understood or not: `docker login` asks for nothing.
    pub(super) any: bool,
}

impl Asked {
    /// Reads every `scope`.
    pub(super) fn of(pairs: &Pairs) -> Self {
        let values = || {
            pairs
                .iter()
                .filter(|(name, _)| name == "scope")
                .map(|(_, value)| value.as_str())
        };
        Self {
            scopes: parse_scopes(values()),
            any: values().any(|value| !value.trim().is_empty()),
        }
    }
}

/// The credentials of an OAuth form (RFC 6749 section 4.3).
///
/// # Errors
/// Another grant than `password` is a bad request, a refresh token above all: none was ever given out.
/// containerd and buildkit try GET with Basic after that.
pub(super) fn password_grant(pairs: Pairs) -> Result<Login, Error> {
    let mut grant_type = None;
    let mut name = None;
    let mut password = None;
    for (key, value) in pairs {
        match key.as_str() {
            "grant_type" => grant_type = Some(value),
            "username" => name = Some(value),
            "password" => password = Some(SecretString::from(value)),
            _ => {}
        }
    }
    match (grant_type.as_deref(), name, password) {
        (Some("password"), Some(name), Some(password)) => Ok(Login { name, password }),
        (Some("password"), _, _) => Err(Error::BadRequest(
            "the password grant needs `username` and `password`",
        )),
        (Some("refresh_token"), _, _) => Err(Error::BadRequest(
            "refresh tokens are not issued here, use a password",
        )),
        _ => Err(Error::BadRequest("`grant_type` must be `password`")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Pairs, password_grant};

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn a_blank_scope_is_none() {
        assert!(!Asked::of(&pairs(&[("service", "x"), ("scope", " ")])).any);
        assert!(Asked::of(&pairs(&[("scope", ""), ("scope", "unknown:x:y")])).any);
    }

    #[test]
    fn only_the_password_grant_gives_credentials() {
        let login = password_grant(pairs(&[
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", "secret"),
            ("access_type", "offline"),
        ]));
        assert_eq!(login.unwrap().name, "alice");
        for refused in [
            &[][..],
            &[("username", "alice"), ("password", "secret")],
            &[("grant_type", "password"), ("username", "alice")],
            &[("grant_type", "refresh_token"), ("refresh_token", "x")],
            &[("grant_type", "client_credentials")],
        ] {
            assert!(password_grant(pairs(refused)).is_err(), "{refused:?}");
        }
    }
}
