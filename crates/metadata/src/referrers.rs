//! What refers to a manifest: signatures, attestations and whatever else names it as its subject.

use crate::columns::{FromJson, count, digest, limit, parsed, parsed_opt};
use crate::statements::statement;
use crate::{Error, RepositoryId};
use portolan_oci::{Digest, MediaType};
use portolan_pg::{Read, Statement};
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// A referrer's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerRow {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Bytes of its payload.
    pub size: u64,
    /// What kind of thing it is: as declared, else its config's media type.
    pub artifact_type: Option<MediaType>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl ReferrerRow {
    /// About how many bytes its descriptor takes in an index: the texts, and what JSON puts around them.
    pub fn encoded_size(&self) -> usize {
        // `{"mediaType":"","digest":"sha512:<128>","size":<20>,"artifactType":"","annotations":{}},` and a margin.
        const FRAME: usize = 256;
        // Two pairs of quotes, a colon and a comma.
        const PAIR: usize = 6;
        let texts = self.media_type.as_str().len()
            + self
                .artifact_type
                .as_ref()
                .map_or(0, |text| text.as_str().len());
        let annotations: usize = self
            .annotations
            .iter()
            .map(|(key, value)| key.len() + value.len() + PAIR)
            .sum();
        FRAME + texts + annotations
    }
}

static LIST: Statement = statement!(
    "referrers.list",
    [INT8, BYTEA, TEXT, BYTEA, INT8],
    "SELECT manifest.digest, media_type.name, manifest.payload_size, manifest.artifact_type, manifest.annotations::text
     FROM manifest
     JOIN media_type ON media_type.id = manifest.media_type_id
     WHERE manifest.repository_id = $1 AND manifest.subject_digest = $2 AND manifest.digest > $4
         AND ($3 IS NULL OR manifest.artifact_type = $3)
     ORDER BY manifest.digest
     LIMIT $5",
);

/// At most `rows` manifests of the repository whose subject is `subject`, in the order of digests, after `after`.
pub async fn list(
    db: &impl Read,
    repository: RepositoryId,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
    after: Option<&Digest>,
    rows: usize,
) -> Result<Vec<ReferrerRow>, Error> {
    let artifact_type = artifact_type.map(MediaType::as_str);
    let after = after.map_or(&[][..], Digest::as_bytes);
    let found = db
        .query(
            &LIST,
            &[
                &repository,
                &subject.as_bytes(),
                &artifact_type,
                &after,
                &limit(rows),
            ],
        )
        .await?;
    found
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("manifest"))
}

fn decode(row: &Row) -> Result<ReferrerRow, tokio_postgres::Error> {
    Ok(ReferrerRow {
        digest: digest(row, 0)?,
        media_type: parsed(row, 1)?,
        size: count(row, 2)?,
        artifact_type: parsed_opt(row, 3)?,
        annotations: row
            .try_get::<_, Option<FromJson<BTreeMap<String, String>>>>(4)?
            .map(|json| json.0)
            .unwrap_or_default(),
    })
}

pub(crate) static STATEMENTS: &[&Statement] = &[&LIST];
