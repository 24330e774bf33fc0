//! A small process that outlives us and takes Postgres down when we are gone, however we went.
//!
//! It holds one end of a pipe. The kernel closes the other end with this process, also after a `kill -9`; the guard
//! then asks Postgres to stop, less politely each time, and is done within 5 seconds. It is a process group of its
//! own, so that a signal to ours (Ctrl-C, `kill -9 -PGID`) does not reach it, and runs as Postgres's account, so that
//! it can signal nothing else. If the guard dies too, the next start finds the left-over server (`postmaster`).

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};

use super::account::Account;
use super::error::Error;

/// It is told one process id and sticks to it: by the time it acts, the folder may have the server of a next start.
/// INT is Postgres's fast shutdown, QUIT its immediate one; 1.3 s for each, before KILL, keep the sum under 4 s.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
read -r process || exit 0
read -r word
[ "$word" = done ] && exit 0
for signal in INT QUIT KILL; do
    kill -s "$signal" "$process" || exit 0
    tries=0
    while [ "$tries" -lt 13 ] && kill -s 0 "$process"; do
        sleep 0.1
        tries=$((tries + 1))
    done
done 2>/dev/null
"#;

/// The running guard. Dropping it is the same as our death: it stops Postgres.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts it; to be done before Postgres is started, so that there is hardly a moment without one.
    pub(super) fn start(account: Account) -> Result<Self, Error> {
        let shell = Path::new("/bin/sh");
        let mut child = account
            .command(shell)
            .args(["-c", SCRIPT, "portolan-guard"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("run", shell))?;
        let pipe = child.stdin.take().expect("it was asked to be piped");
        Ok(Self { child, pipe })
    }

    /// Tells it whom to take down.
    pub(super) async fn watch(&mut self, postmaster: u32) -> Result<(), Error> {
        let line = format!("{postmaster}\n");
        let written = self.pipe.write_all(line.as_bytes()).await;
        written.map_err(Error::io("write to", "the guard of Postgres"))
    }

    /// Sends it home: Postgres has ended already.
    pub(super) async fn release(mut self) {
        // A guard that is gone needs no word.
        let _ = self.pipe.write_all(b"done\n").await;
        let _ = self.child.wait().await;
    }
}
