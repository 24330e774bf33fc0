//! Writers that move tags and readers that pull them, at processes that chance picks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::{Blob, ManifestFile};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::{RwLock, RwLockWriteGuard, watch};
use tokio::task::JoinSet;

use super::History;
use super::checker::{Event, Tag, check, excerpt};
use super::stage::MAX_STALE;
use crate::app::push_blob;
use crate::replicas::is_stale;

/// Where they work.
pub(crate) const REPOSITORY: &str = "cluster/history";

/// Tags, each with a writer.
pub(crate) const TAGS: usize = 4;

/// Between two requests of one of them, so that two cores are not full of clients.
const PAUSE: Duration = Duration::from_millis(10);

/// Who does what at which processes.
pub(crate) struct Roles {
    /// Where writers go.
    pub(crate) writers: Vec<Client>,
    /// Where readers go.
    pub(crate) readers: Vec<Client>,
    /// Readers of each tag.
    pub(crate) readers_each: usize,
    /// What their choices are drawn from.
    pub(crate) seed: u64,
}

/// All of them at work, until [`Crowd::end`].
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

struct Shared {
    history: History,
    writers: Mutex<Vec<Client>>,
    readers: Mutex<Vec<Client>>,
    /// Held by every request; whoever holds it alone knows that none is under way.
    at_work: RwLock<()>,
    base: Base,
    reads: AtomicU64,
    counts: Counts,
    /// Answers that are neither what was asked for nor a polite refusal.
    trouble: Mutex<Vec<String>>,
}

/// How requests ended.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) pushed: AtomicU64,
    pub(crate) pulled: AtomicU64,
    /// Of those, how many were said to be stale.
    pub(crate) stale: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// What every manifest is made of.
struct Base {
    config: Blob,
    layer: Blob,
}

impl Base {
    fn new() -> Self {
        Self {
            config: Blob::new(r#"{"os":"linux","architecture":"amd64"}"#),
            layer: Blob::random(1, 64),
        }
    }

    fn manifest(&self, tag: Tag, version: u64) -> ManifestFile {
        ManifestFile::of(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [self.layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
            "annotations": { "test.tag": tag.to_string(), "test.version": version.to_string() },
        }))
    }
}

