//! What every request passes on its way in and out; one layer a file, composed in [`crate::router`].

pub(crate) mod admission;
pub(crate) mod auth;
mod body_end;
pub(crate) mod challenge;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod request_id;

pub(crate) use challenge::{ChallengeError, Challenger};
pub(crate) use origin::Origin;
pub(crate) use request_id::RequestId;
