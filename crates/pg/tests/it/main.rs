//! The pool and the router against a real Postgres, and against one that misbehaves.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod ages;
mod bounds;
mod cancel;
mod errors;
mod lanes;
mod measures;
mod old_server;
mod outages;
mod pooler;
mod reads;
mod replicas;
mod storm;
mod support;
mod surveys;
mod tls;
mod transactions;
