//! What a directory is asked at a login, in which order, and what its answers mean.
//!
//! 1. bind as who looks people up; search the name: one entry, or nobody
//! 2. bind as that entry, with the password that was shown
//! 3. bind as who looks people up; search the groups
//!
//! Groups come last, so that nobody makes the directory work who has no password there. A name that is nobody's costs a search
//! and a bind too.

use super::dn::Dn;
use super::entry::Entry;
use super::filter::FilterTemplate;
use super::line::{Place, Security};
use super::session::{Search, Session, Trouble};
use super::{Member, PROVIDER, tls};
use crate::config;
use crate::sso::{GROUP_BYTES_MAX, GROUPS_MAX, is_address};
use anyhow::Context as _;
use futures::FutureExt as _;
use ldap3::Scope;
use portolan_auth::Clock;
use portolan_metadata::accounts::AccountName;
use portolan_registry::identity::ExternalPerson;
use rustls::ClientConfig;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The second one says that there are several.
const PEOPLE_MAX: i32 = 2;
/// What nobody has for a password; it is tried for a name that is nobody's.
const NOBODYS: &str = "nobody's password";

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    place: Place,
}

impl Server {
    /// As it is configured.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// What came of a name and a password.
#[derive(Debug)]
pub(super) enum Answer {
    /// They belong together.
    Right(Member),
    /// They do not, or nobody is called so.
    Wrong,
}

/// Where groups are found, and by what.
#[derive(Debug)]
struct Groups {
    base: Dn,
    base_text: String,
    filter: Option<FilterTemplate>,
    member_of: Option<String>,
    name: String,
}

/// Asks one directory.
#[derive(Debug)]
pub(super) struct Ask {
    clock: Arc<dyn Clock>,
    servers: Vec<Server>,
    /// The one that answered last.
    first: AtomicUsize,
    connect: Duration,
    groups_within: Duration,
    tls: Arc<ClientConfig>,
    reader: Option<(String, SecretString)>,
    base: String,
    users: config::LdapUsers,
    /// `None`: nothing is said of groups.
    groups: Option<Groups>,
    required_group: Option<String>,
    superuser_group: Option<String>,
}

impl Ask {
    pub(super) fn new(config: &config::Ldap, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let servers = config.urls.iter().map(|url| Server {
            url: url.to_string(),
            place: Place {
                host: url.host().to_owned(),
                port: url.port(),
                security: match (url.tls, config.start_tls) {
                    (true, _) => Security::Tls,
                    (false, true) => Security::StartTls,
                    (false, false) => Security::None,
                },
            },
        });
        let base = config.users.base.clone();
        Ok(Self {
            clock,
            servers: servers.collect(),
            first: AtomicUsize::new(0),
            connect: config.bounds.connect,
            // What the rest of a login leaves, unless the directory is slow altogether.
            groups_within: config.bounds.login / 2,
            tls: tls::config(config.ca_file.as_deref())?,
            reader: config.bind_dn.clone().zip(config.bind_password.clone()),
            base: base.context("`ldap.users.base` is not set")?,
            users: config.users.clone(),
            groups: groups(&config.groups)?,
            required_group: config.required_group.clone(),
            superuser_group: config.superuser_group.clone(),
        })
    }

