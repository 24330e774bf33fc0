//! The statements against a real Postgres: each prepared and explained, the schema's constraints and triggers bypassing
//! our code, and every race of the write protocol stepped by two real sessions.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod access;
mod accounts;
mod audit;
mod blobs;
mod catalog;
mod collector;
mod credentials;
mod jobs;
mod manifests;
mod migrate;
mod objects;
mod permissions;
mod plans;
mod races;
mod read_only;
mod removal;
mod repositories;
mod schema;
mod storm;
mod structure;
mod support;
mod tags;
mod teams;
mod triggers;
mod uploads;
mod users;
mod worlds;
