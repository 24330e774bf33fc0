//! Blobs: where their bytes are, which repositories have them, and how they come and go.
//!
//! A blob is present in a repository when one of its manifests references it or a live link keeps it. Nobody is told
//! more: that a blob is known elsewhere is no answer to somebody who may not read there.

mod presence;
mod write;

pub use presence::{
    BlobKey, BlobRow, PresentBlob, ResolveBlob, find_readable, lock_by_id, lock_present,
};
pub use write::{Committed, INLINE_MAX, NewBlob, Unlinked, commit, link, unlink};

use portolan_pg::{PointRead as _, Statement};

pub(crate) static STATEMENTS: &[&Statement] = &[
    &ResolveBlob::STATEMENT,
    &presence::LOCK_PRESENT,
    &presence::LOCK_BY_ID,
    &presence::FIND_READABLE,
    &write::INSERT,
    &write::LOCK,
    &write::LINK,
    &write::FIND_LINKED,
    &write::UNLINK,
];