impl Crowd {
    /// Pushes the first version of each tag, and lets everybody begin.
    pub(crate) async fn start(roles: Roles) -> Self {
        let shared = Arc::new(Shared {
            history: History::begin(),
            at_work: RwLock::new(()),
            writers: Mutex::new(roles.writers.clone()),
            readers: Mutex::new(roles.readers),
            base: Base::new(),
            reads: AtomicU64::new(0),
            counts: Counts::default(),
            trouble: Mutex::default(),
        });
        for blob in [&shared.base.config, &shared.base.layer] {
            push_blob(&roles.writers[0], REPOSITORY, blob).await;
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for tag in 0..TAGS {
            let first = shared.push(&roles.writers[0], tag, 1).await;
            assert!(first, "the first push of each tag succeeds");
            let seed = |of: usize| roles.seed.wrapping_mul(1_000).wrapping_add(of as u64);
            let rng = StdRng::seed_from_u64(seed(tag));
            tasks.spawn(Arc::clone(&shared).write(tag, rng, stopped.clone()));
            for reader in 0..roles.readers_each {
                let rng = StdRng::seed_from_u64(seed(100 + tag * 10 + reader));
                tasks.spawn(Arc::clone(&shared).read(tag, rng, stopped.clone()));
            }
        }
        Self {
            shared,
            stop,
            tasks,
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Something that the crowd cannot know has happened.
    pub(crate) fn note(&self, event: Event) {
        self.shared.history.note(event);
    }

    /// Waits until no request is under way; none begins until the answer is dropped.
    pub(crate) async fn rest(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.at_work.write().await
    }

    /// From now on `client` leads to this process. Nothing is under way at the old one when this returns.
    pub(crate) async fn turn_to(&self, process: usize, client: &Client) {
        let _rest = self.rest().await;
        for clients in [&self.shared.writers, &self.shared.readers] {
            let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
            clients[process] = client.clone();
        }
    }

    /// Lets everybody finish what they are at. Fails where a read was stale, or where somebody got an answer that nobody
    /// should get, with what `log` has to say of it.
    pub(crate) async fn end(self, log: impl FnOnce() -> String) {
        self.stop.send_replace(true);
        self.tasks.join_all().await;
        let history = self.shared.history.end();
        let violations = check(&history, MAX_STALE);
        assert!(
            violations.is_empty(),
            "{} violations, the first: {}",
            violations.len(),
            excerpt(&history, &violations[0])
        );
        let trouble = self.shared.trouble.lock();
        let trouble = std::mem::take(&mut *trouble.unwrap_or_else(PoisonError::into_inner));
        assert!(
            trouble.is_empty(),
            "{} answers that nobody should get: {trouble:#?}\n{}",
            trouble.len(),
            log()
        );
    }
}

impl Shared {
    async fn write(self: Arc<Self>, tag: Tag, mut rng: StdRng, stopped: watch::Receiver<bool>) {
        let mut version = 1;
        while !*stopped.borrow() {
            version += 1;
            let at_work = self.at_work.read().await;
            let (_, process) = any_of(&self.writers, &mut rng);
            // One that failed may have happened: the next has another number.
            self.push(&process, tag, version).await;
            drop(at_work);
            tokio::time::sleep(PAUSE * 3).await;
        }
    }

    async fn push(&self, process: &Client, tag: Tag, version: u64) -> bool {
        let manifest = self.base.manifest(tag, version);
        let target = format!("/v2/{REPOSITORY}/manifests/tag{tag}");
        let asking = process
            .request(http::Method::PUT, &target)
            .header("content-type", &manifest.media_type)
            .body(manifest.payload);
        self.history.note(Event::PushBegan { tag, version });
        let Some(answer) = self.ask(asking.try_send().await, 201) else {
            return false;
        };
        self.history.note(Event::PushAcknowledged { tag, version });
        self.counts.pushed.fetch_add(1, Ordering::Relaxed);
        drop(answer);
        true
    }

    async fn read(self: Arc<Self>, tag: Tag, mut rng: StdRng, stopped: watch::Receiver<bool>) {
        let target = format!("/v2/{REPOSITORY}/manifests/tag{tag}");
        while !*stopped.borrow() {
            let at_work = self.at_work.read().await;
            let (process, client) = any_of(&self.readers, &mut rng);
            let read = self.reads.fetch_add(1, Ordering::Relaxed);
            let asking = client.request(http::Method::GET, &target);
            self.history.note(Event::PullBegan { tag, read });
            if let Some(answer) = self.ask(asking.try_send().await, 200) {
                let version = version_of(&answer);
                self.history.note(if is_stale(&answer) {
                    self.counts.stale.fetch_add(1, Ordering::Relaxed);
                    Event::PullAnsweredStale {
                        read,
                        version,
                        process,
                        age: age_of(&answer),
                    }
                } else {
                    Event::PullAnswered {
                        read,
                        version,
                        process,
                    }
                });
                self.counts.pulled.fetch_add(1, Ordering::Relaxed);
            }
            drop(at_work);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The answer, if it is the one that was hoped for.
    fn ask(
        &self,
        answer: Result<Answer, Box<dyn std::error::Error + Send + Sync>>,
        hoped: u16,
    ) -> Option<Answer> {
        let words = match answer {
            Ok(answer) if answer.status == hoped => return Some(answer),
            Ok(answer) if matches!(answer.status.as_u16(), 429 | 503) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                if answer.has("retry-after") {
                    return None;
                }
                format!("{answer:?}")
            }
            Ok(answer) => format!("{answer:?}"),
            Err(error) => format!("{error:?}"),
        };
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.push(words);
        None
    }
}

fn version_of(manifest: &Answer) -> u64 {
    let version = &manifest.json()["annotations"]["test.version"];
    let version = version.as_str().and_then(|number| number.parse().ok());
    version.unwrap_or_else(|| panic!("no version in {manifest:?}"))
}

/// One of them, and which.
fn any_of(clients: &Mutex<Vec<Client>>, rng: &mut StdRng) -> (usize, Client) {
    let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
    let process = rng.random_range(0..clients.len());
    (process, clients[process].clone())
}

/// How old an answer says that it may be.
fn age_of(stale: &Answer) -> Duration {
    let warnings = stale.lines("warning");
    let seconds = warnings.iter().find_map(|warning| {
        let (_, rest) = warning.split_once("of the last ")?;
        rest.split_once(' ')?.0.parse().ok()
    });
    let seconds = seconds.unwrap_or_else(|| panic!("no age in {stale:?}"));
    Duration::from_secs(seconds)
}
