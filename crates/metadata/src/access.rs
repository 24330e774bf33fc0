//! Who may do what, decided in the statement that finds it.
//!
//! There is one text that decides, [`decision!`], and every statement that resolves a name contains it: the
//! answer is as fresh as the data it comes with, and a right taken away is gone at once. The rules, of which the one
//! that gives most counts:
//!
//! | who | may |
//! |---|---|
//! | a superuser | everything, everywhere |
//! | the owner of a namespace | everything in it |
//! | who is in a team of role `admin` of the organization that owns it | everything in it |
//! | whom a permission names, or a team he is in | in that repository what it says |
//! | a read-only superuser | read, everywhere |
//! | everybody | read what is public |
//!
//! A credential that reaches less far takes away what is above it. The owner, such a team, one of role `creator`, and a
//! superuser may make repositories. What is read-only, or a mirror, takes no writes, whoever has which right
//! ([`Writable`]).

use crate::AccountId;
use crate::CredentialId;
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
        /// What it has proven itself with, where that can be taken away, or reaches less far than the account.
        credential: Option<CredentialId>,
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

    /// The account's id, its generation and the credential as the statements take them.
    pub(crate) const fn parameters(
        &self,
    ) -> (Option<AccountId>, Option<i64>, Option<CredentialId>) {
        match self {
            Self::Anonymous => (None, None, None),
            Self::Account {
                id,
                generation,
                credential,
            } => (Some(*id), Some(*generation), *credential),
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

impl Role {
    /// By its number in the database; anything else is none.
    pub(crate) const fn from_number(number: i16) -> Self {
        match number {
            3 => Self::Admin,
            2 => Self::Write,
            1 => Self::Read,
            _ => Self::None,
        }
    }

    /// The word on the command line and in the web API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Whether a repository takes writes at all, from those who have the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writable {
    /// It does.
    Yes,
    /// The repository was made read-only.
    RepositoryReadOnly,
    /// Its namespace was.
    NamespaceReadOnly,
    /// It is a mirror, and this is not the account that mirrors.
    Mirror,
}

/// What became of the principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalState {
    /// Nobody in particular.
    Anonymous,
    /// The account is there and of the same generation.
    Valid,
    /// The account is gone, disabled, expired, its owner is, it is of another generation, or its credential is gone: the
    /// token is void.
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
    /// Whether it takes writes, or would if it were there.
    pub writable: Writable,
}

impl Access {
    /// How many columns [`access_columns!`] has.
    pub(crate) const COLUMNS: usize = 6;

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
            role: Role::from_number(row.try_get(first + 1)?),
            may_create: row.try_get(first + 2)?,
            principal: principal_state(row.try_get(first + 3)?),
            public: row.try_get(first + 4)?,
            writable: match row.try_get::<_, i16>(first + 5)? {
                0 => Writable::Yes,
                1 => Writable::RepositoryReadOnly,
                2 => Writable::NamespaceReadOnly,
                _ => Writable::Mirror,
            },
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
        "r.id, d.role, d.may_create, d.principal, coalesce(r.visibility = 'public', false), d.writable"
    };
}

/// Whether whoever is row `account` may do anything at all: neither disabled nor expired, and his owner not disabled.
macro_rules! in_use {
    () => {
        "account.state = 'active'
            AND (account.expires_at IS NULL OR account.expires_at > now())
            AND CASE
                WHEN account.owner_id IS NULL THEN true
                ELSE (SELECT owner.state = 'active' FROM account AS owner WHERE owner.id = account.owner_id)
            END"
    };
}

/// The principal's account as `a`, from `k.account_id`, `k.generation` and `k.credential_id`; a row of NULLs where it is
/// anonymous or ended. `reach` is the highest role that the credential lets through.
macro_rules! account {
    () => {
        concat!(
            "
LEFT JOIN LATERAL (
    SELECT valid.id, valid.superuser, valid.read_only_superuser, valid.reach
    FROM (
        SELECT account.id, account.superuser, account.read_only_superuser,
            CASE
                WHEN k.credential_id IS NULL THEN 3
                ELSE (
                    SELECT coalesce(credential.max_role, 3)
                    FROM credential
                    WHERE credential.id = k.credential_id AND credential.account_id = k.account_id
                        AND (credential.expires_at IS NULL OR credential.expires_at > now())
                )
            END AS reach
        FROM account
        WHERE account.id = k.account_id AND account.generation = k.generation AND ",
            $crate::access::in_use!(),
            "
        LIMIT 1
    ) AS valid
    WHERE valid.reach IS NOT NULL
) a ON true"
        )
    };
}

