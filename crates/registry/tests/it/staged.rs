//! A store that fails, or stops for good, at a call of the test's choosing.

use async_trait::async_trait;
use http::Uri;
use portolan_blobs::{
    BlobRead, BlobStore, BlobStream, Content, Error, MultipartId, Part, PartTag, Removal,
    StorageKey,
};
use portolan_oci::Digest;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What is to happen at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It stops before the store is asked: the process is killed there.
    StopBefore,
    /// It stops after the store has answered: the process is killed before it hears so.
    StopAfter,
    /// The store is said to be unavailable, without being asked.
    FailBefore,
    /// The store does it, and is then said to be unavailable.
    FailAfter,
    /// It waits for the test before the store is asked: a write that is late.
    HoldBefore,
}

/// Which call, and what is to happen there.
#[derive(Debug)]
pub(crate) struct Script {
    event: Option<(u32, Event)>,
    calls: AtomicU32,
    names: Mutex<Vec<&'static str>>,
    reached: Semaphore,
    released: Semaphore,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            event: None,
            calls: AtomicU32::new(0),
            names: Mutex::new(Vec::new()),
            reached: Semaphore::new(0),
            released: Semaphore::new(0),
        }
    }
}

impl Script {
    /// `event` at call number `call`, from 1.
    pub(crate) fn at(call: u32, event: Event) -> Self {
        Self {
            event: Some((call, event)),
            ..Self::default()
        }
    }

    /// Waits until the call was reached.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    /// Lets go on what is held.
    pub(crate) fn release(&self) {
        self.released.add_permits(1);
    }

    /// Whether the call was reached by now.
    pub(crate) fn was_reached(&self) -> bool {
        self.event
            .is_some_and(|(call, _)| self.calls.load(Ordering::SeqCst) >= call)
    }

    /// Every call so far.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap().clone()
    }

    fn count(&self, name: &'static str) -> Option<Event> {
        self.names.lock().unwrap().push(name);
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.event
            .filter(|(call, _)| *call == number)
            .map(|(_, event)| event)
    }

    async fn stop(&self) -> ! {
        self.reached.add_permits(1);
        std::future::pending().await
    }
}

/// The store with its script.
#[derive(Debug)]
pub(crate) struct Staged {
    store: Arc<dyn BlobStore>,
    script: Arc<Script>,
}

impl Staged {
    pub(crate) fn new(store: Arc<dyn BlobStore>, script: Arc<Script>) -> Self {
        Self { store, script }
    }

    async fn play<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        match self.script.count(name) {
            None => call.await,
            Some(Event::StopBefore) => self.script.stop().await,
            Some(Event::HoldBefore) => {
                self.script.reached.add_permits(1);
                self.script.released.acquire().await.unwrap().forget();
                call.await
            }
            Some(Event::FailBefore) => {
                self.script.reached.add_permits(1);
                Err(unavailable())
            }
            Some(Event::StopAfter) => {
                drop(call.await);
                self.script.stop().await
            }
            Some(Event::FailAfter) => {
                drop(call.await);
                self.script.reached.add_permits(1);
                Err(unavailable())
            }
        }
    }
}

fn unavailable() -> Error {
    Error::Unavailable(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}

#[async_trait]
impl BlobRead for Staged {
    async fn get(
        &self,
        key: &StorageKey,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<BlobStream, Error> {
        self.play("get", self.store.get(key, range)).await
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>, Error> {
        self.play("size", self.store.size(key)).await
    }

    async fn presign_get(&self, key: &StorageKey) -> Result<Option<Uri>, Error> {
        self.store.presign_get(key).await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }
}

#[async_trait]
impl BlobStore for Staged {
    async fn put(
        &self,
        key: &StorageKey,
        content: Content,
        expected: Option<&Digest>,
    ) -> Result<(), Error> {
        self.play("put", self.store.put(key, content, expected))
            .await
    }

    async fn begin_multipart(&self, key: &StorageKey) -> Result<MultipartId, Error> {
        self.play("begin", self.store.begin_multipart(key)).await
    }

    async fn put_part(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        number: u32,
        offset: u64,
        content: Content,
    ) -> Result<PartTag, Error> {
        self.play(
            "put_part",
            self.store.put_part(key, id, number, offset, content),
        )
        .await
    }

    async fn complete_multipart(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        self.play("complete", self.store.complete_multipart(key, id, parts))
            .await
    }

    async fn abort_multipart(
        &self,
        key: &StorageKey,
        id: Option<&MultipartId>,
    ) -> Result<(), Error> {
        self.play("abort", self.store.abort_multipart(key, id))
            .await
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<Vec<Removal>, Error> {
        self.play("delete", self.store.delete(keys)).await
    }
}
