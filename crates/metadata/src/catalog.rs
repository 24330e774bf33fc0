//! The repositories that a principal may read, in the order of their names.
//!
//! Candidates come from indexes (a superuser's: all; the public ones; those of the principal's own namespaces), never
//! more than a page of each; what is shown of them is decided by the same text as everywhere.

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

/// One row for every readable repository whose path is after `$3` and satisfies `$filter`; or one without, so that
/// the state of the principal comes back in any case.
macro_rules! readable {
    ($filter:literal) => {
        concat!(
            "SELECT
                 CASE WHEN k.account_id IS NULL THEN 0 WHEN a.id IS NOT NULL THEN 1 ELSE 2 END::smallint,
                 page.path, page.description
             FROM (VALUES ($1::bigint, $2::bigint)) AS k(account_id, generation)",
            account!(),
            "
             LEFT JOIN LATERAL (
                 SELECT r.path, r.description
                 FROM (
                     (
                         SELECT repository.path, repository.description, repository.visibility, repository.namespace_id
                         FROM repository
                         WHERE a.superuser AND repository.path > $3 AND repository.state = 'active'",
            $filter,
            "
                         ORDER BY repository.path
                         LIMIT $4
                     )
                     UNION
                     (
                         SELECT repository.path, repository.description, repository.visibility, repository.namespace_id
                         FROM repository
                         WHERE repository.visibility = 'public' AND repository.path > $3 AND repository.state = 'active'",
            $filter,
            "
                         ORDER BY repository.path
                         LIMIT $4
                     )
                     UNION
                     SELECT own.path, own.description, own.visibility, own.namespace_id
                     FROM namespace
                     CROSS JOIN LATERAL (
                         SELECT repository.path, repository.description, repository.visibility, repository.namespace_id
                         FROM repository
                         WHERE repository.namespace_id = namespace.id
                             AND repository.path > $3 AND repository.state = 'active'",
            $filter,
            "
                         ORDER BY repository.path
                         LIMIT $4
                     ) AS own
                     WHERE namespace.owner_account_id = a.id
                 ) AS r
                 JOIN namespace n ON n.id = r.namespace_id",
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

static LIST: Statement = statement!("catalog.list", [INT8, INT8, TEXT, INT8], readable!(""));

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
    let (account, generation) = principal.parameters();
    let last = before_nul(last.unwrap_or_default());
    let found = db
        .query(&LIST, &[&account, &generation, &last, &limit(rows)])
        .await?;
    found_rows(&found)?
        .map(|row| parsed(row, 1).map_err(Error::decoding("repository")))
        .collect()
}

static SEARCH: Statement = statement!(
    "catalog.search",
    [INT8, INT8, TEXT, INT8, TEXT],
    readable!(" AND strpos(repository.path, $5) > 0"),
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
    let (account, generation) = principal.parameters();
    let query = before_nul(query);
    let found = db
        .query(&SEARCH, &[&account, &generation, &"", &limit(rows), &query])
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
