//! Both stores against one suite, and what each promises beyond it.

#![expect(clippy::unwrap_used, reason = "a test that fails names the line")]

mod adopted;
mod directory;
mod s3;
mod s3_wire;
mod suite;
