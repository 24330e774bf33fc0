//! A server that becomes a standby of another one, whatever it was: what is done with the old primary after a failover.

use super::{
    database::Session,
    server::{PgServer, Stop},
};
use crate::children::run;

impl PgServer {
    /// Stops it, takes back what `primary` does not have, and starts it as its standby. The cluster must be
    /// [`rewindable`](super::PgOptions::rewindable). Blocks the thread.
    ///
    /// A standby that was killed must have been started again before: it cannot be brought to a clean end otherwise.
    pub async fn follow(&self, primary: &PgServer) {
        // The tool reads the timeline from the control file, where only a checkpoint writes it.
        let session = Session::open(&primary.socket_url("postgres")).await;
        let session = session.expect("the new primary answers");
        let written = session.batch_execute("CHECKPOINT").await;
        written.expect("it is a primary");
        self.stop(Stop::Fast);
        run(self
            .program("pg_rewind")
            .arg("--target-pgdata")
            .arg(self.data())
            .arg("--source-server")
            .arg(format!("{} dbname=postgres", primary.conninfo("standby")))
            .args(["--write-recovery-conf", "--no-sync"]));
        self.start_again();
    }
}
