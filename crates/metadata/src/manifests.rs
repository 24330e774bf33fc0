//! Manifests of a repository: found by digest, pushed, removed.

mod insert;
mod related;
mod removal;
mod resolve;

pub use insert::{NewManifest, insert, insert_blob_references, insert_missing_blobs};
pub use related::{
    Child, adopt_orphaned_children, insert_children, lock_related, removed_by_collection,
};
pub(crate) use removal::STATEMENTS as REMOVAL_STATEMENTS;
pub use removal::{delete, remove};
pub use resolve::{DigestKey, ManifestRow, ResolveDigest, ResolveDigestHead};
pub(crate) use resolve::{manifest_columns, manifest_row_columns};

use portolan_pg::{PointRead as _, Statement};

pub(crate) static STATEMENTS: &[&Statement] = &[
    &ResolveDigest::STATEMENT,
    &ResolveDigestHead::STATEMENT,
    &insert::INSERT,
    &insert::LOCK_ONE,
    &insert::INSERT_REFERENCES,
    &insert::INSERT_MISSING,
    &related::LOCK_RELATED,
    &related::INSERT_CHILDREN,
    &related::ADOPT,
    &related::REMOVED_BY_COLLECTION,
];
