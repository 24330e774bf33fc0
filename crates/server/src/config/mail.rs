//! `[mail]` and `[accounts]`: how people come to accounts and back into them.

use super::report::Report;
use super::setting::settings;
use super::values::words;
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

settings! {
    /// How mail is sent: to people who forgot their passwords.
    pub(crate) struct Mail {
        /// The server, such as `smtps://user:password@mail.example.com` or, with STARTTLS, `smtp://user:password@mail.example.com:587?tls=required`.
        /// Where it is not set no mail is sent, and nobody recovers an account by himself.
        pub(crate) url: Option<SecretString> = None,
        /// Whom mails are from, such as `Registry <registry@example.com>`.
        pub(crate) from: Option<String> = None,
    }
}

settings! {
    /// Who comes to an account.
    pub(crate) struct Accounts {
        /// `closed`: administrators make accounts. `open`: whoever asks has one, and may push to the namespace of its name.
        pub(crate) sign_up: SignUp = SignUp::Closed,
    }
}

words! {
    /// Who may make himself an account.
    pub(crate) enum SignUp wants "`closed` or `open`" {
        /// Nobody.
        Closed = "closed",
        /// Everybody.
        Open = "open",
    }
}

impl Mail {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        match (&self.url, &self.from) {
            (Some(_), None) => report.about("mail.from", "is missing, but `mail.url` is set"),
            (None, Some(_)) => report.about("mail.url", "is missing, but `mail.from` is set"),
            _ => {}
        }
        let usable = |url: &str| AsyncSmtpTransport::<Tokio1Executor>::from_url(url).is_ok();
        // The error's own text could quote the password.
        if self
            .url
            .as_ref()
            .is_some_and(|url| !usable(url.expose_secret()))
        {
            report.about("mail.url", "is not a URL of `smtp` or `smtps`");
        }
        if self
            .from
            .as_ref()
            .is_some_and(|from| from.parse::<Mailbox>().is_err())
        {
            report.about("mail.from", "is not an address of mail");
        }
    }
}
