//! The pool and the router against a real Postgres, and against one that misbehaves.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod ages;
mod bounds;
mod errors;
mod measures;
mod outages;
mod reads;
mod support;
mod tls;
mod transactions;
