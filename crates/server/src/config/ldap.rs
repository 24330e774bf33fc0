//! `[ldap]`: a directory whose people log in with the passwords that they have there.

use super::oidc::{LinkBy, Providers};
use super::report::Report;
use super::setting::{Value, settings};
use super::urls::without_path;
use super::values::as_setting;
use crate::ldap::{Dn, FilterTemplate, PROVIDER};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::PathBuf;
use std::time::Duration;

/// Where a server of the directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LdapUrl {
    /// Whether TLS comes first, before LDAP.
    pub(crate) tls: bool,
    /// Host, and port where it is not the scheme's own.
    authority: http::uri::Authority,
}

impl LdapUrl {
    /// Its name, or its address as it is written without brackets.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_matches(['[', ']'])
    }

    /// Its port, or the scheme's.
    pub(crate) fn port(&self) -> u16 {
        let default = if self.tls { 636 } else { 389 };
        self.authority.port_u16().unwrap_or(default)
    }
}

as_setting!(LdapUrl, FilterTemplate);

impl Value for LdapUrl {
    const WANTS: &'static str = "a URL without a path such as `ldaps://ldap.example.com`";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not {}", Self::WANTS);
        let (scheme, authority) = without_path(text).ok_or_else(wrong)?;
        let tls = match scheme.as_str() {
            "ldaps" => true,
            "ldap" => false,
            _ => return Err(wrong()),
        };
        Ok(Self { tls, authority })
    }

    fn text(&self) -> String {
        let scheme = if self.tls { "ldaps" } else { "ldap" };
        format!("{scheme}://{}", self.authority)
    }
}

impl std::fmt::Display for LdapUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl Value for FilterTemplate {
    const WANTS: &'static str =
        "a filter with `{}` where the name goes, as a value, such as `(uid={})`";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|()| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.as_str().to_owned()
    }
}

settings! {
    /// A directory (LDAP) whose people log in with the names and passwords that they have there ([ldap.md](ldap.md)). The groups that teams
    /// follow are those of provider `ldap`.
    pub(crate) struct Ldap {
        /// Its servers, such as `["ldaps://ldap1.example.com", "ldaps://ldap2.example.com"]`: several of one directory. What answered last is asked first.
        /// Where none is named no directory is asked.
        pub(crate) urls: Vec<LdapUrl> = Vec::new(),
        /// Whether connections to `ldap://` begin with StartTLS; where a server does not take it, it is not used.
        pub(crate) start_tls: bool = false,
        /// Certificates (PEM) that the servers' are signed by. Where it is set no others are trusted, else the system's. Read at the start.
        pub(crate) ca_file: Option<PathBuf> = None,
        /// Whether passwords may go over `ldap://` without TLS, for everybody on the way to read.
        pub(crate) allow_plaintext: bool = false,
        /// Who looks people up: an account that may read, and nothing else. Not set: nobody, where the directory lets anybody search.
        pub(crate) bind_dn: Option<String> = None,
        /// Its password.
        pub(crate) bind_password: Option<SecretString> = None,
        /// How people are found.
        pub(crate) users: LdapUsers = LdapUsers::default(),
        /// How their groups are found.
        pub(crate) groups: LdapGroups = LdapGroups::default(),
        /// Whether somebody who has no account yet gets one.
        pub(crate) sign_up: bool = false,
        /// By what somebody is taken for an account that is there already. With `email` whoever can write addresses into the directory can be the
        /// account that has shown here that the address is its own.
        pub(crate) link_by: LinkBy = LinkBy::Nothing,
        /// Only who is in this group may log in. Not set: everybody whom `ldap.users` finds.
        pub(crate) required_group: Option<String> = None,
        /// Who is in this group may everything, and who leaves it no longer. Not set: no group makes a superuser.
        pub(crate) superuser_group: Option<String> = None,
        /// How much is asked of it, and for how long.
        pub(crate) bounds: LdapBounds = LdapBounds::default(),
    }
}

settings! {
    /// How people are found in a directory.
    pub(crate) struct LdapUsers {
        /// Under what, such as `ou=people,dc=example,dc=com`.
        pub(crate) base: Option<String> = None,
        /// By what; `{}` (or `%s`) is the name that was typed, escaped. In Active Directory: `(&(objectClass=user)(sAMAccountName={}))`. Who is not to log in
        /// is left out here. Where it finds more than one nobody is logged in.
        pub(crate) filter: FilterTemplate = FilterTemplate::users(),
        /// The attribute that tells people apart for ever: never given to another, and not changed by a new name. In Active Directory: `objectGUID`.
        pub(crate) id: String = "entryUUID".to_owned(),
        /// The attribute that a new account is called after; capital letters become small ones. In Active Directory: `sAMAccountName`.
        pub(crate) name: String = "uid".to_owned(),
        /// The attribute with the address, which counts as verified. Empty: addresses are not taken over.
        pub(crate) mail: String = "mail".to_owned(),
    }
}

settings! {
    /// How groups are found in a directory: by a search, by an attribute of people, or by both. Where neither `filter` nor `member_of` is set
    /// nothing is said of groups, and no team changes.
    pub(crate) struct LdapGroups {
        /// Under what, such as `ou=groups,dc=example,dc=com`. Groups elsewhere do not count.
        pub(crate) base: Option<String> = None,
        /// By what somebody's groups are searched; `{}` (or `%s`) is his DN, `{name}` his name, both escaped. Such as `(member={})`, `(memberUid={name})` or, for
        /// nested groups in Active Directory, `(member:1.2.840.113556.1.4.1941:={})`.
        pub(crate) filter: Option<FilterTemplate> = None,
        /// The attribute of people with the DNs of their groups, such as `memberOf`.
        pub(crate) member_of: Option<String> = None,
        /// The attribute that a group is called by; with `member_of` the first part of the DN must be of it.
        pub(crate) name: String = "cn".to_owned(),
    }
}

