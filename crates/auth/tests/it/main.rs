//! What comes from outside, with everything that may be wrong with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

// How often: `PORTOLAN_FUZZ_SECONDS`, as for the grammars.
#[path = "../../../oci/tests/it/fuzz.rs"]
mod fuzz;

mod scopes;
mod tokens;
