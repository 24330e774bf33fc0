//! What a statement of this crate can fail with, named by fact.

use crate::refused::Refused;
use portolan_oci::Digest;

/// Why a read or write of metadata did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, a failed statement, or a write that did not change the rows it must.
    #[error(transparent)]
    Pg(#[from] portolan_pg::Error),
    /// A row holds what the domain has no word for: a digest of another length, a name out of its grammar.
    #[error("a row of table `{table}` holds what it must not")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// Which column, and why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The tag does not point where the caller demands; nothing was changed.
    #[error("the tag points elsewhere")]
    TagChanged {
        /// Where it points now; `None`: there is no such tag.
        current: Option<Digest>,
    },
    /// The account was disabled, or its tokens were ended, since the principal was established.
    #[error("the principal's credentials are no longer valid")]
    PrincipalEnded,
    /// The registry takes no writes at present.
    #[error("the registry is in read-only mode")]
    ReadOnly {
        /// What the operator says about it.
        message: Option<String>,
    },
    /// A row kept vanishing between the attempt to insert it and the attempt to use the one in the way.
    #[error("a row of table `{table}` kept changing under this write")]
    Contended {
        /// Where.
        table: &'static str,
    },
    /// The name belongs to another account or namespace.
    #[error("the name is taken")]
    NameTaken,
    /// The change is wrong in itself; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store's row names another place than the configuration does: every blob in it would be missing.
    #[error("store `{name}` was set up as {recorded}, and the configuration says {configured}")]
    StoreChanged {
        /// The store's name.
        name: String,
        /// Where its blobs are.
        recorded: String,
        /// Where the configuration looks.
        configured: String,
    },
    /// The database has no schema of ours.
    #[error("the database has no schema yet; run `portolan migrate up`")]
    SchemaMissing,
    /// The database's schema is older than this program can use.
    #[error(
        "the schema is at step {found} and this program needs {oldest}; run `portolan migrate up`"
    )]
    SchemaTooOld {
        /// The newest step applied.
        found: i64,
        /// The oldest that will do.
        oldest: i64,
    },
    /// The database's schema is newer than this program knows.
    #[error("the schema is at step {found} and this program knows {newest}; run a newer program")]
    SchemaTooNew {
        /// The newest step applied.
        found: i64,
        /// The newest known.
        newest: i64,
    },
    /// A step was begun and did not end.
    #[error("step {version} of the schema was begun and did not end; see the migrations' README")]
    SchemaBroken {
        /// Which.
        version: i64,
    },
    /// A step could not be applied.
    #[error("the schema could not be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database could not be reached, or refused, outside the pool.
    #[error("the database could not be migrated")]
    Sqlx(#[from] sqlx::Error),
}

impl Error {
    /// Whether the whole transaction may succeed when it is run again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Pg(cause) => cause.is_retryable(),
            Self::Contended { .. } => true,
            _ => false,
        }
    }

    /// For `map_err` on the decoding of a row of `table`.
    pub(crate) fn decoding(table: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Inconsistent { table, source }
    }
}
