//! What of the asked-for scopes a token may carry.
//!
//! Decided by [`portolan_registry::entitle`], as every request is: a token never promises what the next
//! request will refuse. It stays an upper bound; rights are looked up again when it is used. While the primary is lost a
//! token is for pulls alone, since nothing else would be served.

use super::{Auth, Error};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use portolan_auth::{Action, Actions, Grant, Scope};
use portolan_metadata::Principal;
use portolan_metadata::access::{Access, AccessKey, ResolveAccess};
use portolan_oci::RepositoryName;
use portolan_registry::{Caller, Error as Refusal, Freshness, entitle};

/// How many scopes of one request are resolved side by side: enough that the usual handful takes one or two
/// round trips, and one client cannot fill the queue that everybody's reads wait in.
const AT_ONCE: usize = 4;

impl Auth {
    /// The part of `asked` that `principal` may have, in the same order, and how current that is.
    pub(super) async fn granted(
        &self,
        principal: Principal,
        asked: Vec<Scope>,
    ) -> Result<(Vec<Grant>, Freshness), Error> {
        let grants = asked.into_iter().map(|scope| self.grant(principal, scope));
        let granted: Vec<(Option<Grant>, Freshness)> =
            stream::iter(grants).buffered(AT_ONCE).try_collect().await?;
        let (granted, freshness): (Vec<_>, Vec<_>) = granted.into_iter().unzip();
        let oldest = freshness.into_iter().max().unwrap_or(Freshness::Current);
        Ok((granted.into_iter().flatten().collect(), oldest))
    }

    async fn grant(
        &self,
        principal: Principal,
        scope: Scope,
    ) -> Result<(Option<Grant>, Freshness), Error> {
        let Grant::Repository { name, actions } = scope else {
            // Everybody may ask for the catalog; it lists what he may read.
            return Ok((Some(scope), Freshness::Current));
        };
        let key = AccessKey {
            path: name.clone(),
            principal,
        };
        let served = self.0.router.read_fresh::<ResolveAccess>(key).await?;
        let access = served
            .value
            .expect("a resolving statement answers one row for every key");
        let freshness = Freshness::from(served.by);
        freshness
            .admit(&access, self.0.max_stale)
            .map_err(Error::Registry)?;
        let mut actions = actions.intersection(allowed(&access, principal, &name)?);
        if freshness != Freshness::Current {
            actions = actions.intersection(Action::Pull.into());
        }
        let grant = (!actions.is_empty()).then_some(Grant::Repository { name, actions });
        Ok((grant, freshness))
    }
}

/// Every action that would not be refused here. A missing repository that the principal may create counts as
/// his: `docker push` asks for pull and push before the first one.
fn allowed(access: &Access, principal: Principal, name: &RepositoryName) -> Result<Actions, Error> {
    let caller = Caller {
        principal,
        ..Caller::anonymous()
    };
    let mut allowed = Actions::NONE;
    for action in Action::ALL {
        match entitle(access, &caller, name, action) {
            Ok(()) | Err(Refusal::NameUnknown) => allowed = allowed.union(action.into()),
            // The account ended between its password and now.
            Err(Refusal::CredentialsVoid) => return Err(Error::CredentialsWrong),
            Err(_) => {}
        }
    }
    Ok(allowed)
}
