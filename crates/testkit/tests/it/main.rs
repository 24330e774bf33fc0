//! The parts do what the tests of other crates rely on.

mod chaos_proxy;
mod dependency_direction;
mod pg_cluster;
