//! Every order of events of the replica protocol, in small configurations; and every rule of it, broken.
//!
//! The decisions are the product's: the files of `freshness` are compiled into this program as they are. The model has
//! what surrounds them there: servers, a log, a failover, clocks, a process that reads and processes that write.
//! ARCHITECTURE.md, "How floor leases are checked", says what is left out.
//!
//! | module | holds |
//! | --- | --- |
//! | `log`, `state` | what there is |
//! | `actions` | what can happen; `cluster`, `writer`, `reader`: the steps |
//! | `rules` | the decisions, and where a broken rule leaves them |
//! | `mutant`, `config` | which rules, and in how small a world each is checked |
//! | `checks` | the tests |

mod actions;
mod checks;
mod cluster;
mod config;
#[path = "../../src/freshness/mod.rs"]
#[expect(
    dead_code,
    reason = "the model asks for the decisions that freshness rests on, not for lag or the real clock"
)]
mod freshness;
mod log;
mod mutant;
mod reader;
mod rules;
mod state;
mod writer;
