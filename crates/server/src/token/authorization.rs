//! The `Authorization` header (RFC 9110 section 11.6.2): Bearer (RFC 6750) or Basic (RFC 7617).

use super::Error;
use super::login::Login;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portolan_auth::TokenFault;

/// What a request shows.
#[derive(Debug)]
pub(crate) enum Authorization<'a> {
    /// No header.
    None,
    /// A name and a password.
    Basic(Login),
    /// A token, not yet verified.
    Bearer(&'a str),
}

impl<'a> Authorization<'a> {
    /// Reads the header. Two of them, another scheme, or an unreadable value are wrong credentials, never
    /// no credentials: a client that means to be somebody must not be served as nobody.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, Error> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Self::None);
        };
        if values.next().is_some() {
            return Err(Error::CredentialsWrong);
        }
        let text = value.to_str().map_err(|_| Error::CredentialsWrong)?.trim();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            return match rest {
                "" => Err(Error::TokenInvalid(TokenFault::Malformed)),
                token => Ok(Self::Bearer(token)),
            };
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return basic(rest).map(Self::Basic).ok_or(Error::CredentialsWrong);
        }
        Err(Error::CredentialsWrong)
    }
}

/// The name ends at the first colon; the password may hold more of them.
fn basic(encoded: &str) -> Option<Login> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some(Login {
        name: name.to_owned(),
        password: password.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::Authorization;
    use axum::http::{HeaderMap, HeaderValue, header};
    use secrecy::ExposeSecret as _;

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| HeaderValue::from_str(value).unwrap());
        values.map(|value| (header::AUTHORIZATION, value)).collect()
    }

    #[test]
    fn a_password_may_hold_colons_and_the_scheme_any_case() {
        // alice:pa:ss
        let headers = headers(&["bAsIc YWxpY2U6cGE6c3M="]);
        let Ok(Authorization::Basic(login)) = Authorization::of(&headers) else {
            panic!("Basic credentials expected")
        };
        assert_eq!(
            (login.name.as_str(), login.password.expose_secret()),
            ("alice", "pa:ss")
        );
    }

    #[test]
    fn nothing_is_nobody_and_nonsense_is_wrong() {
        assert!(matches!(
            Authorization::of(&headers(&[])),
            Ok(Authorization::None)
        ));
        for wrong in [
            &["Basic"][..],
            &["Basic !!!"],
            &["Basic YWxpY2U="],
            &["Basic /////w=="],
            &["Bearer"],
            &["Bearer "],
            &["Digest username=alice"],
            &[""],
            &["Bearer a", "Bearer b"],
        ] {
            assert!(Authorization::of(&headers(wrong)).is_err(), "{wrong:?}");
        }
    }

    /// With all that may be wrong.
    mod hostile {
        use super::super::Authorization;
        use crate::fuzz::check;
        use axum::http::{HeaderMap, HeaderValue, header};
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        use proptest::collection::vec;
        use proptest::prelude::*;
        use secrecy::ExposeSecret as _;

        fn bytes() -> impl Strategy<Value = Vec<u8>> {
            let encoded = vec(any::<u8>(), 0..40).prop_map(|bytes| STANDARD.encode(bytes));
            let schemes = prop::sample::select(vec!["Basic", "bearer", "BASIC", "Digest", "", " "]);
            let spaces = prop::sample::select(vec![" ", "", "  ", "\t", ","]);
            let plausible = (schemes, spaces, prop_oneof![encoded, "[ -~]{0,40}"])
                .prop_map(|(scheme, space, rest)| format!("{scheme}{space}{rest}").into_bytes());
            prop_oneof![plausible, vec(any::<u8>(), 0..80)]
        }

        #[test]
        fn no_header_is_nobody_and_nothing_else_is() {
            check(&vec(bytes(), 0..3), |lines| {
                let values: Vec<HeaderValue> = lines
                    .iter()
                    .filter_map(|line| HeaderValue::from_bytes(line).ok())
                    .collect();
                let count = values.len();
                let headers: HeaderMap = values
                    .into_iter()
                    .map(|value| (header::AUTHORIZATION, value))
                    .collect();
                let read = Authorization::of(&headers);
                assert_eq!(
                    matches!(read, Ok(Authorization::None)),
                    count == 0,
                    "{headers:?}"
                );
                if count > 1 {
                    assert!(read.is_err(), "{headers:?}");
                }
            });
        }

        #[test]
        fn a_name_and_a_password_come_out_as_they_went_in() {
            check(&("[^:\\p{C}]{0,20}", "\\PC{0,40}"), |(name, password)| {
                let encoded = STANDARD.encode(format!("{name}:{password}"));
                let value = HeaderValue::try_from(format!("Basic {encoded}")).unwrap();
                let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
                let Ok(Authorization::Basic(login)) = Authorization::of(&headers) else {
                    panic!("`{name}` and `{password}` are not read")
                };
                assert_eq!(
                    (login.name.as_str(), login.password.expose_secret()),
                    (name.as_str(), password.as_str())
                );
            });
        }
    }
}
