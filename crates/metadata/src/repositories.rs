//! Repositories: found and locked by path, made by a first push, renamed out of the way when they go.

mod change;
mod removal;
mod row;

pub use change::{describe, mark_deleted, mark_deleted_in, set_mode};
pub use removal::{KEPT, remove_step};
pub use row::{RepositoryMode, RepositoryRow, find, list, list_in, lock_for_change};

pub(crate) use change::STATEMENTS as CHANGE_STATEMENTS;
pub(crate) use removal::STATEMENTS as REMOVAL_STATEMENTS;
pub(crate) use row::STATEMENTS as ROW_STATEMENTS;

use crate::access::{Access, access_columns, access_from, account, decision};
use crate::statements::statement;
use crate::{Error, NamespaceId, Principal, RepositoryId, read_only};
use portolan_oci::RepositoryName;
use portolan_pg::{Read as _, Statement, Tx};

/// Who may read without a right of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Nobody.
    Private,
    /// Everybody.
    Public,
}

impl Visibility {
    /// The word in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// How often a row may vanish between the attempt to insert it and the attempt to lock the one in the way:
/// each time somebody has to have removed one in between.
pub(crate) const ATTEMPTS: u32 = 5;

static LOCK: Statement = statement!(
    "repositories.lock",
    [TEXT, TEXT, INT8, INT8, INT8],
    concat!(
        "SELECT ",
        access_columns!(),
        ", ",
        read_only::refusal!(),
        access_from!(
            "(VALUES ($1::text, $2::text, $3::bigint, $4::bigint, $5::bigint))
             AS k(path, namespace, account_id, generation, credential_id)",
            "FOR KEY SHARE"
        ),
    ),
);

/// The first statement of every write into a repository: finds it, locks it against removal, and decides the
/// principal's right to it.
///
/// Never with an id from an earlier request: a repository that was removed and made anew is another one.
///
/// # Errors
/// [`Error::ReadOnly`] where the registry takes no writes.
pub async fn lock(tx: &Tx, path: &RepositoryName, principal: &Principal) -> Result<Access, Error> {
    let (account, generation, credential) = principal.parameters();
    let row = tx
        .query_one(
            &LOCK,
            &[
                &path.as_str(),
                &path.namespace(),
                &account,
                &generation,
                &credential,
            ],
        )
        .await?;
    let decoding = Error::decoding("repository");
    read_only::refused(row.try_get(Access::COLUMNS).map_err(&decoding)?)?;
    Access::decode(&row, 0).map_err(decoding)
}

static HOLD_NAMESPACE: Statement = statement!(
    "repositories.hold_namespace",
    [TEXT, INT8, INT8, INT8],
    concat!(
        "SELECT d.may_create
         FROM (VALUES ($1::text, $2::bigint, $3::bigint, $4::bigint))
             AS k(namespace, account_id, generation, credential_id)",
        account!(),
        "
         LEFT JOIN LATERAL (
             SELECT namespace.owner_account_id, namespace.mode
             FROM namespace
             WHERE namespace.name = k.namespace
             LIMIT 1
             FOR KEY SHARE
         ) n ON true
         -- There is none yet.
         CROSS JOIN (
             VALUES (NULL::bigint, NULL::text, NULL::text, NULL::bigint)
         ) AS r(id, visibility, mode, mirror_account_id)",
        decision!(),
    ),
);

/// Holds the namespace that a repository shall be made in, and decides again whether the principal may: since [`lock`] decided,
/// which holds no namespace, it may have ended with its owner, and another have come by its name.
///
/// # Errors
/// [`Error::Contended`] where he may no longer: whoever runs the transaction again hears why.
pub async fn hold_namespace(
    tx: &Tx,
    path: &RepositoryName,
    principal: &Principal,
) -> Result<(), Error> {
    let (account, generation, credential) = principal.parameters();
    let row = tx
        .query_one(
            &HOLD_NAMESPACE,
            &[&path.namespace(), &account, &generation, &credential],
        )
        .await?;
    let table = "namespace";
    let may_create: bool = row.try_get(0).map_err(Error::decoding(table))?;
    if may_create {
        Ok(())
    } else {
        Err(Error::Contended { table })
    }
}

static FIND_NAMESPACE: Statement = statement!(
    "repositories.find_namespace",
    [TEXT],
    // Held, so that it is not removed with its owner between here and the repository that is put into it.
    "SELECT namespace.id FROM namespace WHERE namespace.name = $1 FOR KEY SHARE",
);

static INSERT_ORGANIZATION: Statement = statement!(
    "repositories.insert_organization",
    [TEXT, INT8],
    "INSERT INTO account (kind, name)
     SELECT 'organization', $1
     WHERE $2 IS NULL OR (SELECT maker.superuser FROM account AS maker WHERE maker.id = $2)
     ON CONFLICT (name) DO NOTHING",
);

static INSERT_NAMESPACE: Statement = statement!(
    "repositories.insert_namespace",
    [TEXT],
    "INSERT INTO namespace (name, owner_account_id)
     SELECT account.name, account.id FROM account WHERE account.name = $1
     ON CONFLICT (name) DO NOTHING",
);

static INSERT: Statement = statement!(
    "repositories.insert",
    [TEXT, INT8, INT8],
    "INSERT INTO repository (path, namespace_id, created_by) VALUES ($1, $2, $3)
     ON CONFLICT (path) DO NOTHING
     RETURNING id",
);

// Who makes it administers it, where nothing gives him that already; and what the namespace gives to whom it names.
static GRANT_DEFAULTS: Statement = statement!(
    "repositories.grant_defaults",
    [INT8, INT8, INT8],
    "INSERT INTO permission (repository_id, account_id, team_id, role)
     SELECT $1, given.account_id, given.team_id, max(given.role)
     FROM (
         SELECT account.id AS account_id, NULL::bigint AS team_id, 3::smallint AS role
         FROM account
         JOIN namespace ON namespace.id = $2
         WHERE account.id = $3 AND NOT account.superuser AND namespace.owner_account_id <> account.id
         UNION ALL
         SELECT default_permission.account_id, default_permission.team_id, default_permission.role
         FROM default_permission
         WHERE default_permission.namespace_id = $2
             AND (default_permission.creator_id IS NULL OR default_permission.creator_id = $3)
     ) AS given
     GROUP BY given.account_id, given.team_id",
);

static LOCK_ID: Statement = statement!(
    "repositories.lock_id",
    [TEXT],
    "SELECT repository.id FROM repository
     WHERE repository.path = $1 AND repository.state = 'active'
     FOR KEY SHARE",
);

/// As [`ensure`], for those who do not care who made it.
pub async fn create(
    tx: &Tx,
    path: &RepositoryName,
    principal: &Principal,
) -> Result<RepositoryId, Error> {
    Ok(ensure(tx, path, principal).await?.id)
}

/// A repository that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ensured {
    /// Which.
    pub id: RepositoryId,
    /// Whether this transaction made it.
    pub made: bool,
}

