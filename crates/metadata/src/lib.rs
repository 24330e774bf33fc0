//! Every table and every statement: one file per entity.
//!
//! Three kinds of things are offered. A *point read* is a type whose key is handed to the router, which
//! batches it; its answer carries the right of the principal that asked ([`Access`]). A *list* takes
//! anything that can [`Read`](portolan_pg::Read). A *write* takes a [`Tx`](portolan_pg::Tx), and begins
//! after [`repositories::lock`] or [`read_only::refuse_writes`]; the functions of one transaction are called in the order of locks:
//!
//! upload, repository, manifests by digest, blobs by digest, children of parents, tags by name, links, the
//! review queue ([`gc`]), objects to delete ([`object_delete`]).
//!
//! Within a table rows are locked in the order of that key, so that two writers wait for each other in
//! one direction only. An error that [`Error::is_retryable`] means: the whole transaction again.
//!
//! What it leaves to others: when a transaction begins and ends, how often it is tried, and everything a
//! client is told.

mod columns;
mod error;
mod ids;
mod refused;
mod statements;
mod words;

pub mod access;
pub mod accounts;
pub mod audit;
pub mod blobs;
pub mod browser_sessions;
pub mod catalog;
pub mod credentials;
pub mod default_permissions;
pub mod explain;
pub mod external_identities;
pub mod federation;
pub mod gc;
pub mod jobs;
pub mod lockouts;
pub mod manifest_contents;
pub mod manifests;
pub mod migrate;
pub mod namespaces;
pub mod object_delete;
pub mod passwords;
pub mod permissions;
pub mod read_only;
pub mod recovery;
pub mod referrers;
pub mod repositories;
pub mod rights;
pub mod robots;
pub mod sessions;
pub mod signing_keys;
pub mod stores;
pub mod tags;
pub mod teams;
pub mod uploads;

pub use access::{Access, Principal, PrincipalState, Role, Writable};
pub use error::Error;
pub use ids::{
    AccountId, BlobId, CredentialId, ManifestId, NamespaceId, RepositoryId, StoreId, TeamId,
};
pub use portolan_oci::StorageKey;
pub use refused::{Noun, Refused};
pub use repositories::Visibility;
pub use statements::statements;
pub use words::UnknownWord;
