//! Tasks with an owner, and the order in which a process ends.
//!
//! On SIGTERM or SIGINT:
//! 1. `/readyz` answers 503, so that load balancers look elsewhere; jobs are not claimed any more.
//! 2. After `http.drain.delay` the public listener closes.
//! 3. Requests at work finish, at most `http.drain.timeout`; what is left then is cut off. Running jobs are
//!    cancelled: their leases end, and another process takes them up.
//! 4. Connections to Postgres are closed, then the private listener, which has shown all this.
//! 5. Exit 0.
//!
//! A second signal ends the process at once, at whatever step it is.

use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Runs tasks that somebody waits for: cheap to clone, one per process part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Starts `task`; what it logs, and its panic, carry `name`. Dropping the handle lets it run on.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let span = tracing::error_span!("task", name);
        self.tracker.spawn(task.instrument(span))
    }

    /// Cancelled when the tasks are to end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Asks every task to end, and waits for them, at most `within`. Says whether all did.
    pub(crate) async fn finish(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Exit code when a second signal did not let the first one finish: 128 and SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// A token that SIGTERM and SIGINT cancel; the second of them ends the process.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // Lives as long as the process: nobody has to wait for it.
    Tasks::default().spawn("signals", async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let first = next().await;
        tracing::info!(
            signal = first,
            "{first}: finishing what is at work; again ends at once"
        );
        cancelled.cancel();
        let second = next().await;
        tracing::warn!(signal = second, "{second}: ending at once");
        end_now();
    });
    Ok(token)
}

#[expect(
    clippy::exit,
    reason = "the second signal means now, whatever is still at work"
)]
fn end_now() -> ! {
    std::process::exit(INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finishing_waits_for_tasks_that_heed_it() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping().clone();
        tasks.spawn("heeds", async move { stopping.cancelled().await });
        assert!(tasks.finish(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn finishing_gives_up_on_those_that_do_not() {
        let tasks = Tasks::default();
        tasks.spawn("stuck", std::future::pending::<()>());
        assert!(!tasks.finish(Duration::ZERO).await);
    }
}
