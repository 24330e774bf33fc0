//! Whoever has shown who he is.

use portolan_auth::{Method, Subject, TokenHolder};
use portolan_metadata::{AccountId, CredentialId, Principal};
use portolan_registry::Freshness;

/// An account that has proven itself.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(super) id: AccountId,
    pub(super) generation: i64,
    pub(super) name: Subject,
    /// What was shown.
    pub(super) method: Method,
    /// The row of that, where what it opens must end with it, or reaches less far than the account.
    pub(super) credential: Option<CredentialId>,
    pub(super) freshness: Freshness,
}

impl Account {
    /// Its row.
    pub(crate) const fn id(&self) -> AccountId {
        self.id
    }

    /// Its generation when it was found.
    pub(crate) const fn generation(&self) -> i64 {
        self.generation
    }

    /// Its name.
    pub(crate) const fn name(&self) -> &Subject {
        &self.name
    }

    /// What was shown.
    pub(crate) const fn method(&self) -> Method {
        self.method
    }

    /// How current it is that this is the account's password or secret.
    pub(super) const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// As the resolving statements want it.
    pub(crate) fn principal(&self) -> Principal {
        Principal::Account {
            id: self.id,
            generation: self.generation,
            credential: self.credential,
        }
    }

    /// As a token names it, and the audit log.
    pub(crate) fn holder(&self) -> TokenHolder {
        TokenHolder {
            account: self.id.get(),
            generation: self.generation,
            name: self.name.clone(),
            method: self.method,
            credential: self.credential.map(CredentialId::get),
        }
    }
}
