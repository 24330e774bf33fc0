//! Who may do what, decided in the statement that finds it.
//!
//! There is one text that decides, [`decision!`], and every statement that resolves a name contains it: the
//! answer is as fresh as the data it comes with, and a right taken away is gone at once. A superuser may
//! everything everywhere, the owner of a namespace everything in it, everybody may read what is public.
//! Permission rows and teams become further lateral joins of [`account!`] and lines of [`decision!`].

use crate::AccountId;
use crate::RepositoryId;
use portolan_oci::RepositoryName;
use portolan_pg::{PointRead, Statement, point_statement};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody in particular.
    Anonymous,
    /// An account that has proven itself.
    Account {
        /// Which.
        id: AccountId,
        /// The generation its credential or token belongs to.
        generation: i64,
    },
}

impl Principal {
    /// The account, if there is one.
    pub const fn account(&self) -> Option<AccountId> {
        match self {
            Self::Anonymous => None,
            Self::Account { id, .. } => Some(*id),
        }
    }

    /// Who asks, as far as fairness among point reads is concerned. Everybody who is nobody in particular is one.
    pub(crate) const fn party(&self) -> u64 {
        match self {
            Self::Anonymous => 0,
            // Ids count from 1.
            Self::Account { id, .. } => id.get().unsigned_abs(),
        }
    }

    /// The account's id and generation as the statements take them.
    pub(crate) const fn parameters(&self) -> (Option<AccountId>, Option<i64>) {
        match self {
            Self::Anonymous => (None, None),
            Self::Account { id, generation } => (Some(*id), Some(*generation)),
        }
    }
}

/// What may be done in a repository; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Not even see it.
    None,
    /// Pull.
    Read,
    /// Push and delete.
    Write,
    /// Change who may.
    Admin,
}

/// What became of the principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalState {
    /// Nobody in particular.
    Anonymous,
    /// The account is there and of the same generation.
    Valid,
    /// The account is gone, disabled or of another generation: its token is void.
    Ended,
}

/// The decision that comes with every resolved name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The repository, if there is one of that name: also where the principal may not see it.
    pub repository: Option<RepositoryId>,
    /// What the principal may do in it, or could if it were there.
    pub role: Role,
    /// Whether the principal may create it.
    pub may_create: bool,
    /// What became of the principal.
    pub principal: PrincipalState,
    /// Whether everybody may read it; false where it is not there.
    pub public: bool,
}

impl Access {
    /// How many columns [`access_columns!`] has.
    pub(crate) const COLUMNS: usize = 5;

    /// Whether the answer of a replica must be confirmed: `found` in the repository, or the repository itself, may have
    /// come to be without anybody waiting until the replica shows it. That somebody may not see it is no such answer:
    /// changes of rights are waited for.
    pub(crate) fn is_absent<T>(&self, found: Option<&T>) -> bool {
        self.repository.is_none() || (self.role >= Role::Read && found.is_none())
    }

    /// Reads the columns of [`access_columns!`] from `first` on.
    pub(crate) fn decode(row: &Row, first: usize) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            repository: row.try_get(first)?,
            role: match row.try_get::<_, i16>(first + 1)? {
                3 => Role::Admin,
                2 => Role::Write,
                1 => Role::Read,
                _ => Role::None,
            },
            may_create: row.try_get(first + 2)?,
            principal: principal_state(row.try_get(first + 3)?),
            public: row.try_get(first + 4)?,
        })
    }
}

pub(crate) fn principal_state(column: i16) -> PrincipalState {
    match column {
        0 => PrincipalState::Anonymous,
        1 => PrincipalState::Valid,
        _ => PrincipalState::Ended,
    }
}

/// The columns that [`Access::decode`] reads.
macro_rules! access_columns {
    () => {
        "r.id, d.role, d.may_create, d.principal, coalesce(r.visibility = 'public', false)"
    };
}

/// The principal's account as `a`, from `k.account_id` and `k.generation`; a row of NULLs where it is anonymous or ended.
macro_rules! account {
    () => {
        "
LEFT JOIN LATERAL (
    SELECT account.id, account.superuser
    FROM account
    WHERE account.id = k.account_id AND account.generation = k.generation AND account.state = 'active'
    LIMIT 1
) a ON true"
    };
}

