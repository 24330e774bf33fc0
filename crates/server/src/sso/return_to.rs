//! Where a browser goes after its login: to a path of this registry, and never anywhere else.

use super::error::Refusal;
use std::str::FromStr;

/// The longest path; it travels in a cookie.
const BYTES_MAX: usize = 1024;

/// A path of this registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReturnTo(String);

impl ReturnTo {
    /// The page that says who is signed in.
    pub(super) const DONE: &'static str = "/auth/done";

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ReturnTo {
    fn default() -> Self {
        Self(Self::DONE.to_owned())
    }
}

impl FromStr for ReturnTo {
    type Err = Refusal;

    /// Browsers take `\` for `/`, drop tabs and line feeds, and read `//host` as another server's.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte);
        let local = text.starts_with('/') && !text.starts_with("//");
        // It would begin another login.
        let loops = text.starts_with("/auth/oidc/");
        if local && !loops && text.len() <= BYTES_MAX && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::ReturnTo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReturnTo;

    #[test]
    fn only_paths_of_this_registry() {
        for good in [
            "/",
            "/auth/done",
            "/repository/acme/app?tab=tags&x=%2F",
            "/a//b",
        ] {
            assert!(good.parse::<ReturnTo>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /x",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/x\r\nset-cookie: a=b",
            "/\u{ff0f}/evil",
            "/auth/oidc/corp/login",
            &format!("/{}", "a".repeat(1024)),
        ] {
            assert!(bad.parse::<ReturnTo>().is_err(), "{bad:?}");
        }
    }

    /// With all that may be wrong, read as browsers read it.
    mod hostile {
        use super::super::ReturnTo;
        use crate::fuzz::check;
        use proptest::collection::vec;
        use proptest::prelude::*;
        use url::Url;

        fn text() -> impl Strategy<Value = String> {
            let piece = prop_oneof![
                prop::sample::select(vec![
                    "/",
                    "//",
                    "\\",
                    ".",
                    "..",
                    "%2f",
                    "%5c",
                    "@",
                    ":",
                    "?",
                    "#",
                    "&",
                    "\t",
                    "\n",
                    "\r",
                    " ",
                    "\u{0}",
                    "evil.example",
                    "https:",
                    "javascript:",
                    "auth",
                    "oidc",
                    "\u{ff0f}",
                    "[::1]",
                    ";",
                    "%",
                ])
                .prop_map(str::to_owned),
                "[a-z0-9]{1,6}",
                "\\PC{0,3}",
            ];
            let pieces = vec(piece, 0..10).prop_map(|pieces| pieces.concat());
            prop_oneof![pieces.clone(), pieces.prop_map(|rest| format!("/{rest}"))]
        }

        #[test]
        fn a_browser_stays_at_this_registry_wherever_it_is_sent() {
            let base =
                Url::parse("https://registry.example:8443/auth/oidc/corp/callback?code=x").unwrap();
            check(&text(), |text| {
                let Ok(target) = text.parse::<ReturnTo>() else {
                    return;
                };
                let reached = base.join(target.as_str()).unwrap();
                assert_eq!(reached.origin(), base.origin(), "`{text}`");
                assert_eq!(
                    (reached.username(), reached.password()),
                    ("", None),
                    "`{text}`"
                );
                // A header's value, and no more of them.
                assert!(
                    axum::http::HeaderValue::try_from(target.as_str()).is_ok(),
                    "`{text}`"
                );
            });
        }
    }
}
