//! Real parts for tests: Postgres with replicas, an S3 server, a directory, a chaos proxy, images. A development dependency only.
//!
//! Nothing here pretends: a part that is not installed is a panic that says how to install it, never a test that
//! passes. Whatever is started ends with the test process, also when that is killed.

pub mod chaos_proxy;
pub mod children;
pub mod client;
pub mod folder;
pub mod image;
pub mod pg_cluster;
pub mod s3_server;
pub mod slapd;
mod user;
