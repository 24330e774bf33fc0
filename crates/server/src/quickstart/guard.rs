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
use super::cluster::Cluster;
use super::error::Error;

/// `$1` is the cluster's folder. The first line of `postmaster.pid` is the server's process id for as long as it runs.
/// A server that was being started as we died has not written it yet, and gets a second for that.
/// INT is Postgres's fast shutdown, QUIT its immediate one; 1.3 s for each, before KILL, keep the sum under 4 s.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
read -r word
[ "$word" = done ] && exit 0
tries=0
while [ ! -s "$1/postmaster.pid" ] && [ "$tries" -lt 10 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
for signal in INT QUIT KILL; do
    read -r process < "$1/postmaster.pid" || exit 0
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
    /// Starts it; to be done before Postgres is started, so that there is no moment without one.
    pub(super) fn start(cluster: &Cluster, account: Account) -> Result<Self, Error> {
        let shell = Path::new("/bin/sh");
        let mut child = account
            .command(shell)
            .args(["-c", SCRIPT, "portolan-guard"])
            .arg(cluster.inherited_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("run", shell))?;
        let pipe = child.stdin.take().expect("it was asked to be piped");
        Ok(Self { child, pipe })
    }

    /// Sends it home: Postgres has ended already.
    pub(super) async fn release(mut self) {
        // A guard that is gone needs no word.
        let _ = self.pipe.write_all(b"done\n").await;
        let _ = self.child.wait().await;
    }
}
