//! Bytes by key: an S3 bucket or a directory, behind one trait and one test suite.
//!
//! A store knows keys and bytes and nothing of digests, repositories or who may read what. It
//! promises that what it acknowledged survives a crash, and that nothing half-written is ever
//! seen under a key. It leaves to its callers that a key is random and never written twice.
//! Beside the stores stand the parts an upload is made of: a hash that can be saved and
//! continued elsewhere, the schedule of part sizes, the spool of a large part, and the budget
//! that bounds all of them together.

mod budget;
mod buffer;
mod content;
mod directory;
mod error;
mod hasher;
mod s3;
mod schedule;
mod store;

pub use budget::{ByteBudget, Reservation};
pub use buffer::{PartBuffer, SPOOL_ABOVE};
pub use content::{Content, Spooled};
pub use directory::DirectoryStore;
pub use error::{Cause, Error, S3Failure};
pub use hasher::{HashStateError, Hasher};
// What `presign_get` answers with, so that who passes it on need not know HTTP.
pub use http::Uri;
pub use portolan_oci::{StorageKey, StorageKeyError};
pub use s3::{S3Credentials, S3Encryption, S3Endpoint, S3Settings, S3Store};
pub use schedule::{PartSchedule, ScheduleStep};
pub use store::{
    Adopted, BlobRead, BlobStore, BlobStream, MultipartId, Part, PartNumber, PartTag, Removal,
};
