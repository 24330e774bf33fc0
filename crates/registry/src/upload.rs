//! Uploads: how bytes become a blob, on any process and in any number of requests.
//!
//! The row comes first: before a byte goes to the store, a row names the key it goes to, so that
//! whatever a dying process leaves behind is found and removed. A request claims the row for a
//! while, hashes and stores what arrives, and writes down how far it came; the next request may
//! run on another process. Completing copies nothing. What is acknowledged is in the store and in
//! Postgres; what is not, the offset does not count.
//!
//! The work runs in tasks of its own: a client that goes away ends its request, not the writing
//! down of what it sent.

mod append;
mod body;
mod claim;
mod cleanup;
mod commit;
mod finish;
mod metrics;
mod notes;
mod session;
mod settings;

pub use body::{Pace, UploadBody};
pub use cleanup::Deletion;
pub use settings::{ClaimSettings, UploadSettings, Uploads};

use crate::transaction::{Acknowledge, Attempts};
use crate::{Caller, Credentials, Error, Registry, authorize};
use body::BodyReader;
use metrics::Outcome;
use portolan_auth::Action;
use portolan_metadata::uploads::{NewUpload, UploadScope};
use portolan_metadata::{repositories, uploads};
use portolan_oci::{Algorithm, ContentRange, Digest, RepositoryName, UploadId};
use portolan_pg::Tx;
use rand::Rng as _;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// How far an upload came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadStatus {
    /// Which upload.
    pub id: UploadId,
    /// Bytes stored; the next one has this offset.
    pub received: u64,
}

/// A blob that is stored and present in its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobCommitted {
    /// Its digest, verified.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// A request that writes to an upload: who, and to which.
#[derive(Debug, Clone)]
struct Request {
    caller: Caller,
    scope: UploadScope,
}

impl Registry {
    /// Begins an upload; touches no store.
    ///
    /// `algorithm` is what the client will name the blob by, if it says; sha256 else.
    pub async fn start_upload(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadStatus, Error> {
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        let request = self.create_upload(caller, name, algorithm).await?;
        Ok(UploadStatus {
            id: request.scope.id,
            received: 0,
        })
    }

    async fn create_upload(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Request, Error> {
        let id = UploadId::from_random(self.random_bytes());
        let request = Request::new(caller, name, id)?;
        let (store, _) = self.stores().current();
        let time_to_live = self.uploads().settings().time_to_live;
        let new = NewUpload {
            scope: request.scope.clone(),
            algorithm,
            store,
            time_to_live,
        };
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = create(&tx, caller, name, &new).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            if let Some(()) = concluded? {
                return Ok(request);
            }
        }
    }

    /// How far an upload came.
    pub async fn upload_status(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        id: UploadId,
    ) -> Result<UploadStatus, Error> {
        let request = Request::new(caller, name, id)?;
        // The right is decided first, so that a stranger learns nothing of uploads.
        self.authorize_push(caller, name).await?;
        // In a transaction of the primary's: progress passes no barrier, so a replica may not show it yet. It changes
        // nothing, and so is answered in read-only mode too.
        let tx = self.router().begin().await?;
        let received = uploads::find(&tx, &request.scope).await?;
        let received = received.ok_or(Error::UploadUnknown)?;
        Ok(UploadStatus { id, received })
    }

    /// Adds bytes to an upload.
    ///
    /// With `range` they must continue it exactly. When the body ends early, whole parts are kept,
    /// the rest is dropped, and the offset says so.
    ///
    /// Cancel safety: dropped, the body is read no further, what was kept is written down, and the
    /// upload can be continued.
    pub async fn append_upload(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        id: UploadId,
        range: Option<ContentRange>,
        body: UploadBody,
    ) -> Result<UploadStatus, Error> {
        let body = body.of_range(range)?;
        let request = Request::new(caller, name, id)?;
        let registry = self.clone();
        let start = range.map(|range| range.start);
        let work = |body| async move { registry.append(&request, start, body).await };
        self.in_task(body, Outcome::Appended, work).await
    }

    /// Adds the last bytes, if any, and makes the upload the blob `digest`.
    ///
    /// After a wrong digest the upload is as it was before.
    ///
    /// Cancel safety: dropped while the body arrives, the upload is as it was before; later, the
    /// blob may be committed without anybody being told.
    pub async fn finish_upload(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        id: UploadId,
        digest: Digest,
        range: Option<ContentRange>,
        body: UploadBody,
    ) -> Result<BlobCommitted, Error> {
        let body = body.of_range(range)?;
        let request = Request::new(caller, name, id)?;
        let registry = self.clone();
        let start = range.map(|range| range.start);
        let work = |body| async move { registry.finish(&request, start, body, digest).await };
        self.in_task(body, Outcome::Committed, work).await
    }

    /// Stores a whole blob that came with one request.
    pub async fn push_blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: Digest,
        body: UploadBody,
    ) -> Result<BlobCommitted, Error> {
        let request = self.create_upload(caller, name, digest.algorithm()).await?;
        let registry = self.clone();
        let work = |body| async move {
            let outcome = registry.finish(&request, None, body, digest).await;
            if outcome.is_err() {
                // Nobody was told its id. Without the database the sweeper will find it.
                let _ = registry.remove_upload(&request).await;
            }
            outcome
        };
        self.in_task(body, Outcome::Committed, work).await
    }