    /// All of them.
    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The one that answered last has stopped in the middle of something.
    pub(super) fn prefer_another(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether name and password belong together, and who that is.
    pub(super) async fn log_in(&self, name: &str, password: &str) -> Result<Answer, Trouble> {
        whole(async {
            let mut session = self.open().await?;
            let answer = self.converse(&mut session, name, password).await;
            if matches!(answer, Err(Trouble::Lost(_))) {
                self.prefer_another();
            }
            session.close().await;
            answer
        })
        .await
    }

    /// What [`Self::log_in`] does for a name that is nobody's.
    pub(super) async fn look_for_nobody(&self, name: &str) -> Result<(), Trouble> {
        whole(async {
            let mut session = self.open().await?;
            self.find(&mut session, name).await?;
            self.bind_as_nobody(&mut session).await?;
            session.close().await;
            Ok(())
        })
        .await
    }

    /// Whether a server answers to who looks people up, and has what is looked in.
    pub(super) async fn examine(&self, server: &Server) -> Result<(), Trouble> {
        whole(async {
            let mut session = self.open_one(server).await?;
            let bases = [
                ("a look at `ldap.users.base`", Some(&self.base)),
                (
                    "a look at `ldap.groups.base`",
                    self.groups.as_ref().map(|groups| &groups.base_text),
                ),
            ];
            for (what, base) in bases {
                let Some(base) = base else { continue };
                let search = Search {
                    what,
                    base,
                    scope: Scope::Base,
                    filter: "(objectClass=*)",
                    attributes: &["1.1"],
                    at_most: 1,
                };
                session.search(search).await?;
            }
            session.close().await;
            Ok(())
        })
        .await
    }

    /// A session with the first server that takes one, as who looks people up.
    async fn open(&self) -> Result<Session, Trouble> {
        let count = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut trouble = Trouble::Silent;
        for turn in 0..count {
            let at = first.wrapping_add(turn) % count;
            let server = &self.servers[at];
            let opened = timeout(self.connect, whole(self.open_one(server))).await;
            match opened.unwrap_or(Err(Trouble::Silent)) {
                Ok(session) => {
                    if turn > 0 {
                        self.first.store(at, Ordering::Relaxed);
                    }
                    return Ok(session);
                }
                Err(cause) => {
                    let url = server.url();
                    tracing::warn!(url, %cause, "`{url}` cannot be asked: {cause}");
                    trouble = cause;
                }
            }
        }
        Err(trouble)
    }

    async fn open_one(&self, server: &Server) -> Result<Session, Trouble> {
        let tls = Arc::clone(&self.tls);
        let mut session = Session::open(&server.place, tls).await?;
        session.bind_reader(self.reader.as_ref()).await?;
        Ok(session)
    }

    async fn converse(
        &self,
        session: &mut Session,
        name: &str,
        password: &str,
    ) -> Result<Answer, Trouble> {
        let told_at = self.clock.now();
        let found = self.find(session, name).await?;
        let Some(entry) = found.filter(|entry| !self.is_reader(entry)) else {
            self.bind_as_nobody(session).await?;
            return Ok(Answer::Wrong);
        };
        if !session.bind_as(&entry.dn, password).await? {
            return Ok(Answer::Wrong);
        }
        let Some(subject) = entry.id(&self.users.id) else {
            let (dn, id) = (&entry.dn, &self.users.id);
            tracing::warn!(
                dn,
                "`{dn}` has no usable `{id}` (`ldap.users.id`), and is not logged in"
            );
            return Ok(Answer::Wrong);
        };
        let called = called(&entry, &self.users.name, name);
        let looked = self.groups_of(session, &entry, called);
        let looked = timeout(self.groups_within, looked).await;
        let groups = looked.unwrap_or(Err(Trouble::GroupsLate))?;
        let is_in = |wanted: &str| {
            let groups = groups.as_ref()?;
            Some(groups.iter().any(|group| group == wanted))
        };
        let admitted = self
            .required_group
            .as_deref()
            .is_none_or(|wanted| is_in(wanted) == Some(true));
        let superuser = self.superuser_group.as_deref().and_then(is_in);
        Ok(Answer::Right(Member {
            admitted,
            person: ExternalPerson {
                provider: PROVIDER.to_owned(),
                subject,
                name: called.and_then(account_name),
                email: self.address(&entry),
                groups,
                superuser,
                told_at,
            },
        }))
    }

    /// The one entry that `name` stands for.
    async fn find(&self, session: &mut Session, name: &str) -> Result<Option<Entry>, Trouble> {
        let users = &self.users;
        let mut attributes: Vec<&str> = vec![&users.id, &users.name];
        if !users.mail.is_empty() {
            attributes.push(&users.mail);
        }
        let member_of = self
            .groups
            .as_ref()
            .and_then(|groups| groups.member_of.as_ref());
        attributes.extend(member_of.map(String::as_str));
        let search = Search {
            what: "the search for a person",
            base: &self.base,
            scope: Scope::Subtree,
            filter: &users.filter.fill(name, name),
            attributes: &attributes,
            at_most: PEOPLE_MAX,
        };
        let mut found = session.search(search).await?;
        if found.entries.len() > 1 || found.is_cut {
            tracing::warn!(
                "`ldap.users.filter` finds more than one person for a name, and nobody is logged in"
            );
            return Ok(None);
        }
        Ok(found.entries.pop())
    }

    /// Whether it is who looks people up. Nobody logs in as he: whoever guesses his password could have the directory lock
    /// him out, and everybody with him.
    fn is_reader(&self, entry: &Entry) -> bool {
        let reader = self.reader.as_ref().and_then(|(dn, _)| Dn::parse(dn));
        let found = Dn::parse(&entry.dn);
        reader
            .zip(found)
            .is_some_and(|(reader, found)| reader.is(&found))
    }

    /// Costs what a wrong password costs, but for what the server does to look at it.
    async fn bind_as_nobody(&self, session: &mut Session) -> Result<(), Trouble> {
        let dn = format!("cn=nobody,{}", self.base);
        session.bind_as(&dn, NOBODYS).await.map(drop)
    }

    /// The groups of somebody; `None`: nothing is known of them.
    async fn groups_of(
        &self,
        session: &mut Session,
        entry: &Entry,
        name: Option<&str>,
    ) -> Result<Option<Vec<String>>, Trouble> {
        let Some(groups) = &self.groups else {
            return Ok(None);
        };
        let mut all = BTreeSet::new();
        let mut is_cut = false;
        if let Some(attribute) = &groups.member_of {
            is_cut = entry.is_cut(attribute);
            let named = entry.texts(attribute).filter_map(Dn::parse);
            let under = named.filter(|dn| dn.is_under(&groups.base));
            all.extend(under.filter_map(|dn| dn.called_by(&groups.name).map(str::to_owned)));
        }
        if let Some(filter) = &groups.filter {
            if name.is_none() && filter.names_both() {
                // What was typed found him, and need not be his name: it could be that of whoever is in the groups.
                let dn = &entry.dn;
                tracing::warn!(
                    dn,
                    "`{dn}` has no name (`ldap.users.name`) to find groups by"
                );
                return Ok(None);
            }
            session.bind_reader(self.reader.as_ref()).await?;
            let search = Search {
                what: "the search for groups",
                base: &groups.base_text,
                scope: Scope::Subtree,
                filter: &filter.fill(&entry.dn, name.unwrap_or_default()),
                attributes: &[&groups.name],
                at_most: i32::try_from(GROUPS_MAX).unwrap_or(i32::MAX),
            };
            let found = session.search(search).await?;
            is_cut |= found.is_cut;
            for group in &found.entries {
                all.extend(group.texts(&groups.name).map(str::to_owned));
            }
        }
        if is_cut || all.len() > GROUPS_MAX {
            let dn = &entry.dn;
            tracing::warn!(
                dn,
                "the directory does not tell all groups of `{dn}`: they are too many, and none count"
            );
            return Ok(None);
        }
        let is_usable = |group: &String| {
            !group.is_empty() && group.len() <= GROUP_BYTES_MAX && !group.contains('\0')
        };
        Ok(Some(all.into_iter().filter(is_usable).collect()))
    }

    fn address(&self, entry: &Entry) -> Option<String> {
        let attribute = Some(&self.users.mail).filter(|attribute| !attribute.is_empty())?;
        let mut addresses = entry.texts(attribute);
        addresses.find(|text| is_address(text)).map(str::to_owned)
    }
}

/// What somebody is called: of several names the one that was typed.
fn called<'a>(entry: &'a Entry, attribute: &str, typed: &str) -> Option<&'a str> {
    let is_typed = |name: &&str| name.to_lowercase() == typed.to_lowercase();
    let mut names = entry.texts(attribute);
    let typed = entry.texts(attribute).find(is_typed);
    typed.or_else(|| names.next())
}

fn account_name(text: &str) -> Option<AccountName> {
    text.to_ascii_lowercase().parse().ok()
}

fn groups(config: &config::LdapGroups) -> anyhow::Result<Option<Groups>> {
    if config.filter.is_none() && config.member_of.is_none() {
        return Ok(None);
    }
    let base_text = config.base.clone();
    let base_text = base_text.context("`ldap.groups.base` is not set")?;
    Ok(Some(Groups {
        base: Dn::parse(&base_text).context("`ldap.groups.base` is no DN")?,
        base_text,
        filter: config.filter.clone(),
        member_of: config.member_of.clone(),
        name: config.name.clone(),
    }))
}

/// The library expects of a server that its messages are what they should be, and panics where not. That is the server's
/// fault and nobody else's.
async fn whole<T>(asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let outcome = AssertUnwindSafe(asking).catch_unwind().await;
    outcome.unwrap_or(Err(Trouble::Broken))
}
