//! Who asks, and what the credential he showed allows.
//!
//! The principal says *who*; what he may do in a repository is decided by the statement that
//! resolves it ([`crate::authorize`]). A token can only narrow that, never widen it.

use portolan_auth::{Action, Grant, Method, Subject};
use portolan_metadata::Principal;
use portolan_metadata::audit::Actor;
use portolan_oci::RepositoryName;
use std::net::IpAddr;
use std::sync::Arc;

/// The authenticated origin of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is; rights are looked up for this.
    pub principal: Principal,
    /// What was shown, and so how a refusal must be worded.
    pub credentials: Credentials,
    /// How he came, for the audit log.
    pub came: Came,
}

/// How somebody came. Nothing is decided by it. Every request has one, so it is made and cloned without allocating: texts
/// are shared.
#[derive(Debug, Clone, Default)]
pub struct Came {
    /// The account's name at this time.
    pub name: Option<Subject>,
    /// What he showed, or got his token for.
    pub method: Option<Method>,
    /// From where, after trusted proxies.
    pub address: Option<IpAddr>,
    /// The request, as its log lines name it; of those that may change something.
    pub request: Option<Arc<str>>,
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
            came: Came::default(),
        }
    }

    /// A password's owner.
    pub fn with_password(principal: Principal) -> Self {
        Self {
            principal,
            credentials: Credentials::Password,
            came: Came::default(),
        }
    }

    /// The bearer of a verified token.
    pub fn with_token(principal: Principal, grants: Arc<[Grant]>) -> Self {
        Self {
            principal,
            credentials: Credentials::Token(grants),
            came: Came::default(),
        }
    }

    /// And this is how he came.
    #[must_use]
    pub fn who_came(self, came: Came) -> Self {
        Self { came, ..self }
    }

    /// Who makes a change, as the audit log has it.
    pub(crate) fn actor(&self) -> Actor {
        let (account, credential) = match self.principal {
            Principal::Anonymous => (None, None),
            Principal::Account { id, credential, .. } => (Some(id), credential),
        };
        let method = match (self.came.method, &self.credentials) {
            (Some(method), _) => method.as_str(),
            (None, Credentials::None) => "nothing",
            (None, Credentials::Password) => "password",
            (None, Credentials::Token(_)) => "token",
        };
        let name = match (&self.came.name, account) {
            (Some(name), _) => name.to_string(),
            // Only where no request was: tests, and tools.
            (None, Some(account)) => format!("account {account}"),
            (None, None) => "anonymous".to_owned(),
        };
        Actor {
            account,
            credential,
            name,
            method,
            address: self.came.address,
            request: self.came.request.as_deref().map(str::to_owned),
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
