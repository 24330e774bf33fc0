//! Cross-repository mounts: a link instead of an upload.
//!
//! Whatever stands in the way (no right on the source, no such source, no such blob) is the same
//! answer, [`MountOutcome::Declined`], after the same statements, so that a mount tells nothing
//! about repositories the caller may not read.
//!
//! The source is read with the *account's* rights, whatever the token was asked for: clients that
//! mount hold a token for the target alone, and a mount that names no source could not be asked
//! for in a scope at all. So a token that may push somewhere can bring there any blob that its
//! account may read and whose digest its bearer knows, and nothing else.

use crate::pull::Purpose;
use crate::transaction::{Acknowledge, Attempts, lock_for_push};
use crate::{Caller, Error, Registry};
use portolan_metadata::{BlobId, Role, blobs};
use portolan_oci::{Digest, RepositoryName};
use portolan_pg::Tx;
use std::time::Duration;

/// How long a link keeps a blob that no manifest names yet; the same as after an upload.
pub(crate) const LINK_LIFE: Duration = Duration::from_hours(24);

/// What became of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountOutcome {
    /// The blob is now in the target repository.
    Mounted,
    /// Not possible; the client uploads instead.
    Declined,
}

impl Registry {
    /// Links `digest` into `to`, from the repository `from` or from any that the caller may read.
    pub async fn mount(
        &self,
        caller: &Caller,
        to: &RepositoryName,
        digest: Digest,
        from: Option<&RepositoryName>,
    ) -> Result<MountOutcome, Error> {
        self.authorize_push(caller, to).await?;
        let source = if let Some(from) = from {
            self.readable_in(caller, from, digest).await?
        } else {
            // What was pushed just now is to be found, and a blob passes no barrier.
            let reader = self.router().read_list_of_new();
            let probe = self.0.limits.mount_probe;
            blobs::find_readable(&reader, &digest, &caller.principal, probe).await?
        };
        let Some(blob) = source else {
            return Ok(MountOutcome::Declined);
        };
        let mut attempts = Attempts::new();
        loop {
            let tx = self.router().begin().await?;
            let outcome = link(&tx, caller, to, blob).await;
            let concluded = self
                .conclude(tx, outcome, Acknowledge::AtCommit, &mut attempts)
                .await;
            if let Some(done) = concluded? {
                return Ok(done);
            }
        }
    }

    async fn readable_in(
        &self,
        caller: &Caller,
        from: &RepositoryName,
        digest: Digest,
    ) -> Result<Option<BlobId>, Error> {
        let ((access, found), freshness) = self
            .resolve_blob(caller, from, digest, Purpose::Head)
            .await?;
        freshness.current()?;
        Ok(found
            .filter(|_| access.role >= Role::Read)
            .map(|row| row.id))
    }
}

async fn link(
    tx: &Tx,
    caller: &Caller,
    to: &RepositoryName,
    blob: BlobId,
) -> Result<MountOutcome, Error> {
    let repository = lock_for_push(tx, caller, to).await?;
    // Collected between the read and here: the client uploads it again.
    if !blobs::lock_by_id(tx, blob).await? {
        return Ok(MountOutcome::Declined);
    }
    blobs::link(tx, repository, blob, LINK_LIFE).await?;
    Ok(MountOutcome::Mounted)
}
