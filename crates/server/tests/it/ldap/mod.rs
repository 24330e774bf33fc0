//! Logins by a directory, against a real one.

mod logins;
mod outage;
mod stage;
mod tls;
