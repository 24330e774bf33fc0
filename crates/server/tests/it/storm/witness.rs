//! What the server itself says: its log, and its list of sessions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portolan_testkit::pg_cluster::Session;
use tokio::task::JoinSet;

/// How often sessions are counted.
const EVERY: Duration = Duration::from_millis(50);

/// Counts the registry's sessions until it is dropped, whenever the server answers.
pub(crate) struct Witness {
    most: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Witness {
    pub(crate) fn start(url: String) -> Self {
        let most = Arc::<AtomicUsize>::default();
        let mut task = JoinSet::new();
        task.spawn(watch(url, Arc::clone(&most)));
        Self { most, _task: task }
    }

    /// The most there were at once.
    pub(crate) fn most_sessions(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }
}

async fn watch(url: String, most: Arc<AtomicUsize>) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'portolan/%'";
    loop {
        if let Ok(session) = Session::open(&url).await {
            while let Ok(row) = session.query_one(sql, &[]).await {
                let now = usize::try_from(row.get::<_, i64>(0)).expect("a count");
                most.fetch_max(now, Ordering::AcqRel);
                tokio::time::sleep(EVERY).await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The most connections over TCP that a server's log shows in any ten seconds. Ours come over TCP; those of the test
/// that looks on, over the socket.
pub(crate) fn most_connections_in_ten_seconds(log: &str) -> usize {
    let arrivals = log
        .lines()
        .filter(|line| line.contains("connection received: host=127.0.0.1"));
    let mut recent = VecDeque::new();
    let mut most = 0;
    for line in arrivals {
        let at = time_of(line).unwrap_or_else(|| panic!("no time in `{line}`"));
        while recent.front().is_some_and(|first| first + 10_000 <= at) {
            recent.pop_front();
        }
        recent.push_back(at);
        most = most.max(recent.len());
    }
    most
}

/// Milliseconds since some midnight; `2026-01-31 23:59:59.999 UTC [1] LOG: …` begins a line.
fn time_of(line: &str) -> Option<u64> {
    let mut words = line.split(' ');
    let (date, time) = (words.next()?, words.next()?);
    let day: u64 = date.rsplit_once('-')?.1.parse().ok()?;
    let (clock, milliseconds) = time.split_once('.')?;
    let seconds = clock.split(':').try_fold(0, |sum: u64, part| {
        Some(sum * 60 + part.parse::<u64>().ok()?)
    })?;
    Some((day * 86_400 + seconds) * 1_000 + milliseconds.parse::<u64>().ok()?)
}

#[test]
fn connections_are_counted_in_every_ten_seconds_of_a_log() {
    let line = |time: &str, what: &str| format!("2026-01-31 {time} UTC [7] LOG:  {what}\n");
    let ours = "connection received: host=127.0.0.1 port=1";
    let log = [
        line("10:00:00.000", ours),
        line("10:00:09.999", ours),
        line("10:00:09.999", "connection received: host=[local]"),
        line("10:00:10.000", ours),
        line(
            "10:00:10.001",
            "connection authorized: user=x host=127.0.0.1",
        ),
    ]
    .concat();
    assert_eq!(most_connections_in_ten_seconds(&log), 2);
}
