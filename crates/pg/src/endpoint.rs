//! A server's URL, taken apart: where, as whom, and how much TLS.
//!
//! The driver knows `sslmode` only up to `require` and nothing of `sslrootcert`; both are read here, with libpq's
//! meaning (<https://www.postgresql.org/docs/current/libpq-ssl.html>). Everything else of the URL is the driver's.

use std::{fmt, path::PathBuf, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    error::Error,
    tls::{self, Verify},
};

/// One Postgres server and how to log in to it. Cheap to clone; its `Debug` shows no password.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("hosts", &self.config.get_hosts())
            .field("ports", &self.config.get_ports())
            .field("dbname", &self.config.get_dbname())
            .field("user", &self.config.get_user())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// `sslmode` of libpq. `allow` is left out: it means "no TLS unless the server insists", which no server should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(Error::Url {
                reason: "`sslmode` must be disable, prefer, require, verify-ca or verify-full",
            }),
        }
    }
}

impl Endpoint {
    /// `host:port`, for people; a Unix socket's folder.
    pub(crate) fn name(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => String::from("?"),
        };
        match self.config.get_ports().first() {
            Some(port) => format!("{host}:{port}"),
            None => format!("{host}:5432"),
        }
    }

    /// The role that it names.
    pub(crate) fn role(&self) -> Option<String> {
        self.config.get_user().map(str::to_owned)
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`; a Unix socket is
    /// `postgres://user@/database?host=/folder`.
    ///
    /// Reads the certificate files, so it may block for the time of a small read: call it at start.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], [`Error::Certificates`] or [`Error::Tls`].
    pub fn parse(url: &SecretString) -> Result<Self, Error> {
        let Parts {
            url,
            mode,
            root_certificates,
        } = Parts::of(url.expose_secret())?;
        let mut config = Config::from_str(&url).map_err(|_| Error::Url {
            reason: "it cannot be parsed; special characters of a password must be percent-encoded",
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::Url {
                reason: "it names no host",
            });
        }
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let verify = match (mode, root_certificates) {
            (Mode::Disable, _) => return Ok(Self { config, tls: None }),
            (Mode::Prefer | Mode::Require, None) => Verify::Nothing,
            (Mode::Prefer | Mode::Require | Mode::VerifyCa, roots) => Verify::Authority(roots),
            (Mode::VerifyFull, roots) => Verify::AuthorityAndName(roots),
        };
        let tls = Some(MakeRustlsConnect::new(tls::client_config(verify)?));
        Ok(Self { config, tls })
    }
}

/// The URL without the two parameters that are ours, and these.
struct Parts {
    url: String,
    mode: Mode,
    root_certificates: Option<PathBuf>,
}

impl Parts {
    fn of(url: &str) -> Result<Self, Error> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Error::Url {
                reason: "it must begin with `postgres://`",
            });
        }
        let mut parts = Self {
            url: url.to_owned(),
            mode: Mode::Prefer,
            root_certificates: None,
        };
        let Some((base, query)) = url.split_once('?') else {
            return Ok(parts);
        };
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => parts.mode = mode.parse()?,
                Some(("sslrootcert", path)) => parts.root_certificates = Some(unescape(path)?),
                _ => rest.push(pair),
            }
        }
        base.clone_into(&mut parts.url);
        if !rest.is_empty() {
            parts.url.push('?');
            parts.url.push_str(&rest.join("&"));
        }
        Ok(parts)
    }
}

/// Undoes percent-encoding in a file's path; libpq writes `/` as `%2F` in places where people copy from.
fn unescape(text: &str) -> Result<PathBuf, Error> {
    let malformed = || Error::Url {
        reason: "`sslrootcert` is not properly percent-encoded",
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (code, after) = rest.split_at_checked(2).ok_or_else(malformed)?;
        let code = std::str::from_utf8(code).map_err(|_| malformed())?;
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| malformed())?);
        rest = after;
    }
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, Error> {
        Endpoint::parse(&SecretString::from(url))
    }

    #[test]
    fn our_parameters_do_not_reach_the_driver() {
        let endpoint =
            parse("postgres://me:pw@db.example:5433/reg?sslmode=require&connect_timeout=3")
                .unwrap();
        assert_eq!(endpoint.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(
            endpoint.config.get_hosts(),
            [Host::Tcp("db.example".to_owned())]
        );
        assert_eq!(endpoint.config.get_ports(), [5433]);
        assert!(endpoint.config.get_connect_timeout().is_some());
        assert!(endpoint.tls.is_some());
    }

    #[test]
    fn a_unix_socket_needs_no_tls() {
        let endpoint = parse("postgres://me@/reg?host=/run/pg&sslmode=disable").unwrap();
        assert_eq!(
            endpoint.config.get_hosts(),
            [Host::Unix(PathBuf::from("/run/pg"))]
        );
        assert!(endpoint.tls.is_none());
    }

    #[test]
    fn a_password_is_never_shown() {
        let endpoint = parse("postgres://me:hunter2@db/reg?sslmode=disable").unwrap();
        assert!(!format!("{endpoint:?}").contains("hunter2"));
        let error = parse("postgres://me:hunter2@db:notaport/reg").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for url in [
            "",
            "mysql://x/y",
            "host=db",
            "postgres:///reg",
            "postgres://db/reg?sslmode=sometimes",
            "postgres://db/reg?sslrootcert=%2",
            "postgres://db/reg?sslrootcert=%zz",
            "postgres://db/reg?nosuch=1",
        ] {
            assert!(matches!(parse(url), Err(Error::Url { .. })), "{url}");
        }
        assert!(matches!(
            parse("postgres://db/reg?sslmode=verify-full&sslrootcert=%2Fno%2Fsuch"),
            Err(Error::Certificates { path, .. }) if path == "/no/such"
        ));
    }
}
