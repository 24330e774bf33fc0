//! The whole registry from outside: the real binary, a real Postgres, a real store.

mod app;
mod by_hand;
mod config;
mod kill;
mod lifecycle;
mod listeners;
mod quickstart;
mod read_only;
mod replicas;
mod token;
mod token_attacks;
mod token_keys;
mod untouched;
mod v2_bad_inputs;
mod v2_bad_manifests;
mod v2_delete;
mod v2_errors;
mod v2_http2;
mod v2_mount;
mod v2_pull;
mod v2_push;
mod v2_referrers;
mod v2_slow;
mod v2_tags;
mod v2_uploads;
mod worker;
