//! Writing down where an upload stands.

use super::Request;
use super::session::{Noted, Session};
use crate::transaction::{Acknowledge, Attempts};
use crate::{Error, Registry};
use portolan_metadata::object_delete::{self, Doomed, DoomedMultipart, Reason};
use portolan_metadata::uploads::{self, Held, Progress};
use portolan_metadata::{StorageKey, StoreId, read_only};
use portolan_pg::Tx;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a client has sent is worth more waiting than what a client asks: while the database is
/// busy or failing over, ten times half a second, well within the lease.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// What becomes of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The request goes on.
    Hold,
    /// It has ended.
    Release,
}

/// How often something that must not fail for a passing reason may still be tried.
#[derive(Debug)]
pub(super) struct Insistence(u32);

impl Insistence {
    pub(super) fn new() -> Self {
        Self(PATIENCE)
    }

    /// Waits before another try; `false`: it is no use.
    pub(super) async fn again(&mut self, failure: &Error) -> bool {
        let passing = matches!(
            failure,
            Error::Overloaded { .. } | Error::Unavailable { .. }
        );
        if !passing || self.0 == 0 {
            return false;
        }
        self.0 -= 1;
        sleep(PAUSE).await;
        true
    }
}

impl Registry {
    /// Notes the key of a multipart upload that is about to begin, and gives up an `abandoned` one.
    pub(super) async fn note_multipart(
        &self,
        request: &Request,
        session: &Session,
        key: &StorageKey,
        abandoned: Option<StorageKey>,
    ) -> Result<(), Error> {
        let doomed: Vec<Doomed> = abandoned
            .map(|key| doomed(session.store_id, key, DoomedMultipart::Begun))
            .into_iter()
            .collect();
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = begin_multipart(&tx, &session.held, key, &doomed).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            match concluded? {
                Some(true) => return Ok(()),
                Some(false) => return Err(self.lost(request).await),
                None => {}
            }
        }
    }

    /// Writes down all that is stored.
    pub(super) async fn note(
        &self,
        request: &Request,
        session: &mut Session,
        then: Then,
    ) -> Result<(), Error> {
        let superseded = session
            .noted
            .tail
            .as_ref()
            .filter(|_| session.tail != session.noted.tail);
        let superseded = superseded.map(|tail| tail.key.clone());
        let progress = Progress {
            received: session.stored(),
            hash_state: session.stored_state.clone(),
            tail: session.tail.clone(),
            parts: session.new_parts.clone(),
            discard: superseded
                .into_iter()
                .chain(session.spoiled.clone())
                .collect(),
            ..self.unchanged(session, then)
        };
        self.write_down(request, session.held, &progress).await?;
        session.noted = Noted {
            received: progress.received,
            hash_state: progress.hash_state,
            tail: progress.tail,
        };
        session.new_parts.clear();
        session.spoiled = None;
        session.noted_at = Instant::now();
        Ok(())
    }

    /// Lets go of the claim with everything as it was before the request.
    pub(super) async fn note_nothing(
        &self,
        request: &Request,
        session: &Session,
    ) -> Result<(), Error> {
        let progress = self.unchanged(session, Then::Release);
        self.write_down(request, session.held, &progress).await
    }

    /// What the row says, but for what the store has been asked to begin or may still be writing.
    fn unchanged(&self, session: &Session, then: Then) -> Progress {
        let Noted {
            received,
            hash_state,
            tail,
        } = session.noted.clone();
        let lease = self.uploads().settings().claims.lease;
        Progress {
            received,
            hash_state,
            tail,
            multipart_id: session
                .multipart
                .as_ref()
                .map(|(_, id)| id.as_str().to_owned()),
            pending_key: session.pending.clone().filter(|_| then == Then::Hold),
            parts: Vec::new(),
            discard: session.spoiled.clone().into_iter().collect(),
            lease: Some(lease).filter(|_| then == Then::Hold),
            time_to_live: self.uploads().settings().time_to_live,
        }
    }

    async fn write_down(
        &self,
        request: &Request,
        held: Held,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut insistence = Insistence::new();
        loop {
            match self.try_write_down(held, progress).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(self.lost(request).await),
                Err(cause) => {
                    if !insistence.again(&cause).await {
                        return Err(cause);
                    }
                }
            }
        }
    }

    async fn try_write_down(&self, held: Held, progress: &Progress) -> Result<bool, Error> {
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = write_progress(&tx, &held, progress).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            if let Some(kept) = concluded? {
                return Ok(kept);
            }
        }
    }
}

async fn write_progress(tx: &Tx, held: &Held, progress: &Progress) -> Result<bool, Error> {
    read_only::refuse_writes(tx).await?;
    Ok(uploads::progress(tx, held, progress).await?)
}

async fn begin_multipart(
    tx: &Tx,
    held: &Held,
    key: &StorageKey,
    abandoned: &[Doomed],
) -> Result<bool, Error> {
    read_only::refuse_writes(tx).await?;
    if !uploads::begin_multipart(tx, held, key).await? {
        return Ok(false);
    }
    object_delete::enqueue(tx, Reason::Upload, abandoned).await?;
    Ok(true)
}

/// An object that nothing needs; its size was never told.
pub(super) fn doomed(store: StoreId, key: StorageKey, multipart: DoomedMultipart) -> Doomed {
    Doomed {
        store,
        key,
        digest: None,
        size: None,
        multipart,
    }
}