/// Makes a private repository with the permissions that its namespace gives to new ones, and its namespace with an
/// organization that owns it where there is none.
///
/// The caller has decided by [`Access::may_create`] that the principal may; without a namespace only a
/// superuser does. Where another has made the repository meanwhile, that one is locked and returned.
pub async fn ensure(
    tx: &Tx,
    path: &RepositoryName,
    principal: &Principal,
) -> Result<Ensured, Error> {
    let decoding = Error::decoding("repository");
    let namespace = namespace(tx, path.namespace(), principal).await?;
    for _ in 0..ATTEMPTS {
        let made = tx
            .query_opt(&INSERT, &[&path.as_str(), &namespace, &principal.account()])
            .await?;
        let found = match made {
            Some(row) => {
                let id: RepositoryId = row.try_get(0).map_err(&decoding)?;
                tx.execute(&GRANT_DEFAULTS, &[&id, &namespace, &principal.account()])
                    .await?;
                return Ok(Ensured { id, made: true });
            }
            // A new statement: the one that waited for the other's insert does not see its row.
            None => tx.query_opt(&LOCK_ID, &[&path.as_str()]).await?,
        };
        if let Some(row) = found {
            return Ok(Ensured {
                id: row.try_get(0).map_err(decoding)?,
                made: false,
            });
        }
    }
    Err(Error::Contended {
        table: "repository",
    })
}

async fn namespace(tx: &Tx, name: &str, principal: &Principal) -> Result<NamespaceId, Error> {
    let decoding = Error::decoding("namespace");
    if let Some(row) = tx.query_opt(&FIND_NAMESPACE, &[&name]).await? {
        return row.try_get(0).map_err(decoding);
    }
    tx.execute(&INSERT_ORGANIZATION, &[&name, &principal.account()])
        .await?;
    tx.execute(&INSERT_NAMESPACE, &[&name]).await?;
    match tx.query_opt(&FIND_NAMESPACE, &[&name]).await? {
        Some(row) => row.try_get(0).map_err(decoding),
        // It went with its owner since the right was decided, and this is nobody who may make it anew.
        None => Err(Error::Contended { table: "namespace" }),
    }
}

static SET_VISIBILITY: Statement = statement!(
    "repositories.set_visibility",
    [TEXT, TEXT],
    "UPDATE repository SET visibility = $2 WHERE repository.path = $1 AND repository.state = 'active'",
);

/// Sets who may read a repository; false: there is none of that name.
pub async fn set_visibility(
    tx: &Tx,
    path: &RepositoryName,
    visibility: Visibility,
) -> Result<bool, Error> {
    Ok(tx
        .execute(&SET_VISIBILITY, &[&path.as_str(), &visibility.as_str()])
        .await?
        == 1)
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &LOCK,
    &HOLD_NAMESPACE,
    &FIND_NAMESPACE,
    &INSERT_ORGANIZATION,
    &INSERT_NAMESPACE,
    &INSERT,
    &GRANT_DEFAULTS,
    &LOCK_ID,
    &SET_VISIBILITY,
];
