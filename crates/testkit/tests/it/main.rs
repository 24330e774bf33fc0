//! The parts do what the tests of other crates rely on.

mod chaos_proxy;
mod pg_cluster;
