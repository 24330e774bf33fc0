//! Tags: resolved, listed, and moved by compare-and-swap. Every move is written to the history.

use crate::access::{Access, Principal, access_columns, access_from, key_columns};
use crate::columns::{before_nul, digest, limit, parsed};
use crate::manifests::{ManifestRow, manifest_columns, manifest_row_columns};
use crate::repositories::ATTEMPTS;
use crate::statements::statement;
use crate::{Error, ManifestId, RepositoryId, gc};
use portolan_oci::{Digest, RepositoryName, TagName};
use portolan_pg::{PointRead, Read, Statement, Tx, point_statement};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// A manifest by tag. The answer to a pull that names a tag, with the right to it.
#[derive(Debug, Clone, Copy)]
pub struct ResolveTag;

/// Key of [`ResolveTag`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagKey {
    /// The repository.
    pub path: RepositoryName,
    /// The tag.
    pub tag: TagName,
    /// Who asks.
    pub principal: Principal,
}

impl PointRead for ResolveTag {
    type Key = TagKey;
    type Row = (Access, Option<ManifestRow>);

    // Tag and manifest in one statement: no 404 can appear between them.
    const STATEMENT: Statement = point_statement!(
        "tags.resolve",
        [TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY],
        concat!(
            "SELECT k.ord, ",
            access_columns!(),
            manifest_row_columns!(),
            access_from!(
                "unnest($1, $2, $3, $4, $5, $6)
                 WITH ORDINALITY AS k(path, namespace, account_id, generation, credential_id, tag, ord)",
                ""
            ),
            "LEFT JOIN LATERAL (
                SELECT ",
            manifest_columns!(),
            "
                FROM tag
                JOIN manifest ON manifest.id = tag.manifest_id
                WHERE tag.repository_id = r.id AND tag.name = k.tag AND d.role >= 1
                LIMIT 1
            ) m ON true",
        ),
    );

    fn party(key: &TagKey) -> u64 {
        key.principal.party()
    }

    fn key_bytes(key: &TagKey) -> usize {
        size_of::<TagKey>() + key.path.as_str().len() + key.tag.as_str().len()
    }

    // A tag that is not there is an answer like any other: who sets one waits until it shows.
    fn is_absent(row: Option<&Self::Row>) -> bool {
        row.is_none_or(|(access, _)| access.repository.is_none())
    }

    fn columns(keys: &[&TagKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let mut columns = key_columns(keys.iter().map(|key| (&key.path, &key.principal)));
        let tags: Vec<String> = keys.iter().map(|key| key.tag.as_str().to_owned()).collect();
        columns.push(Box::new(tags));
        columns
    }

    fn decode(row: &Row) -> Result<Self::Row, tokio_postgres::Error> {
        let access = Access::decode(row, 1)?;
        let manifest = ManifestRow::decode_for(&access, row, 1 + Access::COLUMNS)?;
        Ok((access, manifest))
    }
}

/// What a writer demands of a tag before it changes it (`If-Match`, `If-None-Match`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// It points at one of these.
    AnyOf(Vec<Digest>),
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
}

impl Expect {
    /// Holds it against what is there now.
    ///
    /// # Errors
    /// [`Error::TagChanged`] where that is something else.
    pub fn check(&self, current: Option<&Digest>) -> Result<(), Error> {
        let met = match (self, current) {
            (Self::AnyOf(allowed), Some(current)) => allowed.contains(current),
            (Self::Exists, Some(_)) | (Self::Absent, None) => true,
            (Self::AnyOf(_) | Self::Exists, None) | (Self::Absent, Some(_)) => false,
        };
        if met {
            Ok(())
        } else {
            Err(Error::TagChanged {
                current: current.copied(),
            })
        }
    }
}

/// A tag to be set.
#[derive(Debug, Clone, Copy)]
pub struct TagMove<'a> {
    /// Where.
    pub repository: RepositoryId,
    /// Which.
    pub tag: &'a TagName,
    /// To which manifest; locked by this transaction.
    pub manifest: ManifestId,
    /// That manifest's digest.
    pub digest: &'a Digest,
    /// Who moves it.
    pub actor: Principal,
    /// What must be so before.
    pub expect: Option<&'a Expect>,
}

/// What a move found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagMoved {
    /// Where the tag pointed before, if it was there; possibly at the same manifest.
    pub previous: Option<Digest>,
    /// The manifest that lost the tag: its age is to be renewed by [`gc::touch_manifests`], last.
    pub abandoned: Option<ManifestId>,
}

// No join: where this had to wait, Postgres checks the join again with the tag's new row and the manifest's old one,
// and finds nothing.
static LOCK: Statement = statement!(
    "tags.lock",
    [INT8, TEXT],
    "SELECT tag.manifest_id FROM tag
     WHERE tag.repository_id = $1 AND tag.name = $2
     FOR UPDATE",
);

static TARGET: Statement = statement!(
    "tags.target",
    [INT8],
    "SELECT manifest.digest FROM manifest WHERE manifest.id = $1",
);

static INSERT: Statement = statement!(
    "tags.insert",
    [INT8, TEXT, INT8, BYTEA, INT8],
    "WITH made AS (
         INSERT INTO tag (repository_id, name, manifest_id) VALUES ($1, $2, $3)
         ON CONFLICT (repository_id, name) DO NOTHING
         RETURNING tag.version
     )
     INSERT INTO tag_history (repository_id, name, version, digest, actor_account_id)
     SELECT $1, $2, made.version, $4, $5 FROM made",
);

