//! What can go wrong, named by what the caller or the operator should do about it.

use std::{sync::Arc, time::Duration};

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::{
    metrics::{Role, Share},
    sqlstate,
};

/// Why a statement, or the wait for a connection to run it on, failed.
///
/// Cloned for everyone who had asked for the same.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Too many are waiting already. Overload: ask the client to come back.
    #[error("the queue for a connection of the {share} share is full")]
    QueueFull {
        /// Whose queue.
        share: Share,
    },
    /// No connection came free in time. Overload: ask the client to come back.
    #[error("no connection of the {share} share came free within {} ms", waited.as_millis())]
    DeadlineExceeded {
        /// Whose connections.
        share: Share,
        /// How long the caller waited.
        waited: Duration,
    },
    /// More are waiting than can be served in time, and this caller was among those who would have waited in vain.
    /// Overload: ask the client to come back.
    #[error("too many wait for a connection of the {share} share; refused after {} ms", waited.as_millis())]
    WaitedInVain {
        /// Whose connections.
        share: Share,
        /// How long the caller waited.
        waited: Duration,
    },
    /// No connection can be made at present. The dependency is down, not the load too high.
    #[error("the database cannot be reached")]
    Unavailable {
        /// When the next attempt is due, at the least.
        retry_after: Duration,
        /// What the last attempt ran into.
        source: DialError,
    },
    /// The server that should be the primary is none, or belongs to another history: a failover is under way.
    #[error("the server asked is not the primary any more")]
    NotPrimary,
    /// Another primary has taken over since the change was committed: it may be lost. Look for it.
    #[error("another primary has taken over; whether the change survived is not known")]
    EpochChanged,
    /// The router has been closed; the process is shutting down.
    #[error("the connections have been closed")]
    Closed,
    /// The server, or the line to it, failed while a statement ran. In a transaction nothing has happened.
    #[error("statement `{name}` failed")]
    Statement {
        /// The statement's name.
        name: &'static str,
        /// What the server said, or how the line broke.
        #[source]
        source: Arc<tokio_postgres::Error>,
    },
    /// The server did not answer, not even that the statement took too long: it hangs, or the line does.
    #[error("statement `{name}` was not answered within {} ms", after.as_millis())]
    Unanswered {
        /// The statement's name.
        name: &'static str,
        /// How long we waited: the statement's own limit and a little more.
        after: Duration,
    },
    /// The line broke while COMMIT was under way: the transaction may or may not have happened.
    #[error("the connection was lost during COMMIT; whether it took effect is not known")]
    CommitUnknown {
        /// How the line broke.
        #[source]
        source: Box<Error>,
    },
    /// A statement of this transaction failed, or was abandoned, before: the transaction was rolled back instead.
    #[error("the transaction was rolled back, because a statement in it had not succeeded")]
    Aborted,
    /// A write changed another number of rows than it must.
    #[error("statement `{name}` changed {actual} rows instead of {expected}")]
    AffectedRows {
        /// The statement's name.
        name: &'static str,
        /// Rows it must change.
        expected: u64,
        /// Rows it changed.
        actual: u64,
    },
    /// A read that yields one row, or at most one, yielded another number.
    #[error("statement `{name}` yielded {actual} rows")]
    RowCount {
        /// The statement's name.
        name: &'static str,
        /// Rows it yielded.
        actual: usize,
    },
    /// A column did not hold what the code expects: code and schema disagree.
    #[error("a row of `{name}` could not be decoded")]
    Decode {
        /// The statement's name.
        name: &'static str,
        /// Which column, and why.
        #[source]
        source: Arc<tokio_postgres::Error>,
    },
    /// A lane ended with a bug, which the log names, before it had answered.
    #[error("the answer to statement `{name}` was lost")]
    AnswerLost {
        /// The statement's name.
        name: &'static str,
    },
    /// The URL is not one of a Postgres server. Neither the URL nor the parser is quoted: it may hold a password.
    #[error("the database URL is not valid: {reason}")]
    Url {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificates named by `sslrootcert`, or those of the system, cannot be used.
    #[error("the certificates in `{path}` cannot be used")]
    Certificates {
        /// The file; `system` for the system's.
        path: String,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The TLS configuration was refused.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The pool is too small to keep kinds of work apart.
    #[error("a pool of {max} connections is too small: it needs {least}")]
    TooFewConnections {
        /// What was asked for.
        max: usize,
        /// The least that works.
        least: usize,
    },
}

impl Error {
    pub(crate) fn decode(name: &'static str, source: tokio_postgres::Error) -> Self {
        let source = Arc::new(source);
        Self::Decode { name, source }
    }

    /// Whether running the whole transaction again may succeed. See [`sqlstate::is_retryable`].
    pub fn is_retryable(&self) -> bool {
        self.sqlstate().is_some_and(sqlstate::is_retryable)
    }

    /// Whether the server, or the line to it, went away: nothing was decided, another connection may serve.
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Statement { source, .. } => {
                source.is_closed()
                    || source.code().is_some_and(sqlstate::is_shutting_down)
                    || source.as_db_error().is_some_and(ended_the_session)
            }
            Self::Unanswered { .. }
            | Self::CommitUnknown { .. }
            | Self::NotPrimary
            | Self::EpochChanged => true,
            _ => false,
        }
    }

    /// Whether the process asked for more than the database has to give right now: HTTP 429 rather than 503.
    pub fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::QueueFull { .. } | Self::WaitedInVain { .. } | Self::DeadlineExceeded { .. }
        )
    }

    /// When a client should come back, where this error knows.
    pub fn retry_after(&self) -> Option<Duration> {
        // Overload passes as fast as it comes; a second is the least that `Retry-After` can say.
        const OVERLOAD: Duration = Duration::from_secs(1);
        match self {
            overload if overload.is_overload() => Some(OVERLOAD),
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The server's code, if it was the server that failed the statement.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.db_error().map(DbError::code)
    }

    /// The constraint that was violated, if one was.
    pub fn constraint(&self) -> Option<&str> {
        self.db_error().and_then(DbError::constraint)
    }

    fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Statement { source, .. } | Self::Decode { source, .. } => source.as_db_error(),
            Self::CommitUnknown { source } => source.db_error(),
            _ => None,
        }
    }
}

