//! The claim on an upload: one writer at a time, and a dead one is replaced after a while.

use super::session::Session;
use super::{Request, authorize_in};
use crate::transaction::{Acknowledge, Attempts};
use crate::{Error, Registry};
use portolan_metadata::uploads::{self, Claim, Held, StoredPart, Upload};
use portolan_metadata::{StorageKey, read_only};
use portolan_pg::Tx;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long to wait before a held upload is tried again: the other request is about to end, or it is not.
const RETRY: Duration = Duration::from_millis(250);

/// What an upload is claimed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To add to it.
    Append,
    /// To end it, which needs the list of its parts.
    Finish,
}

/// One attempt.
enum Attempt {
    Held(Box<Upload>, Vec<StoredPart>),
    Busy { received: u64 },
}

impl Registry {
    /// Claims an upload, waiting a little for another request to let go of it.
    ///
    /// With `start`, the upload must have exactly so many bytes; refused, nothing has changed.
    pub(super) async fn claim_upload(
        &self,
        request: &Request,
        purpose: Purpose,
        start: Option<u64>,
    ) -> Result<Session, Error> {
        let id = request.scope.id;
        let deadline = Instant::now() + self.uploads().settings().claims.wait;
        loop {
            let pending = StorageKey::fresh(self.random_bytes());
            match self.try_claim(request, purpose, start, &pending).await? {
                Attempt::Held(upload, parts) => {
                    return Session::new(self, id, *upload, parts, pending);
                }
                Attempt::Busy { received } if Instant::now() >= deadline => {
                    return Err(Error::UploadBusy { id, received });
                }
                Attempt::Busy { .. } => sleep(RETRY).await,
            }
        }
    }

    async fn try_claim(
        &self,
        request: &Request,
        purpose: Purpose,
        start: Option<u64>,
        pending: &StorageKey,
    ) -> Result<Attempt, Error> {
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = self.claim_in(&tx, request, purpose, start, pending).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            if let Some(attempt) = concluded? {
                return Ok(attempt);
            }
        }
    }

    async fn claim_in(
        &self,
        tx: &Tx,
        request: &Request,
        purpose: Purpose,
        start: Option<u64>,
        pending: &StorageKey,
    ) -> Result<Attempt, Error> {
        let settings = self.uploads().settings();
        let (lease, life) = (settings.claims.lease, settings.time_to_live);
        let claim = uploads::claim(tx, &request.scope, pending, lease, life).await?;
        // The right is decided first, so that a stranger learns nothing of uploads.
        authorize_in(tx, &request.caller, &request.scope.path).await?;
        let id = request.scope.id;
        let upload = match claim {
            Claim::Unknown => return Err(Error::UploadUnknown),
            Claim::Busy { received } => return Ok(Attempt::Busy { received }),
            Claim::Held(upload) => upload,
        };
        let received = upload.received;
        if start.is_some_and(|start| start != received) {
            // The failure undoes the claim with its transaction.
            return Err(Error::RangeOutOfOrder { id, received });
        }
        let parts = if purpose == Purpose::Finish && upload.part_count > 0 {
            uploads::parts(
                tx,
                &Held {
                    id,
                    version: upload.version,
                },
            )
            .await?
        } else {
            Vec::new()
        };
        Ok(Attempt::Held(upload, parts))
    }

    /// Does `work` while giving signs of life. Ends it when the claim is lost.
    pub(super) async fn while_held<T>(
        &self,
        request: &Request,
        held: Held,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            outcome = work => outcome,
            lost = self.keep(request, held) => Err(lost),
        }
    }

    /// Renews a claim until it is lost.
    async fn keep(&self, request: &Request, held: Held) -> Error {
        let claims = self.uploads().settings().claims;
        loop {
            sleep(claims.renew).await;
            match self.renew(held, claims.lease).await {
                Ok(true) => {}
                Ok(false) => return self.lost(request).await,
                // Nothing of what still comes could be written down.
                Err(refusal @ Error::ReadOnly { .. }) => return refusal,
                Err(cause) => {
                    let id = request.scope.id;
                    tracing::warn!(%id, error = %cause, "claim of upload {id} could not be renewed");
                }
            }
        }
    }

    async fn renew(&self, held: Held, lease: Duration) -> Result<bool, Error> {
        let tx = self.router().begin().await?;
        read_only::refuse_writes(&tx).await?;
        let kept = uploads::renew(&tx, &held, lease).await?;
        // No reader is promised anything by this: no barrier.
        let _committed = tx.commit().await?;
        Ok(kept)
    }

    /// Why a claim is lost: the upload is gone, or another request has it.
    pub(super) async fn lost(&self, request: &Request) -> Error {
        let find = async {
            let tx = self.router().begin().await?;
            Ok::<_, Error>(uploads::find(&tx, &request.scope).await?)
        };
        match find.await {
            Ok(Some(received)) => Error::UploadBusy {
                id: request.scope.id,
                received,
            },
            Ok(None) => Error::UploadUnknown,
            Err(cause) => cause,
        }
    }
}
