//! The parts do what the tests of other crates rely on.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod chaos_proxy;
mod dependency_direction;
mod pg_cluster;
