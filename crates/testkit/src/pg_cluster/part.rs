//! The processes of a server, by what they do: one of them can be frozen, or killed.

use std::fs;

use rustix::process::Signal;

use super::{database::Session, server::PgServer};
use crate::children::{eventually, signal_process, wait_for};

/// A process that a standby has one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Takes the log in.
    WalReceiver,
    /// Replays it.
    Startup,
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::WalReceiver => "postgres: walreceiver",
            Self::Startup => "postgres: startup",
        }
    }
}

/// A process that stands still, until this is dropped.
#[derive(Debug)]
#[must_use = "it goes on when this is dropped"]
pub struct Frozen {
    process: u32,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Its server may have been stopped meanwhile, and this one with it.
        let _ = signal_process(self.process, Signal::CONT);
    }
}

impl PgServer {
    /// Stops one of its processes where it is. Waits for the process: a receiver that lost its sender is started anew.
    pub fn freeze(&self, part: Part) -> Frozen {
        let process = wait_for(part.title(), || {
            let process = self.find(part)?;
            signal_process(process, Signal::STOP).ok()?;
            Some(process)
        });
        Frozen { process }
    }

    /// Kills the process of a session of ours with `kill -9`. The server ends all the others, recovers, and says
    /// nothing of it in `pg_postmaster_start_time()`. Returns when it answers again.
    pub async fn crash(&self) {
        let url = self.socket_url("postgres");
        let session = Session::open(&url).await.expect("the server answers");
        let row = session.query_one("SELECT pg_backend_pid()", &[]).await;
        let backend: i32 = row.expect("it says its id").get(0);
        signal_process(backend.cast_unsigned(), Signal::KILL).expect("it is a process of ours");
        eventually("the session has ended", async || session.is_closed()).await;
        eventually("the server answers again", async || {
            Session::open(&url).await.is_ok()
        })
        .await;
    }

    fn find(&self, part: Part) -> Option<u32> {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let mut children = children.split_whitespace().filter_map(|id| id.parse().ok());
        children.find(|child: &u32| {
            fs::read_to_string(format!("/proc/{child}/cmdline"))
                .is_ok_and(|title| title.starts_with(part.title()))
        })
    }
}