    /// Gives up an upload, whoever is writing to it.
    pub async fn cancel_upload(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        id: UploadId,
    ) -> Result<(), Error> {
        self.remove_upload(&Request::new(caller, name, id)?).await
    }

    async fn remove_upload(&self, request: &Request) -> Result<(), Error> {
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = cancel(&tx, request).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            if let Some(()) = concluded? {
                return Ok(());
            }
        }
    }

    /// Waits until every upload's task has written down what it has. To be called after the last
    /// request has ended; new tasks are still taken.
    pub async fn drain_uploads(&self) {
        self.uploads().drain().await;
    }

    /// Runs `work` in a task, so that it ends properly whatever becomes of the request; when the
    /// request is dropped, the task finds its body ended.
    async fn in_task<T, W, F>(
        &self,
        body: UploadBody,
        success: Outcome,
        work: W,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(BodyReader) -> F,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let gone = CancellationToken::new();
        let body = body.reader(self.uploads().settings().pace, gone.clone());
        let metrics = self.uploads().metrics().clone();
        let work = work(body);
        let task = self.uploads().spawn(async move {
            let _running = metrics.begin();
            let outcome = work.await;
            metrics.ended(outcome.as_ref().err(), success);
            outcome
        });
        let _request = gone.drop_guard();
        match task.await.map_err(JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Nobody aborts these tasks but a runtime that ends.
            Err(Err(_aborted)) => Err(Error::BodyInterrupted),
        }
    }

    fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    fn random_bytes(&self) -> [u8; 16] {
        self.random(|random| {
            let mut bytes = [0; 16];
            random.fill_bytes(&mut bytes);
            bytes
        })
    }
}

impl Request {
    /// Anonymous callers never have an upload; whether this one may write is decided in the database.
    fn new(caller: &Caller, name: &RepositoryName, id: UploadId) -> Result<Self, Error> {
        let account = caller
            .principal
            .account()
            .ok_or_else(|| match caller.credentials {
                // There are tokens for anonymous pulls; their bearer is told to ask for more.
                Credentials::Token(_) => Error::InsufficientScope,
                Credentials::None | Credentials::Password => Error::Unauthenticated,
            })?;
        let scope = UploadScope {
            id,
            path: name.clone(),
            account,
        };
        Ok(Self {
            caller: caller.clone(),
            scope,
        })
    }
}

/// The right to push, decided inside a transaction. The repository need not exist yet: the first commit makes it.
async fn authorize_in(tx: &Tx, caller: &Caller, name: &RepositoryName) -> Result<(), Error> {
    let access = repositories::lock(tx, name, &caller.principal).await?;
    authorize(&access, caller, name, Action::Push)
}

async fn create(
    tx: &Tx,
    caller: &Caller,
    name: &RepositoryName,
    new: &NewUpload,
) -> Result<(), Error> {
    authorize_in(tx, caller, name).await?;
    Ok(uploads::create(tx, new).await?)
}

async fn cancel(tx: &Tx, request: &Request) -> Result<(), Error> {
    // The upload before the repository: the order of locks.
    let found = uploads::cancel(tx, &request.scope).await?;
    authorize_in(tx, &request.caller, &request.scope.path).await?;
    if found {
        Ok(())
    } else {
        Err(Error::UploadUnknown)
    }
}
