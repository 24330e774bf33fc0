//! Runs one property over many random inputs: a few hundred by default (`PROPTEST_CASES` says how
//! many), or for `PORTOLAN_FUZZ_SECONDS` per target to look for what is rare:
//!
//! ```text
//! PORTOLAN_FUZZ_SECONDS=600 cargo test -p portolan-oci --test it --release
//! PORTOLAN_FUZZ_SECONDS=600 cargo test -p portolan-oci --test it manifests::
//! ```
//!
//! A failure prints the smallest input that shows it. It is mended together with a named test of that
//! input; nothing is kept in files beside the source.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

/// Checks that `property` panics on no input of `inputs`.
pub(crate) fn check<S>(inputs: &S, property: impl Fn(S::Value))
where
    S: Strategy,
    S::Value: Debug,
{
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let deadline = seconds().map(|seconds| Instant::now() + seconds);
    loop {
        let outcome = TestRunner::new(config.clone()).run(inputs, |input| {
            property(input);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
        match deadline {
            Some(deadline) if Instant::now() < deadline => {}
            _ => return,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test binary, not of the server"
)]
fn seconds() -> Option<Duration> {
    let text = std::env::var("PORTOLAN_FUZZ_SECONDS").ok()?;
    let seconds = text
        .parse()
        .expect("`PORTOLAN_FUZZ_SECONDS` is a whole number");
    Some(Duration::from_secs(seconds))
}