/// The decision as `d`, from the key `k`, the account `a`, the namespace `n` and the repository `r`. This is the
/// only place where rights are decided.
macro_rules! decision {
    () => {
        "
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN k.account_id IS NULL THEN 0 WHEN a.id IS NOT NULL THEN 1 ELSE 2 END::smallint AS principal,
        CASE
            -- A void token opens nothing, not even what is public: it shall be noticed.
            WHEN k.account_id IS NOT NULL AND a.id IS NULL THEN 0
            WHEN a.superuser THEN 3
            WHEN n.owner_account_id = a.id THEN 3
            WHEN r.visibility = 'public' THEN 1
            ELSE 0
        END::smallint AS role,
        coalesce(a.superuser OR n.owner_account_id = a.id, false) AS may_create
) d"
    };
}

/// Finds repository `r` and decides the right to it, for keys `k` with `path`, `namespace`, `account_id` and
/// `generation`. One row for every key. `$lock` is nothing, or how the repository's row is locked.
macro_rules! access_from {
    ($keys:literal, $lock:literal) => {
        concat!(
            " FROM ",
            $keys,
            $crate::access::account!(),
            "
LEFT JOIN LATERAL (
    SELECT namespace.owner_account_id
    FROM namespace
    WHERE namespace.name = k.namespace
    LIMIT 1
) n ON true
LEFT JOIN LATERAL (
    SELECT repository.id, repository.visibility, repository.collect_untagged
    FROM repository
    WHERE repository.path = k.path AND repository.state = 'active'
    LIMIT 1
    ",
            $lock,
            "
) r ON true",
            $crate::access::decision!(),
            "
"
        )
    };
}
pub(crate) use {access_columns, access_from, account, decision};

/// The first four parameters of every resolving point read: arrays of path, namespace, account and generation.
pub(crate) fn key_columns<'a>(
    keys: impl Iterator<Item = (&'a RepositoryName, &'a Principal)> + Clone,
) -> Vec<Box<dyn ToSql + Sync + Send>> {
    let paths: Vec<String> = keys
        .clone()
        .map(|(path, _)| path.as_str().to_owned())
        .collect();
    let namespaces: Vec<String> = keys
        .clone()
        .map(|(path, _)| path.namespace().to_owned())
        .collect();
    let accounts: Vec<Option<AccountId>> = keys
        .clone()
        .map(|(_, principal)| principal.parameters().0)
        .collect();
    let generations: Vec<Option<i64>> = keys
        .map(|(_, principal)| principal.parameters().1)
        .collect();
    vec![
        Box::new(paths),
        Box::new(namespaces),
        Box::new(accounts),
        Box::new(generations),
    ]
}

/// What a principal may do in a repository: the answer to an [`AccessKey`].
#[derive(Debug, Clone, Copy)]
pub struct ResolveAccess;

/// Key of [`ResolveAccess`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessKey {
    /// The repository.
    pub path: RepositoryName,
    /// Who asks.
    pub principal: Principal,
}

impl PointRead for ResolveAccess {
    type Key = AccessKey;
    type Row = Access;

    const STATEMENT: Statement = point_statement!(
        "access.resolve",
        [TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY],
        concat!(
            "SELECT k.ord, ",
            access_columns!(),
            access_from!(
                "unnest($1, $2, $3, $4) WITH ORDINALITY AS k(path, namespace, account_id, generation, ord)",
                ""
            ),
        ),
    );

    fn party(key: &AccessKey) -> u64 {
        key.principal.party()
    }

    fn key_bytes(key: &AccessKey) -> usize {
        size_of::<AccessKey>() + key.path.as_str().len()
    }

    fn is_absent(row: Option<&Access>) -> bool {
        row.is_none_or(|access| access.repository.is_none())
    }

    fn columns(keys: &[&AccessKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        key_columns(keys.iter().map(|key| (&key.path, &key.principal)))
    }

    fn decode(row: &Row) -> Result<Access, tokio_postgres::Error> {
        Access::decode(row, 1)
    }
}

pub(crate) static STATEMENTS: &[&Statement] = &[&ResolveAccess::STATEMENT];
