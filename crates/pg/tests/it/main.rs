//! The pool and the router against a real Postgres, and against one that misbehaves.

mod ages;
mod bounds;
mod errors;
mod outages;
mod reads;
mod support;
mod tls;
mod transactions;
