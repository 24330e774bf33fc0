//! Reading the log: pages by key, newest first for people and oldest first for copies.

use crate::columns::limit;
use crate::statements::statement;
use crate::{AccountId, CredentialId, Error, NamespaceId, RepositoryId};
use portolan_pg::{Read, Statement};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// A row's place in the order of the log: what a page went on after, and the next one does.
///
/// Written as `1764340200123456.17`: microseconds since 1970, and the row's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When it was.
    pub at: SystemTime,
    /// Its number, for those of the same moment.
    pub id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(f, "{}.{}", since.as_micros(), self.id)
    }
}

/// A text that is no place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place in the log is two numbers with a dot between them, as an export prints it")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (micros, id) = text.split_once('.').ok_or(CursorError)?;
        let micros = micros.parse().map_err(|_| CursorError)?;
        let at = UNIX_EPOCH
            .checked_add(Duration::from_micros(micros))
            .ok_or(CursorError)?;
        Ok(Self {
            at,
            id: id.parse().map_err(|_| CursorError)?,
        })
    }
}

/// One change, as it was written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place.
    pub cursor: Cursor,
    /// When, as RFC 3339 has it, in UTC and to the microsecond.
    pub at: String,
    /// Whose account; `None` for the command line and for jobs.
    pub actor_id: Option<AccountId>,
    /// His name then.
    pub actor: String,
    /// What he showed.
    pub credential: String,
    /// The row of that, where it has one.
    pub credential_id: Option<CredentialId>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The request's id.
    pub request_id: Option<String>,
    /// The entity and the verb.
    pub action: String,
    /// What was changed.
    pub target: String,
    /// In which namespace.
    pub namespace: Option<NamespaceId>,
    /// In which repository.
    pub repository: Option<RepositoryId>,
    /// What else was worth knowing.
    pub detail: serde_json::Value,
}

impl Entry {
    fn decode(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            cursor: Cursor {
                at: row.try_get(0)?,
                id: row.try_get(1)?,
            },
            at: row.try_get(2)?,
            actor_id: row.try_get(3)?,
            actor: row.try_get(4)?,
            credential: row.try_get(5)?,
            credential_id: row.try_get(6)?,
            address: row.try_get(7)?,
            request_id: row.try_get(8)?,
            action: row.try_get(9)?,
            target: row.try_get(10)?,
            namespace: row.try_get(11)?,
            repository: row.try_get(12)?,
            detail: row.try_get(13)?,
        })
    }
}

/// Which changes are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// From then on.
    pub since: Option<SystemTime>,
    /// Until then, that moment not included.
    pub until: Option<SystemTime>,
    /// By whom: the name that he had.
    pub actor: Option<String>,
    /// What was done, as `tag.move`.
    pub action: Option<String>,
    /// In which repository.
    pub repository: Option<RepositoryId>,
    /// In which namespace.
    pub namespace: Option<NamespaceId>,
}

macro_rules! columns {
    () => {
        "SELECT audit_log.at, audit_log.id,
             to_char(audit_log.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             audit_log.actor_id, audit_log.actor, audit_log.credential, audit_log.credential_id, audit_log.address,
             audit_log.request_id, audit_log.action, audit_log.target, audit_log.namespace_id, audit_log.repository_id,
             audit_log.detail
         FROM audit_log
         "
    };
}

// Each begins with the condition whose index it walks; the others are asked of the rows.
macro_rules! newest_first {
    ($name:literal, $lead:literal) => {
        statement!(
            $name,
            [TIMESTAMPTZ, TIMESTAMPTZ, INT8, INT8, INT8, INT8, TEXT, TEXT],
            concat!(
                columns!(),
                "WHERE ",
                $lead,
                "audit_log.at >= $1 AND audit_log.at <= $2 AND (audit_log.at < $2 OR audit_log.id < $3)
                 AND ($5::bigint IS NULL OR audit_log.repository_id = $5)
                 AND ($6::bigint IS NULL OR audit_log.namespace_id = $6)
                 AND ($7::text IS NULL OR audit_log.actor = $7)
                 AND ($8::text IS NULL OR audit_log.action = $8)
                 ORDER BY audit_log.at DESC, audit_log.id DESC
                 LIMIT $4"
            ),
        )
    };
}

pub(super) static ALL: Statement = newest_first!("audit.search", "");
pub(super) static OF_REPOSITORY: Statement = newest_first!(
    "audit.search_repository",
    "audit_log.repository_id = $5 AND "
);
pub(super) static OF_NAMESPACE: Statement =
    newest_first!("audit.search_namespace", "audit_log.namespace_id = $6 AND ");
pub(super) static OF_ACTOR: Statement =
    newest_first!("audit.search_actor", "audit_log.actor = $7 AND ");
pub(super) static OF_ACTION: Statement =
    newest_first!("audit.search_action", "audit_log.action = $8 AND ");

/// Further than any row.
fn end_of_time() -> SystemTime {
    // The year 9999, which every format can write.
    UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

/// At most `rows` changes that `filter` wants, the newest first; those before `before`, where a page went so far.
pub async fn search(
    db: &impl Read,
    filter: &Filter,
    before: Option<Cursor>,
    rows: usize,
) -> Result<Vec<Entry>, Error> {
    let statement = match filter {
        Filter {
            repository: Some(_),
            ..
        } => &OF_REPOSITORY,
        Filter { actor: Some(_), .. } => &OF_ACTOR,
        Filter {
            namespace: Some(_), ..
        } => &OF_NAMESPACE,
        Filter {
            action: Some(_), ..
        } => &OF_ACTION,
        _ => &ALL,
    };
    // Without a place to go on before, it is before the first row of that moment.
    let end = Cursor {
        at: filter.until.unwrap_or_else(end_of_time),
        id: i64::MIN,
    };
    let from = match before {
        Some(before) if before.at < end.at => before,
        _ => end,
    };
    let parameters: [&(dyn ToSql + Sync); 8] = [
        &filter.since.unwrap_or(UNIX_EPOCH),
        &from.at,
        &from.id,
        &limit(rows),
        &filter.repository,
        &filter.namespace,
        &filter.actor,
        &filter.action,
    ];
    let found = db.query(statement, &parameters).await?;
    decoded(&found)
}

pub(super) static EXPORT: Statement = statement!(
    "audit.export",
    [TIMESTAMPTZ, INT8, TIMESTAMPTZ, INT8],
    concat!(
        columns!(),
        "WHERE audit_log.at >= $1 AND (audit_log.at > $1 OR audit_log.id > $2) AND audit_log.at < $3
         ORDER BY audit_log.at, audit_log.id
         LIMIT $4"
    ),
);

/// At most `rows` changes after `after` and before `until`, the oldest first: page after page, all there are.
pub async fn export(
    db: &impl Read,
    after: Cursor,
    until: SystemTime,
    rows: usize,
) -> Result<Vec<Entry>, Error> {
    let found = db
        .query(&EXPORT, &[&after.at, &after.id, &until, &limit(rows)])
        .await?;
    decoded(&found)
}

fn decoded(rows: &[Row]) -> Result<Vec<Entry>, Error> {
    rows.iter()
        .map(Entry::decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("audit_log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        let place = Cursor {
            at: UNIX_EPOCH + Duration::from_micros(1_764_340_200_123_456),
            id: 17,
        };
        assert_eq!(place.to_string(), "1764340200123456.17");
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "1", "1.", ".1", "a.b", "1.2.3", "-1.2"] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad}");
        }
    }
}
