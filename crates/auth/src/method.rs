//! How somebody has shown who he is.

use serde::{Deserialize, Serialize};

/// What was shown for a token, or with a request. It gives no right; the audit log keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A user's password.
    Password,
    /// A robot's secret.
    Robot,
    /// An application token.
    Application,
    /// A person's ID token of a provider of single sign-on.
    Oidc,
    /// A password that a directory has found right.
    Ldap,
    /// An ID token that a robot's rules admit.
    Keyless,
    /// A session of a browser.
    Session,
}

impl Method {
    /// The word in tokens and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Robot => "robot",
            Self::Application => "application",
            Self::Oidc => "oidc",
            Self::Ldap => "ldap",
            Self::Keyless => "keyless",
            Self::Session => "session",
        }
    }
}
