//! Which replica's answer is provably fresh: floor leases, without I/O.
//!
//! The promise: once a write was acknowledged by any process, every read that begins later, on any process, returns
//! it or something newer, however far the replicas lag. ARCHITECTURE.md, "Floor leases", has the protocol and why it
//! holds. Here are its decisions alone: they are given times, positions and answers, and give verdicts, so that one
//! simulation can drive them through every order of events. Sending, waiting and connections are the business of
//! `router` and `lane`.
//!
//! | module | decides |
//! | --- | --- |
//! | `clock` | what time is |
//! | `floor` | what a poll of the primary proves, and for how long |
//! | `proof` | whether an answer of a replica meets a floor |
//! | `barrier` | when a write may be acknowledged |
//! | `membership` | which replicas writers wait for |
//! | `lag` | how late a replica is |

pub(crate) mod barrier;
pub(crate) mod clock;
pub(crate) mod floor;
pub(crate) mod lag;
pub(crate) mod membership;
pub(crate) mod proof;
