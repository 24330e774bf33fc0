//! The one decision: may this caller do this here?
//!
//! Its input is the [`Access`] that came out of the resolving statement, so the answer is as
//! fresh as the data it guards. The outcomes keep private and missing repositories
//! indistinguishable for everybody who may not read or create them:
//!
//! | caller | read | write |
//! |---|---|---|
//! | may read, or could create the missing repository | allowed, or 404 | allowed, or see below |
//! | anonymous, or a token that is too narrow | 401 with the scope to ask for | the same |
//! | an account without read | 401 `insufficient_scope` | 403 `DENIED` |
//! | an account that may read but not write | - | 401 `insufficient_scope` with a token, 403 with a password |
//! | an account that may write to what is read-only or a mirror | allowed | 403 `DENIED`, and which of these it is |

use crate::{Caller, Credentials, Error};
use portolan_auth::Action;
use portolan_metadata::{Access, PrincipalState, Role, Writable};
use portolan_oci::RepositoryName;

/// The refusal text of every write that an account may not make, whether or not the repository exists.
const NO_WRITE: &str = "this account may not write to this repository, nor create it";

/// Allows `action` on `name`, or says why not.
///
/// A missing repository passes for [`Action::Push`] where the caller may create it.
pub fn authorize(
    access: &Access,
    caller: &Caller,
    name: &RepositoryName,
    action: Action,
) -> Result<(), Error> {
    entitle(access, caller, name, action)?;
    taken(access, action)
}

/// As [`authorize`], but for whether the repository takes writes at all: what a token may say. One who has the right shall
/// hear why it is of no use now, and not that another token is needed.
///
/// # Errors
/// As [`authorize`].
pub fn entitle(
    access: &Access,
    caller: &Caller,
    name: &RepositoryName,
    action: Action,
) -> Result<(), Error> {
    if access.principal == PrincipalState::Ended {
        return Err(Error::CredentialsVoid);
    }
    if !caller.in_scope(name, action) {
        return Err(Error::InsufficientScope);
    }
    if access.repository.is_some() && access.role >= needed(action) {
        return Ok(());
    }
    if access.repository.is_none() && access.may_create {
        return match action {
            Action::Push => Ok(()),
            Action::Pull | Action::Delete => Err(Error::NameUnknown),
        };
    }
    Err(refusal(access, caller, action))
}

/// Whether a right that is there can be used: what is told only to those who have it.
fn taken(access: &Access, action: Action) -> Result<(), Error> {
    let reason = match (action, access.writable) {
        (Action::Pull, _) | (_, Writable::Yes) => return Ok(()),
        (_, Writable::RepositoryReadOnly) => "this repository is read-only",
        (_, Writable::NamespaceReadOnly) => "this namespace is read-only",
        (_, Writable::Mirror) => "this repository is a mirror: only its mirror writes to it",
    };
    Err(Error::Denied { reason })
}

fn needed(action: Action) -> Role {
    match action {
        Action::Pull => Role::Read,
        Action::Push | Action::Delete => Role::Write,
    }
}

fn refusal(access: &Access, caller: &Caller, action: Action) -> Error {
    if access.principal == PrincipalState::Anonymous {
        return match caller.credentials {
            Credentials::Token(_) => Error::InsufficientScope,
            Credentials::None | Credentials::Password => Error::Unauthenticated,
        };
    }
    let readable = access.repository.is_some() && access.role >= Role::Read;
    match (action, &caller.credentials) {
        (Action::Pull, _) => Error::InsufficientScope,
        (Action::Push | Action::Delete, Credentials::Token(_)) if readable => {
            Error::InsufficientScope
        }
        (Action::Push | Action::Delete, _) => Error::Denied { reason: NO_WRITE },
    }
}
