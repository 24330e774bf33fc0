//! Who asks, and what the credential he showed allows.
//!
//! The principal says *who*; what he may do in a repository is decided by the statement that
//! resolves it ([`crate::authorize`]). A token can only narrow that, never widen it.

use portolan_auth::{Action, Grant};
use portolan_metadata::Principal;
use portolan_oci::RepositoryName;
use std::sync::Arc;

/// The authenticated origin of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is; rights are looked up for this.
    pub principal: Principal,
    /// What was shown, and so how a refusal must be worded.
    pub credentials: Credentials,
}

/// What a request carried in `Authorization`.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing: public repositories only.
    None,
    /// A name and a password: all that the account may.
    Password,
    /// A token of ours: at most what it grants.
    Token(Arc<[Grant]>),
}

impl Caller {
    /// A request without credentials.
    pub fn anonymous() -> Self {
        Self {
            principal: Principal::Anonymous,
            credentials: Credentials::None,
        }
    }

    /// A password's owner.
    pub fn with_password(principal: Principal) -> Self {
        Self {
            principal,
            credentials: Credentials::Password,
        }
    }

    /// The bearer of a verified token.
    pub fn with_token(principal: Principal, grants: Arc<[Grant]>) -> Self {
        Self {
            principal,
            credentials: Credentials::Token(grants),
        }
    }

    /// Whether the credential reaches as far as `action` on `name`; the account's rights are another matter.
    pub fn in_scope(&self, name: &RepositoryName, action: Action) -> bool {
        match &self.credentials {
            Credentials::None | Credentials::Password => true,
            Credentials::Token(grants) => grants.iter().any(|grant| grant.allows(name, action)),
        }
    }

    /// Whether the credential reaches the catalog.
    pub fn catalog_in_scope(&self) -> bool {
        match &self.credentials {
            Credentials::None | Credentials::Password => true,
            Credentials::Token(grants) => grants.iter().any(Grant::allows_catalog),
        }
    }
}
