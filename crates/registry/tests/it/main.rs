//! What the registry does, over a real Postgres and real stores.

#![expect(clippy::unwrap_used, reason = "a test that fails names the line")]

mod staged;
mod support;
mod upload;
mod upload_claims;
mod upload_failures;
mod upload_kill;
mod upload_random;