/// Whether it was the last that this session had to say. A pooler whose server went away says so with a code of its
/// own, and without the field that is never translated.
fn ended_the_session(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => error.severity() == "FATAL",
    }
}

/// Why a connection could not be made. Shared by everyone who waited for it, so it can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// The address, the handshake or the server refused.
    #[error("connecting to the database failed")]
    Refused(#[source] Arc<tokio_postgres::Error>),
    /// The attempt took longer than [`crate::DialPolicy::timeout`].
    #[error("connecting to the database took longer than {} ms", after.as_millis())]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The caller's deadline passed while an attempt was still under way.
    #[error("no connection was made within {} ms", waited.as_millis())]
    Slow {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The server is a standby where the primary is expected, or the other way round.
    #[error("the server is not the {expected} it should be")]
    WrongRole {
        /// What it should be.
        expected: Role,
    },
    /// The replica's data are those of another cluster than the primary's.
    #[error("the server is a replica of another cluster")]
    OtherCluster,
    /// The server does not say who it is: a Unix socket has no address, and a replica needs one.
    #[error("the server does not say which one it is; a replica must be reached over TCP")]
    Unidentified,
    /// The session is not as we asked for it: a pooler has lent us one of its own, and a replica must be reached directly.
    #[error("a pooler stands before the server; a replica must be reached directly")]
    Pooled,
    /// The role or the database asks for another isolation than every statement here is written for.
    #[error(
        "`default_transaction_isolation` must be `read committed` for the role that the registry logs in with"
    )]
    WrongIsolation,
    /// An old server.
    #[error("the server is of version {version}; {oldest} or newer is needed")]
    TooOld {
        /// `server_version_num`.
        version: u32,
        /// The oldest that works.
        oldest: u32,
    },
}

impl DialError {
    /// Whether no number of attempts will help before somebody changes something.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Refused(_) => self.sqlstate().is_some_and(sqlstate::is_refused_for_good),
            Self::Pooled | Self::WrongIsolation | Self::TooOld { .. } => true,
            _ => false,
        }
    }

    /// The server's code, if it was the server that refused.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            _ => None,
        }
    }
}
