//! Which places hold blobs, and whether they are ours.

use crate::statements::statement;
use crate::{Error, StoreId};
use portolan_pg::{Read as _, Statement, Tx};

/// What a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// A bucket.
    S3,
    /// A folder.
    Directory,
}

impl StoreKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Directory => "directory",
        }
    }
}

/// A store of our own as the configuration describes it.
#[derive(Debug, Clone, Copy)]
pub struct NewStore<'a> {
    /// What the row is found by: `default`, where there is one store.
    pub name: &'a str,
    /// What it is.
    pub kind: StoreKind,
    /// Its bucket; empty for a folder, whose path may change when it is moved.
    pub bucket: &'a str,
    /// What every key in the bucket begins with.
    pub prefix: &'a str,
    /// Where the bucket is reached; told for people, the same bucket may be reached by another name.
    pub endpoint: &'a str,
}

static INSERT: Statement = statement!(
    "stores.insert",
    [TEXT, TEXT, TEXT, TEXT, TEXT],
    "INSERT INTO store (name, kind, bucket, prefix, endpoint, ownership) VALUES ($1, $2, $3, $4, $5, 'owned')
     ON CONFLICT (name) DO NOTHING",
);

static FIND: Statement = statement!(
    "stores.find",
    [TEXT],
    "SELECT store.id, store.kind, store.bucket, store.prefix FROM store WHERE store.name = $1",
);

/// Finds the store's row, or makes it at the first start.
///
/// # Errors
/// [`Error::StoreChanged`] where the row is of another bucket, prefix or kind: then the configuration is wrong, or the
/// database is another registry's.
pub async fn ensure(tx: &Tx, new: &NewStore<'_>) -> Result<StoreId, Error> {
    let NewStore {
        name,
        kind,
        bucket,
        prefix,
        endpoint,
    } = *new;
    tx.execute(
        &INSERT,
        &[&name, &kind.as_str(), &bucket, &prefix, &endpoint],
    )
    .await?;
    let row = tx.query_one(&FIND, &[&name]).await?;
    let decode = || {
        let id: StoreId = row.try_get(0)?;
        Ok((id, place(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))
    };
    let (id, recorded) = decode().map_err(Error::decoding("store"))?;
    let configured = place(kind.as_str(), bucket, prefix);
    if recorded == configured {
        return Ok(id);
    }
    Err(Error::StoreChanged {
        name: name.to_owned(),
        recorded,
        configured,
    })
}

/// How a store is told to a person, and compared.
fn place(kind: &str, bucket: &str, prefix: &str) -> String {
    match (kind, prefix) {
        ("directory", _) => "a directory".to_owned(),
        (_, "") => format!("bucket `{bucket}`"),
        (_, prefix) => format!("bucket `{bucket}` with prefix `{prefix}`"),
    }
}

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT, &FIND];
