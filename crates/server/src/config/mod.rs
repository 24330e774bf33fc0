//! The configuration: a TOML file, the environment over it, every key checked before anything starts.
//!
//! Promises: a key nobody knows is an error, wherever it stands; everything that is wrong is said at once, each with
//! its source; secrets can be given as files and are never shown. Only this module reads the environment.

mod accounts;
mod audit;
mod database;
mod distribution;
mod environment;
mod http;
mod ldap;
mod limits;
mod log;
mod login;
mod mail;
mod oidc;
mod operator;
mod reference;
mod report;
mod setting;
mod storage;
mod tree;
mod urls;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use self::http::{Bounds, Http, Tls};
pub(crate) use accounts::{Admin, SecretKey, Secrets, Tokens};
pub(crate) use audit::Audit;
pub(crate) use database::{Database, Freshness, OnPrimaryLoss};
pub(crate) use ldap::{Ldap, LdapBounds, LdapGroups, LdapUsers};
pub(crate) use limits::{Jobs, Limits};
pub(crate) use log::{Log, LogFormat, LogRequests};
pub(crate) use login::Login;
pub(crate) use mail::{Accounts, Mail, SignUp};
pub(crate) use oidc::{Keyless, LinkBy, OidcProvider, Providers};
pub(crate) use operator::operator;
pub(crate) use reference::reference;
pub(crate) use report::Invalid;
pub(crate) use storage::{Encryption, S3, Storage, StoreKind};
pub(crate) use urls::{DatabaseUrl, PublicUrl};
pub(crate) use values::ByteSize;

use report::Report;
use setting::{Setting as _, settings};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tree::{Node, Source};
use values::words;

settings! {
    /// Everything that can be set.
    pub(crate) struct Config {
        /// What this process does. Any process can do everything; large installations run the roles apart.
        pub(crate) roles: Vec<Role> = vec![Role::Registry, Role::Api, Role::Worker],
        /// Where requests come in.
        pub(crate) http: Http = Http::default(),
        /// Postgres.
        pub(crate) database: Database = Database::default(),
        /// Where the bytes of blobs lie.
        pub(crate) storage: Storage = Storage::default(),
        /// Keys of the installation.
        pub(crate) secrets: Secrets = Secrets::default(),
        /// An administrator's account that exists from the first start on.
        pub(crate) admin: Admin = Admin::default(),
        /// Tokens of the token service.
        pub(crate) tokens: Tokens = Tokens::default(),
        /// Who comes to an account.
        pub(crate) accounts: Accounts = Accounts::default(),
        /// How mail is sent: to people who forgot their passwords.
        pub(crate) mail: Mail = Mail::default(),
        /// How often a password may be wrong.
        pub(crate) login: Login = Login::default(),
        /// Providers of single sign-on.
        pub(crate) oidc: Providers = Providers::default(),
        /// Logins of CI systems without a secret.
        pub(crate) keyless: Keyless = Keyless::default(),
        /// A directory whose people log in with their passwords there.
        pub(crate) ldap: Ldap = Ldap::default(),
        /// The audit log.
        pub(crate) audit: Audit = Audit::default(),
        /// How much one request may carry, and how much is kept in memory.
        pub(crate) limits: Limits = Limits::default(),
        /// Work in the background.
        pub(crate) jobs: Jobs = Jobs::default(),
        /// What is written to standard error.
        pub(crate) log: Log = Log::default(),
    }
}

words! {
    /// What a process does.
    pub(crate) enum Role wants "`registry`, `api` or `worker`" {
        /// `/v2` and the token service.
        Registry = "registry",
        /// The web API.
        Api = "api",
        /// Jobs.
        Worker = "worker",
    }
}

/// A length of time as settings are written, for command lines.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    <Duration as setting::Value>::parse(text)
}

/// How much of the configuration a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// `serve`: all of it.
    Everything,
    /// `migrate` and `admin`: the database.
    Database,
}

/// A configuration, and remarks on it that are no errors.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) config: Config,
    /// What an operator should know: variables without effect.
    pub(crate) notes: Vec<String>,
}

/// Reads `file` and this process's environment.
pub(crate) fn load(file: Option<&Path>, need: Need) -> Result<Loaded, Invalid> {
    load_from(file, std::env::vars_os(), need)
}

/// Reads `file` and the given variables.
fn load_from(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    need: Need,
) -> Result<Loaded, Invalid> {
    let mut report = Report::default();
    let mut tree = Node::empty();
    if let Some(path) = file {
        let source = Source::File(path.to_owned());
        match read_toml(path) {
            Ok(table) => tree.merge_beside(Node::from_toml(table, &source)),
            Err(message) => report.bad("file", source, message),
        }
    }
    let notes = environment::apply(variables, &mut tree, &mut report);
    let config = Config::read(Some(tree), Config::default(), "", &mut report);
    config.check(need, &mut report);
    report.finish()?;
    Ok(Loaded { config, notes })
}

fn read_toml(path: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    text.parse().map_err(|error: toml::de::Error| {
        // The library's own rendering quotes the line, which may hold a secret.
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!("line {line} is not TOML: {}", error.message())
    })
}

impl Config {
    /// What the types alone do not say.
    fn check(&self, need: Need, report: &mut Report) {
        self.database.check(report);
        self.log.check(report);
        if need == Need::Database {
            return;
        }
        if self.roles.is_empty() {
            report.about("roles", "must name at least one role");
        }
        self.http.check(report);
        self.storage.check(report);
        self.secrets.check(report);
        self.admin.check(report);
        self.tokens.check(report);
        self.login.check(report);
        self.oidc.check(report);
        self.keyless.check(report);
        self.ldap.check(&self.oidc, report);
        self.audit.check(report);
        self.mail.check(report);
        self.limits.check(report);
        self.jobs.check(report);
    }

    /// Whether this process has `role`.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The effective configuration as TOML, with secrets hidden.
    pub(crate) fn print(&self) -> String {
        match self.shown() {
            Some(toml::Value::Table(table)) => table.to_string(),
            _ => String::new(),
        }
    }
}