/// The decision as `d`, from the key `k`, the account `a`, the namespace `n` and the repository `r`. This is the
/// only place where rights are decided.
///
/// Joins are LATERAL with a LIMIT, so that no plan hashes a table for a few keys, whatever it knows of the table.
///
/// Look-ups are in branches of `CASE`, which are evaluated when they are reached: what a superuser, an owner and the anonymous
/// may costs none. They do not hang on whether the repository is there or public: a mount that names no source asks this of
/// repositories that nobody may know of, and must do the same work for each.
macro_rules! decision {
    () => {
        "
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN k.account_id IS NULL THEN 0 WHEN a.id IS NOT NULL THEN 1 ELSE 2 END::smallint AS principal,
        CASE
            WHEN k.account_id IS NULL THEN CASE WHEN r.visibility = 'public' THEN 1 ELSE 0 END
            -- A void token opens nothing, not even what is public: it shall be noticed.
            WHEN a.id IS NULL THEN 0
            WHEN a.superuser OR n.owner_account_id = a.id THEN a.reach
            ELSE least(a.reach, greatest(
                CASE WHEN r.visibility = 'public' OR a.read_only_superuser THEN 1 ELSE 0 END,
                (
                    SELECT permission.role
                    FROM permission
                    WHERE permission.account_id = a.id AND permission.repository_id = coalesce(r.id, 0)
                ),
                (
                    SELECT max(CASE WHEN his.organization_id = n.owner_account_id AND his.role = 'admin' THEN 3
                                    ELSE his.permitted END)
                    FROM membership
                    CROSS JOIN LATERAL (
                        SELECT team.organization_id, team.role,
                            (
                                SELECT permission.role FROM permission
                                WHERE permission.team_id = team.id AND permission.repository_id = coalesce(r.id, 0)
                            ) AS permitted
                        FROM team
                        WHERE team.id = membership.team_id
                        LIMIT 1
                    ) his
                    WHERE membership.account_id = a.id
                )
            ))
        END::smallint AS role,
        CASE
            WHEN a.id IS NULL OR a.reach < 2 THEN false
            WHEN a.superuser OR n.owner_account_id = a.id THEN true
            -- Not EXISTS, of which the planner may make a hash of all memberships there are.
            ELSE coalesce((
                SELECT true FROM membership
                CROSS JOIN LATERAL (
                    SELECT team.organization_id, team.role FROM team WHERE team.id = membership.team_id LIMIT 1
                ) his
                WHERE membership.account_id = a.id AND his.organization_id = n.owner_account_id
                    AND his.role IN ('creator', 'admin')
                LIMIT 1
            ), false)
        END AS may_create,
        CASE
            WHEN n.mode = 'read_only' THEN 2
            WHEN r.mode = 'read_only' THEN 1
            -- One that no account mirrors takes writes from nobody, the anonymous included.
            WHEN r.mode = 'mirror' AND (r.mirror_account_id = a.id) IS NOT TRUE THEN 3
            ELSE 0
        END::smallint AS writable
) d"
    };
}

/// Finds repository `r` and decides the right to it, for keys `k` with `path`, `namespace`, `account_id`, `generation` and
/// `credential_id`. One row for every key. `$lock` is nothing, or how the repository's row is locked.
macro_rules! access_from {
    ($keys:literal, $lock:literal) => {
        concat!(
            " FROM ",
            $keys,
            $crate::access::account!(),
            "
LEFT JOIN LATERAL (
    SELECT namespace.owner_account_id, namespace.mode
    FROM namespace
    WHERE namespace.name = k.namespace
    LIMIT 1
) n ON true
LEFT JOIN LATERAL (
    SELECT repository.id, repository.visibility, repository.collect_untagged, repository.mode,
        repository.mirror_account_id
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
pub(crate) use {access_columns, access_from, account, decision, in_use};

/// The first five parameters of every resolving point read: arrays of path, namespace, account, generation and credential.
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
        .clone()
        .map(|(_, principal)| principal.parameters().1)
        .collect();
    let credentials: Vec<Option<CredentialId>> = keys
        .map(|(_, principal)| principal.parameters().2)
        .collect();
    vec![
        Box::new(paths),
        Box::new(namespaces),
        Box::new(accounts),
        Box::new(generations),
        Box::new(credentials),
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
        [TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY],
        concat!(
            "SELECT k.ord, ",
            access_columns!(),
            access_from!(
                "unnest($1, $2, $3, $4, $5)
                 WITH ORDINALITY AS k(path, namespace, account_id, generation, credential_id, ord)",
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