settings! {
    /// How much is asked of a directory, and for how long.
    pub(crate) struct LdapBounds {
        /// How long a server may take until it has taken a connection and the bind of `ldap.bind_dn`; then the next one is tried.
        pub(crate) connect: Duration = Duration::from_secs(2),
        /// How long the whole of it may take at a login; then the client hears 503.
        pub(crate) login: Duration = Duration::from_secs(5),
        /// How many logins ask at a time, each over a connection of its own. A directory answers in milliseconds, so eight are hundreds of logins in a
        /// second, and more would only wait there instead of here.
        pub(crate) connections: u32 = 8,
        /// For how long a right password is not asked for again: clients log in for each image that they pull. So long it is right after it was
        /// changed, and so long groups are what they were. `0s`: it is asked for every time.
        pub(crate) remember: Duration = Duration::from_secs(10),
    }
}

/// Beyond this a directory feels logins.
const CONNECTIONS_MAX: u32 = 64;
/// Clients do not wait longer.
const LONGEST_LOGIN: Duration = Duration::from_secs(30);
/// As long as a token lives: to remember for longer would matter to whoever was shut out.
const LONGEST_MEMORY: Duration = Duration::from_mins(5);

impl Ldap {
    /// Whether a directory is asked at all.
    pub(crate) fn is_configured(&self) -> bool {
        !self.urls.is_empty()
    }

    /// What the types alone do not say.
    pub(super) fn check(&self, providers: &Providers, report: &mut Report) {
        if !self.is_configured() {
            if self.users.base.is_some() || self.bind_dn.is_some() {
                report.about("ldap.urls", "is required, as the directory is described");
            }
            return;
        }
        let is_plain = self.urls.iter().any(|url| !url.tls) && !self.start_tls;
        if is_plain && !self.allow_plaintext {
            report.about(
                "ldap.urls",
                "passwords would go over `ldap://` for everybody to read: take `ldaps://`, or set `ldap.start_tls` (or `ldap.allow_plaintext`, if nobody else is on the way)",
            );
        }
        self.check_bind(report);
        if !is_dn(self.users.base.as_deref()) {
            report.about("ldap.users.base", "a DN is required");
        }
        for (key, value) in [
            ("ldap.users.id", &self.users.id),
            ("ldap.users.name", &self.users.name),
            ("ldap.groups.name", &self.groups.name),
        ] {
            if value.is_empty() {
                report.about(key, "is empty");
            }
        }
        if self.users.filter.names_both() {
            report.about("ldap.users.filter", "`{name}` is for groups");
        }
        self.check_groups(report);
        self.check_bounds(report);
        if providers.0.contains_key(PROVIDER) {
            report.about(
                &format!("oidc.{PROVIDER}"),
                "the name is the directory's; call the provider something else",
            );
        }
    }

    fn check_bind(&self, report: &mut Report) {
        let password = self.bind_password.as_ref();
        match (self.bind_dn.as_deref(), password) {
            (Some(_), None) => {
                report.about(
                    "ldap.bind_password",
                    "is missing, but `ldap.bind_dn` is set",
                );
            }
            (None, Some(_)) => {
                report.about(
                    "ldap.bind_dn",
                    "is missing, but `ldap.bind_password` is set",
                );
            }
            _ => {}
        }
        // A directory lets that in as nobody (RFC 4513 section 5.1.2).
        if password.is_some_and(|password| password.expose_secret().is_empty()) {
            report.about("ldap.bind_password", "is empty");
        }
        if self.bind_dn.as_deref().is_some_and(str::is_empty) {
            report.about("ldap.bind_dn", "is empty");
        }
    }

    fn check_groups(&self, report: &mut Report) {
        let groups = &self.groups;
        let are_found = groups.filter.is_some() || groups.member_of.is_some();
        if are_found && !is_dn(groups.base.as_deref()) {
            report.about(
                "ldap.groups.base",
                "a DN is required, under which groups count",
            );
        }
        for (key, group) in [
            ("ldap.required_group", &self.required_group),
            ("ldap.superuser_group", &self.superuser_group),
        ] {
            if group.is_some() && !are_found {
                report.about(key, "needs `ldap.groups.filter` or `ldap.groups.member_of`");
            }
        }
    }

    fn check_bounds(&self, report: &mut Report) {
        let bounds = &self.bounds;
        if bounds.connect.is_zero() || bounds.connect > bounds.login {
            report.about(
                "ldap.bounds.connect",
                "must be more than zero, and not above `ldap.bounds.login`",
            );
        }
        if bounds.login > LONGEST_LOGIN {
            report.about("ldap.bounds.login", "must not be above `30s`");
        }
        if !(1..=CONNECTIONS_MAX).contains(&bounds.connections) {
            report.about("ldap.bounds.connections", "must lie between 1 and 64");
        }
        if bounds.remember > LONGEST_MEMORY {
            report.about("ldap.bounds.remember", "must not be above `5m`");
        }
    }
}

fn is_dn(text: Option<&str>) -> bool {
    text.is_some_and(|text| Dn::parse(text).is_some_and(|dn| !dn.is_root()))
}
