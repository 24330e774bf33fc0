//! The repositories that a principal may read, in the order of their names.
//!
//! Candidates come from indexes (a superuser's: all; the public ones; those that permissions name; those of namespaces that
//! are the principal's to administer), never more than a page of each; what is shown of them is decided by the same text as
//! everywhere.

use crate::Error;
use crate::access::{Principal, PrincipalState, account, decision, principal_state};
use crate::columns::{before_nul, limit, parsed};
use crate::statements::statement;
use portolan_oci::RepositoryName;
use portolan_pg::{Read, Statement};
use tokio_postgres::Row;

/// A repository found by a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRow {
    /// Its canonical name.
    pub name: RepositoryName,
    /// What its owners say about it.
    pub description: String,
}

/// What is selected of every candidate: what is shown, and what the decision needs.
macro_rules! candidate {
    () => {
        "SELECT repository.id, repository.path, repository.description, repository.visibility, repository.namespace_id,
             repository.mode, repository.mirror_account_id"
    };
}

/// The condition that every candidate satisfies, and a page of them in order.
macro_rules! page {
    ($filter:literal) => {
        concat!(
            " AND repository.path > $3 AND repository.state = 'active'",
            $filter,
            " ORDER BY repository.path LIMIT $4"
        )
    };
}

/// One row for every readable repository whose path is after `$3` and satisfies `$filter`; or one without, so that
/// the state of the principal comes back in any case.
macro_rules! readable {
    ($filter:literal) => {
        concat!(
            "SELECT
                 CASE WHEN k.account_id IS NULL THEN 0 WHEN a.id IS NOT NULL THEN 1 ELSE 2 END::smallint,
                 page.path, page.description
             FROM (VALUES ($1::bigint, $2::bigint, $5::bigint)) AS k(account_id, generation, credential_id)",
            account!(),
            "
             LEFT JOIN LATERAL (
                 SELECT r.path, r.description
                 FROM (
                     (",
            candidate!(),
            " FROM repository
                         WHERE (a.superuser OR a.read_only_superuser)",
            page!($filter),
            ")
                     UNION
                     (",
            candidate!(),
            " FROM repository
                         WHERE repository.visibility = 'public'",
            page!($filter),
            ")
                     UNION
                     (",
            candidate!(),
            " FROM permission JOIN repository ON repository.id = permission.repository_id
                         WHERE permission.account_id = a.id",
            page!($filter),
            ")
                     UNION
                     (",
            candidate!(),
            " FROM membership
                         JOIN permission ON permission.team_id = membership.team_id
                         JOIN repository ON repository.id = permission.repository_id
                         WHERE membership.account_id = a.id",
            page!($filter),
            ")
                     UNION
                     SELECT own.*
                     FROM (
                         SELECT namespace.id FROM namespace WHERE namespace.owner_account_id = a.id
                         UNION
                         SELECT namespace.id
                         FROM membership
                         JOIN team ON team.id = membership.team_id AND team.role = 'admin'
                         JOIN namespace ON namespace.owner_account_id = team.organization_id
                         WHERE membership.account_id = a.id
                     ) AS whole
                     CROSS JOIN LATERAL (",
            candidate!(),
            " FROM repository
                         WHERE repository.namespace_id = whole.id",
            page!($filter),
            ") AS own
                 ) AS r
                 CROSS JOIN LATERAL (
                     SELECT namespace.owner_account_id, namespace.mode FROM namespace
                     WHERE namespace.id = r.namespace_id
                     LIMIT 1
                 ) AS n",
            decision!(),
            "
                 WHERE d.role >= 1
                 ORDER BY r.path
                 LIMIT $4
             ) AS page ON true
             ORDER BY page.path"
        )
    };
}

static LIST: Statement = statement!(
    "catalog.list",
    [INT8, INT8, TEXT, INT8, INT8],
    readable!(""),
);

/// At most `rows` readable repositories after `last`, in bytewise order.
///
/// # Errors
/// [`Error::PrincipalEnded`] where the principal's token is void.
pub async fn list(
    db: &impl Read,
    principal: &Principal,
    last: Option<&str>,
    rows: usize,
) -> Result<Vec<RepositoryName>, Error> {
    let (account, generation, credential) = principal.parameters();
    let last = before_nul(last.unwrap_or_default());
    let found = db
        .query(
            &LIST,
            &[&account, &generation, &last, &limit(rows), &credential],
        )
        .await?;
    found_rows(&found)?
        .map(|row| parsed(row, 1).map_err(Error::decoding("repository")))
        .collect()
}

static SEARCH: Statement = statement!(
    "catalog.search",
    [INT8, INT8, TEXT, INT8, INT8, TEXT],
    readable!(" AND strpos(repository.path, $6) > 0"),
);

/// At most `rows` readable repositories whose name contains `query`.
///
/// Reads the names of what the principal may read until it has enough: bounded by the time limit of lists.
///
/// # Errors
/// [`Error::PrincipalEnded`] where the principal's token is void.
pub async fn search(
    db: &impl Read,
    principal: &Principal,
    query: &str,
    rows: usize,
) -> Result<Vec<SearchRow>, Error> {
    let (account, generation, credential) = principal.parameters();
    let query = before_nul(query);
    let found = db
        .query(
            &SEARCH,
            &[
                &account,
                &generation,
                &"",
                &limit(rows),
                &credential,
                &query,
            ],
        )
        .await?;
    let decode = |row: &Row| {
        Ok(SearchRow {
            name: parsed(row, 1)?,
            description: row.try_get(2)?,
        })
    };
    found_rows(&found)?
        .map(|row| decode(row).map_err(Error::decoding("repository")))
        .collect()
}

/// The rows that hold a repository.
fn found_rows(rows: &[Row]) -> Result<impl Iterator<Item = &Row>, Error> {
    let decoding = Error::decoding("repository");
    let Some(first) = rows.first() else {
        return Ok(rows.iter().take(0));
    };
    if principal_state(first.try_get(0).map_err(&decoding)?) == PrincipalState::Ended {
        return Err(Error::PrincipalEnded);
    }
    let nothing = first
        .try_get::<_, Option<&str>>(1)
        .map_err(&decoding)?
        .is_none();
    Ok(rows.iter().take(if nothing { 0 } else { rows.len() }))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&LIST, &SEARCH];
