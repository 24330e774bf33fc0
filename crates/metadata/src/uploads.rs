//! Uploads: rows that are written before the bytes are, so that any process can go on with one and nothing that a
//! dead process leaves is without a name.
//!
//! Whoever works on an upload holds its claim: a version, raised by every claim, and a lease. Everything the holder
//! writes is conditional on the version; who has lost it hears so and leaves the row alone. Whatever a client asks
//! for is found by id, repository *and* account: an id alone opens nothing.

mod claim;
mod end;
mod progress;

pub use claim::{Claim, Multipart, Tail, Upload, claim};
pub use end::{cancel, sweep, take_for_commit};
pub use progress::{Progress, StoredPart, begin_multipart, parts, progress, renew};

use crate::columns::{count, seconds};
use crate::statements::statement;
use crate::{AccountId, Error, StoreId};
use portolan_oci::{Algorithm, RepositoryName, UploadId};
use portolan_pg::{Read, Statement, Tx};
use std::time::Duration;

/// Which upload, of whom, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadScope {
    /// Its id.
    pub id: UploadId,
    /// The repository it was begun in.
    pub path: RepositoryName,
    /// The account that began it.
    pub account: AccountId,
}

/// What the holder of a claim shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The upload.
    pub id: UploadId,
    /// The version its claim made.
    pub version: i64,
}

/// An upload to begin. Nothing of it is in a store yet.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Id, repository and account.
    pub scope: UploadScope,
    /// What its bytes are hashed with.
    pub algorithm: Algorithm,
    /// Which store takes them; an owned one.
    pub store: StoreId,
    /// How long it lives without a claim.
    pub time_to_live: Duration,
}

static CREATE: Statement = statement!(
    "uploads.create",
    [UUID, TEXT, INT8, TEXT, INT8, FLOAT8],
    "INSERT INTO upload (id, repository_path, account_id, algorithm, store_id, expires_at)
     VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))",
);

/// Begins an upload.
pub async fn create(tx: &Tx, new: &NewUpload) -> Result<(), Error> {
    let UploadScope { id, path, account } = &new.scope;
    let algorithm = new.algorithm.as_str();
    let life = seconds(new.time_to_live);
    tx.execute_one(
        &CREATE,
        &[
            &id.as_uuid(),
            &path.as_str(),
            account,
            &algorithm,
            &new.store,
            &life,
        ],
    )
    .await?;
    Ok(())
}

static FIND: Statement = statement!(
    "uploads.find",
    [UUID, TEXT, INT8],
    "SELECT upload.received FROM upload
     WHERE upload.id = $1 AND upload.repository_path = $2 AND upload.account_id = $3
         AND upload.expires_at > now()",
);

/// How many bytes of an upload are kept; `None`: there is none such.
pub async fn find(db: &impl Read, scope: &UploadScope) -> Result<Option<u64>, Error> {
    let UploadScope { id, path, account } = scope;
    let row = db
        .query_opt(&FIND, &[&id.as_uuid(), &path.as_str(), account])
        .await?;
    row.map(|row| count(&row, 0))
        .transpose()
        .map_err(Error::decoding("upload"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &CREATE,
    &FIND,
    &claim::CLAIM,
    &claim::PART_COUNT,
    &progress::RENEW,
    &progress::BEGIN_MULTIPART,
    &progress::PROGRESS,
    &progress::INSERT_PARTS,
    &progress::PARTS,
    &end::TAKE,
    &end::CANCEL,
    &end::SWEEP,
];
