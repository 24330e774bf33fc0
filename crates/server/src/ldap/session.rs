//! One connection to a server of the directory.

use super::entry::Entry;
use super::line::{self, End, Place};
use ldap3::{
    DerefAliases, Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry,
    SearchOptions, StdStream,
};
use rustls::ClientConfig;
use secrecy::{ExposeSecret as _, SecretString};
use std::os::unix::net::UnixStream as Pipe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Why a directory has not said what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// No connection, no TLS, or a connection that broke.
    #[error("{0}")]
    Lost(#[from] LdapError),
    /// It takes too long.
    #[error("nothing answers in time")]
    Silent,
    /// Whose password was right is in too many groups, or in groups of groups, for the time there is.
    #[error("it does not find somebody's groups in time")]
    GroupsLate,
    /// Who looks people up is not let in.
    #[error("it refuses the bind of `ldap.bind_dn`: {0}")]
    NotLetIn(Code),
    /// It does not do what it was asked.
    #[error("it refuses {0}: {1}")]
    Refused(&'static str, Code),
    /// What came is no answer to what was asked.
    #[error("its answer makes no sense, or is too long")]
    Broken,
}

impl Trouble {
    /// Whether the next who asks would hear the same. A server that answers, and does not do what it was asked for one person, is
    /// not to be left alone for that: whoever has found such a name could shut everybody out.
    pub(super) fn is_everybodys(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Silent | Self::NotLetIn(_) => true,
            Self::Refused(_, code) => matches!(code.number, Code::BUSY | Code::UNAVAILABLE),
            Self::Broken | Self::GroupsLate => false,
        }
    }
}

/// A result code of LDAP (RFC 4511 appendix A) with what the server adds.
#[derive(Debug)]
pub(crate) struct Code {
    number: u32,
    text: String,
}

impl Code {
    const SUCCESS: u32 = 0;
    const SIZE_LIMIT: u32 = 4;
    const BUSY: u32 = 51;
    const UNAVAILABLE: u32 = 52;

    /// Whether it says something of the server or of how it is asked, not of whose password was shown: errors of
    /// operation and protocol, time limits, authentication that is not supported or not strong enough, referrals, servers
    /// that are busy or unavailable, and what has no other number.
    fn is_of_the_server(&self) -> bool {
        matches!(
            self.number,
            1 | 2 | 3 | 7 | 8 | 10 | 11 | 13 | 51 | 52 | 54 | 80
        )
    }
}

impl From<LdapResult> for Code {
    fn from(result: LdapResult) -> Self {
        /// As much as the log shows of it.
        const TEXT_CHARACTERS_MAX: usize = 200;
        let plain = result.text.chars().filter(|one| !one.is_control());
        Self {
            number: result.rc,
            text: plain.take(TEXT_CHARACTERS_MAX).collect(),
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = match self.number {
            3 => " (time limit exceeded)",
            8 => " (stronger authentication required)",
            10 => " (it refers to another server, which is not followed)",
            13 => " (confidentiality required)",
            32 => " (no such object)",
            49 => " (invalid credentials)",
            50 => " (insufficient access rights)",
            51 => " (busy)",
            52 => " (unavailable)",
            53 => " (unwilling to perform)",
            _ => "",
        };
        write!(f, "result {}{known}", self.number)?;
        if self.text.is_empty() {
            return Ok(());
        }
        write!(f, ", `{}`", self.text)
    }
}

/// Entries that a search found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// Whether there are more, which the server did not give.
    pub(super) is_cut: bool,
}

/// What a search looks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    /// In words, for messages.
    pub(super) what: &'static str,
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [&'a str],
    /// Most entries that are asked for.
    pub(super) at_most: i32,
}

/// A connection. It ends when this is dropped.
pub(super) struct Session {
    ldap: Ldap,
    /// Whether it ended by what the server said.
    is_nonsense: Arc<AtomicBool>,
    /// Carry, read and write; ended with the session. What a server sends that makes no sense ends them early.
    tasks: JoinSet<()>,
}

