//! Cross-repository mounts: a link instead of an upload.
//!
//! Whatever stands in the way (no right on the source, no such source, no such blob) is the same
//! answer, [`MountOutcome::Declined`], after the same statements, so that a mount tells nothing
//! about repositories the caller may not read.
//!
//! A mount that names no source looks only where the credential reaches. A password reaches what its
//! account may read. A token reaches the repositories it names, and a search through all that its
//! account may read would widen it: whoever holds a token for one repository, and knows a digest of
//! another, could link those bytes into his and pull them. So for a token the search is that of
//! somebody anonymous. What everybody may read is no secret of anyone's, and base images, for which
//! such mounts exist, are mostly public. A client that wants more names the source, and asks for a
//! token that reaches it.

use crate::pull::Purpose;
use crate::transaction::{Acknowledge, Attempts, lock_for_push};
use crate::{Caller, Credentials, Error, Registry};
use portolan_auth::Action;
use portolan_metadata::{BlobId, Principal, Role, blobs};
use portolan_oci::{Digest, RepositoryName};
use portolan_pg::Tx;
use std::time::Duration;

/// How long a link keeps a blob that no manifest names yet; the same as after an upload.
pub(crate) const LINK_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

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
        let source = match from {
            Some(from) => self.readable_in(caller, from, digest).await?,
            None => {
                let reader = self.router().read_list().await?;
                let probe = self.0.limits.mount_probe;
                blobs::find_readable(&reader, &digest, &searcher(caller), probe).await?
            }
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
        let (access, found) = self
            .resolve_blob(caller, from, digest, Purpose::Head)
            .await?;
        let readable = access.role >= Role::Read && caller.in_scope(from, Action::Pull);
        Ok(found.filter(|_| readable).map(|row| row.id))
    }
}

/// Whose eyes look for a source that was not named: see the module's documentation.
fn searcher(caller: &Caller) -> Principal {
    match caller.credentials {
        Credentials::None | Credentials::Password => caller.principal,
        Credentials::Token(_) => Principal::Anonymous,
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
