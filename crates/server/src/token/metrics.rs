//! Logins on `/metrics`.

use super::Error;
use super::account::Account;
use super::login::Shown;
use portolan_auth::Error as AuthError;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write as _};

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A password.
    Password,
    /// A robot's secret or an application token.
    Secret,
    /// A provider's token.
    IdToken,
}

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Password => "password",
            Self::Secret => "secret",
            Self::IdToken => "id_token",
        })
    }
}

impl From<&Shown> for Kind {
    fn from(shown: &Shown) -> Self {
        match shown {
            Shown::Secret(_) => Self::Secret,
            Shown::IdToken(_) => Self::IdToken,
            Shown::Password(_) => Self::Password,
        }
    }
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    /// As somebody.
    Right,
    /// 401.
    Wrong,
    /// 429, after too many that were wrong.
    ShutOut,
    /// 429, because too many are being looked at.
    Overloaded,
    /// Nobody could say: the database, a provider or the directory does not answer.
    Failed,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::ShutOut => "shut_out",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
        })
    }
}

impl Outcome {
    const fn of(login: &Result<Account, Error>) -> Self {
        match login {
            Ok(_) => Self::Right,
            Err(Error::CredentialsWrong) => Self::Wrong,
            Err(Error::TooManyFailures { .. }) => Self::ShutOut,
            Err(Error::Auth(AuthError::Overloaded)) => Self::Overloaded,
            Err(_) => Self::Failed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: Kind,
    outcome: Outcome,
}

/// Counts logins.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Family<Labels, Counter>);

impl Metrics {
    /// Makes the counter and puts it on the page.
    pub(crate) fn register(page: &mut Registry) -> Self {
        let logins = Family::default();
        page.register(
            "portolan_logins",
            "Logins, by what was shown and how they ended",
            Family::clone(&logins),
        );
        Self(logins)
    }

    /// One has ended so.
    pub(super) fn count(&self, kind: Kind, login: &Result<Account, Error>) {
        let outcome = Outcome::of(login);
        self.0.get_or_create(&Labels { kind, outcome }).inc();
    }
}