static MOVE: Statement = statement!(
    "tags.move",
    [INT8, TEXT, INT8, BYTEA, BYTEA, INT8],
    "WITH moved AS (
         UPDATE tag
         SET manifest_id = $3, version = nextval('tag_version'), moved_at = now(), expires_at = NULL
         WHERE tag.repository_id = $1 AND tag.name = $2
         RETURNING tag.version
     )
     INSERT INTO tag_history (repository_id, name, version, digest, previous_digest, actor_account_id)
     SELECT $1, $2, moved.version, $4, $5, $6 FROM moved",
);

/// Sets a tag, in a transaction that has locked the manifest. Several tags of one transaction are set in the
/// order of their names.
///
/// A tag that points there already stays as it is: no version, no history.
///
/// # Errors
/// [`Error::TagChanged`] where [`TagMove::expect`] is not met.
pub async fn move_to(tx: &Tx, step: &TagMove<'_>) -> Result<TagMoved, Error> {
    let TagMove {
        repository,
        tag,
        manifest,
        digest,
        actor,
        expect,
    } = *step;
    let actor = actor.account();
    for _ in 0..ATTEMPTS {
        let current = lock(tx, repository, tag).await?;
        let previous = current.map(|(_, digest)| digest);
        if let Some(expect) = expect {
            expect.check(previous.as_ref())?;
        }
        match current {
            None => {
                let to = digest.as_bytes();
                let made = tx
                    .execute(
                        &INSERT,
                        &[&repository, &tag.as_str(), &manifest, &to, &actor],
                    )
                    .await?;
                if made == 1 {
                    return Ok(TagMoved {
                        previous,
                        abandoned: None,
                    });
                }
                // Another transaction has made the tag meanwhile: look at what it set.
            }
            Some((at, _)) if at == manifest => {
                return Ok(TagMoved {
                    previous,
                    abandoned: None,
                });
            }
            Some((at, from)) => {
                let (from, to) = (from.as_bytes(), digest.as_bytes());
                tx.execute_one(
                    &MOVE,
                    &[&repository, &tag.as_str(), &manifest, &to, &from, &actor],
                )
                .await?;
                return Ok(TagMoved {
                    previous,
                    abandoned: Some(at),
                });
            }
        }
    }
    Err(Error::Contended { table: "tag" })
}

/// Locks a tag; returns where it points.
async fn lock(
    tx: &Tx,
    repository: RepositoryId,
    tag: &TagName,
) -> Result<Option<(ManifestId, Digest)>, Error> {
    let decoding = Error::decoding("tag");
    let Some(row) = tx.query_opt(&LOCK, &[&repository, &tag.as_str()]).await? else {
        return Ok(None);
    };
    let manifest: ManifestId = row.try_get(0).map_err(&decoding)?;
    // A new statement: the manifest may be younger than the one that waited for the tag. The tag keeps it.
    let row = tx.query_one(&TARGET, &[&manifest]).await?;
    Ok(Some((manifest, digest(&row, 0).map_err(decoding)?)))
}

/// A tag to be removed.
#[derive(Debug, Clone, Copy)]
pub struct TagDelete<'a> {
    /// Where.
    pub repository: RepositoryId,
    /// Which.
    pub tag: &'a TagName,
    /// Who removes it.
    pub actor: Principal,
    /// What must be so before.
    pub expect: Option<&'a Expect>,
}

static DELETE: Statement = statement!(
    "tags.delete",
    [INT8, TEXT, BYTEA, INT8],
    "WITH gone AS (
         DELETE FROM tag WHERE tag.repository_id = $1 AND tag.name = $2
         RETURNING tag.name
     )
     INSERT INTO tag_history (repository_id, name, version, previous_digest, actor_account_id)
     SELECT $1, gone.name, nextval('tag_version'), $3, $4 FROM gone",
);

/// As [`remove`], for those who do not care where it pointed.
pub async fn delete(tx: &Tx, step: &TagDelete<'_>) -> Result<bool, Error> {
    Ok(remove(tx, step).await?.is_some())
}

/// Removes a tag, and renews the age of the manifest that loses it; `None`: there is no such tag. The last lock of its
/// transaction.
///
/// # Errors
/// [`Error::TagChanged`] where [`TagDelete::expect`] is not met.
pub async fn remove(tx: &Tx, step: &TagDelete<'_>) -> Result<Option<Digest>, Error> {
    let TagDelete {
        repository,
        tag,
        actor,
        expect,
    } = *step;
    let current = lock(tx, repository, tag).await?;
    if let Some(expect) = expect {
        expect.check(current.as_ref().map(|(_, digest)| digest))?;
    }
    let Some((manifest, digest)) = current else {
        return Ok(None);
    };
    let bytes = digest.as_bytes();
    tx.execute_one(
        &DELETE,
        &[&repository, &tag.as_str(), &bytes, &actor.account()],
    )
    .await?;
    gc::touch_manifest(tx, manifest).await?;
    Ok(Some(digest))
}

static LIST: Statement = statement!(
    "tags.list",
    [INT8, TEXT, INT8],
    "SELECT tag.name FROM tag
     WHERE tag.repository_id = $1 AND tag.name > $2
     ORDER BY tag.name
     LIMIT $3",
);

/// At most `rows` tags after `last`, in bytewise order.
pub async fn list(
    db: &impl Read,
    repository: RepositoryId,
    last: Option<&str>,
    rows: usize,
) -> Result<Vec<TagName>, Error> {
    let last = before_nul(last.unwrap_or_default());
    let found = db.query(&LIST, &[&repository, &last, &limit(rows)]).await?;
    found
        .iter()
        .map(|row| parsed(row, 0))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("tag"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &ResolveTag::STATEMENT,
    &LOCK,
    &INSERT,
    &MOVE,
    &DELETE,
    &LIST,
];
