//! What the registry does, over a real Postgres and real stores.

#![expect(clippy::unwrap_used, reason = "a test that fails names the line")]

mod delete;
mod explain;
mod mount;
mod pulls;
mod push;
mod push_related;
mod races;
mod races_identity;
mod races_upload;
mod read_only;
mod replicas;
mod rights;
mod staged;
mod storm;
mod storm_check;
mod support;
mod support_images;
mod upload;
mod upload_claims;
mod upload_digest;
mod upload_ends;
mod upload_failures;
mod upload_killed;
mod upload_random;