impl Session {
    /// Connects, with TLS where `place` says so, and never without where it does. The library is given a pipe: it would
    /// read whatever comes.
    pub(super) async fn open(place: &Place, tls: Arc<ClientConfig>) -> Result<Self, Trouble> {
        let server = line::open(place, tls).await.map_err(LdapError::from)?;
        let (ours, librarys) = Pipe::pair().map_err(LdapError::from)?;
        ours.set_nonblocking(true).map_err(LdapError::from)?;
        let mut ours = UnixStream::from_std(ours).map_err(LdapError::from)?;
        let is_nonsense = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let said = Arc::clone(&is_nonsense);
        tasks.spawn(async move {
            // The pipe is open until it is known why it ends.
            if let End::Nonsense = line::carry(server, &mut ours).await {
                said.store(true, Ordering::Release);
            }
        });
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(librarys));
        let (connection, ldap) = LdapConnAsync::with_settings(settings, "ldapi://pipe").await?;
        tasks.spawn(async move {
            if let Err(cause) = connection.drive().await {
                tracing::debug!(%cause, "a connection to the directory ended: {cause}");
            }
        });
        Ok(Self {
            ldap,
            is_nonsense,
            tasks,
        })
    }

    /// What it means that the library has no answer.
    fn trouble(&self, cause: LdapError) -> Trouble {
        if self.is_nonsense.load(Ordering::Acquire) {
            return Trouble::Broken;
        }
        Trouble::Lost(cause)
    }

    async fn bind(&mut self, dn: &str, password: &str) -> Result<Code, Trouble> {
        let bound = self.ldap.simple_bind(dn, password).await;
        bound.map(Code::from).map_err(|cause| self.trouble(cause))
    }

    /// Is from now on who looks people up: `dn`, or nobody.
    pub(super) async fn bind_reader(
        &mut self,
        reader: Option<&(String, SecretString)>,
    ) -> Result<(), Trouble> {
        let (dn, password) = match reader {
            None => ("", ""),
            Some((dn, password)) => (dn.as_str(), password.expose_secret()),
        };
        let code = self.bind(dn, password).await?;
        if code.number == Code::SUCCESS {
            return Ok(());
        }
        Err(Trouble::NotLetIn(code))
    }

    /// Whether `password` is that of `dn`; if so the session is his.
    ///
    /// Nobody is let in by a password that is empty, or as nobody: to a directory that is a bind of another kind, which says
    /// nothing of who asks and succeeds (RFC 4513 sections 5.1.1 and 5.1.2).
    pub(super) async fn bind_as(&mut self, dn: &str, password: &str) -> Result<bool, Trouble> {
        if dn.is_empty() || password.is_empty() {
            return Ok(false);
        }
        let code = self.bind(dn, password).await?;
        if code.number == Code::SUCCESS {
            return Ok(true);
        }
        if code.is_of_the_server() {
            return Err(Trouble::Refused("a bind", code));
        }
        // It tells a wrong password from one that has expired, and from an account that is shut out there.
        tracing::info!(%code, "the directory refused a password: {code}");
        Ok(false)
    }

    /// Searches. References to other servers are left where they are.
    pub(super) async fn search(&mut self, search: Search<'_>) -> Result<Found, Trouble> {
        let options = SearchOptions::new()
            .deref(DerefAliases::Never)
            .sizelimit(search.at_most);
        let found = self
            .ldap
            .with_search_options(options)
            .search(search.base, search.scope, search.filter, search.attributes)
            .await;
        let found = found.map_err(|cause| self.trouble(cause))?;
        let (entries, result) = (found.0, found.1);
        let is_cut = match result.rc {
            Code::SUCCESS => false,
            Code::SIZE_LIMIT => true,
            _ => return Err(Trouble::Refused(search.what, result.into())),
        };
        let entries = entries
            .into_iter()
            .map(|entry| SearchEntry::construct(entry).into());
        Ok(Found {
            entries: entries.collect(),
            is_cut,
        })
    }

    /// Says goodbye. The server would notice also without.
    pub(super) async fn close(mut self) {
        let _ = self.ldap.unbind().await;
        drop(self.ldap);
        while self.tasks.join_next().await.is_some() {}
    }
}
