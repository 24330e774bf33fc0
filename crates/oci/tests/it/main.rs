//! Everything that comes from outside, with everything that may be wrong with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod conformance;
mod digests;
mod fuzz;
mod headers;
mod hostile;
mod manifests;
mod names;
mod oci_spec_agrees;
mod ranges;
mod real_clients;
mod refusals;
