//! The point reads that find a manifest, and the right to it, by digest.

use crate::access::{Access, Principal, access_columns, access_from, key_columns};
use crate::columns::{count, digest, parsed};
use crate::{ManifestId, Role};
use portolan_oci::{Digest, MediaType, RepositoryName};
use portolan_pg::{PointRead, Statement, point_statement};
use std::time::SystemTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// A manifest as a pull needs it; the bytes come by its digest.
#[derive(Debug, Clone)]
pub struct ManifestRow {
    /// Its id in this repository.
    pub id: ManifestId,
    /// Its digest.
    pub digest: Digest,
    /// As declared at its push.
    pub media_type: MediaType,
    /// Bytes of the payload.
    pub size: u64,
    /// When it was pushed to this repository first.
    pub created_at: SystemTime,
}

impl ManifestRow {
    /// Reads the columns of [`manifest_row_columns!`] from `first` on; `None` where the principal may not read.
    pub(crate) fn decode_for(
        access: &Access,
        row: &Row,
        first: usize,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let Some(id) = row.try_get::<_, Option<ManifestId>>(first)? else {
            return Ok(None);
        };
        if access.role < Role::Read {
            return Ok(None);
        }
        Ok(Some(Self {
            id,
            digest: digest(row, first + 1)?,
            media_type: parsed(row, first + 2)?,
            size: count(row, first + 3)?,
            created_at: row.try_get(first + 4)?,
        }))
    }
}

/// What a resolving statement returns of the manifest `m` it found laterally.
macro_rules! manifest_row_columns {
    () => {
        ", m.id, m.digest, m.media_type, m.payload_size, m.created_at "
    };
}

/// What such a lateral selects of the table.
macro_rules! manifest_columns {
    () => {
        "manifest.id, manifest.digest, manifest.payload_size, manifest.created_at,
        (SELECT media_type.name FROM media_type WHERE media_type.id = manifest.media_type_id) AS media_type"
    };
}
pub(crate) use {manifest_columns, manifest_row_columns};

/// Key of [`ResolveDigest`] and [`ResolveDigestHead`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DigestKey {
    /// The repository.
    pub path: RepositoryName,
    /// The manifest.
    pub digest: Digest,
    /// Who asks.
    pub principal: Principal,
}

macro_rules! resolve_digest {
    ($hidden:literal) => {
        concat!(
            "SELECT k.ord, ",
            access_columns!(),
            manifest_row_columns!(),
            access_from!(
                "unnest($1, $2, $3, $4, $5, $6)
                 WITH ORDINALITY AS k(path, namespace, account_id, generation, credential_id, digest, ord)",
                ""
            ),
            "LEFT JOIN LATERAL (
                SELECT ",
            manifest_columns!(),
            "
                FROM manifest
                WHERE manifest.repository_id = r.id AND manifest.digest = k.digest AND d.role >= 1",
            $hidden,
            "
                LIMIT 1
            ) m ON true",
        )
    };
}

/// A manifest by digest, for GET.
#[derive(Debug, Clone, Copy)]
pub struct ResolveDigest;

impl PointRead for ResolveDigest {
    type Key = DigestKey;
    type Row = (Access, Option<ManifestRow>);

    const STATEMENT: Statement = point_statement!(
        "manifests.resolve_digest",
        [
            TEXT_ARRAY,
            TEXT_ARRAY,
            INT8_ARRAY,
            INT8_ARRAY,
            INT8_ARRAY,
            BYTEA_ARRAY
        ],
        resolve_digest!(""),
    );

    fn party(key: &DigestKey) -> u64 {
        key.principal.party()
    }

    fn key_bytes(key: &DigestKey) -> usize {
        size_of::<DigestKey>() + key.path.as_str().len()
    }

    fn is_absent(row: Option<&Self::Row>) -> bool {
        row.is_none_or(|(access, found)| access.is_absent(found.as_ref()))
    }

    fn columns(keys: &[&DigestKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let mut columns = key_columns(keys.iter().map(|key| (&key.path, &key.principal)));
        let digests: Vec<Vec<u8>> = keys
            .iter()
            .map(|key| key.digest.as_bytes().to_vec())
            .collect();
        columns.push(Box::new(digests));
        columns
    }

    fn decode(row: &Row) -> Result<Self::Row, tokio_postgres::Error> {
        let access = Access::decode(row, 1)?;
        let manifest = ManifestRow::decode_for(&access, row, 1 + Access::COLUMNS)?;
        Ok((access, manifest))
    }
}

/// A manifest by digest, for HEAD: one that may be collected within two hours is not shown.
///
/// A client that hears "it is there" skips the push of it and names it in an index: what is shown stays
/// acceptable for that long. Only where the repository collects what is untagged, and only without tag,
/// parent (by digest: the guard may be missing) and subject.
#[derive(Debug, Clone, Copy)]
pub struct ResolveDigestHead;

impl PointRead for ResolveDigestHead {
    type Key = DigestKey;
    type Row = (Access, Option<ManifestRow>);

    const STATEMENT: Statement = point_statement!(
        "manifests.resolve_digest_head",
        [TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, BYTEA_ARRAY],
        resolve_digest!(
            "
                AND NOT coalesce(
                    r.collect_untagged
                    AND (
                        SELECT gc_queue.review_after <= now() + interval '2 hours' FROM gc_queue
                        WHERE gc_queue.kind = 'manifest' AND gc_queue.id = manifest.id
                    )
                    AND (SELECT true FROM tag WHERE tag.manifest_id = manifest.id LIMIT 1) IS NULL
                    AND (
                        SELECT true FROM manifest_child
                        WHERE manifest_child.repository_id = r.id AND manifest_child.child_digest = k.digest
                        LIMIT 1
                    ) IS NULL
                    AND (
                        SELECT true FROM manifest AS subject
                        WHERE subject.repository_id = r.id AND subject.digest = manifest.subject_digest
                    ) IS NULL,
                    false
                )"
        ),
    );

    // All but the statement is as for GET.
    fn party(key: &DigestKey) -> u64 {
        ResolveDigest::party(key)
    }

    fn key_bytes(key: &DigestKey) -> usize {
        ResolveDigest::key_bytes(key)
    }

    fn is_absent(row: Option<&Self::Row>) -> bool {
        ResolveDigest::is_absent(row)
    }

    fn columns(keys: &[&DigestKey]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        ResolveDigest::columns(keys)
    }

    fn decode(row: &Row) -> Result<Self::Row, tokio_postgres::Error> {
        ResolveDigest::decode(row)
    }
}
