//! Who somebody is and what a token says: passwords, tokens, scopes, sealed keys. No HTTP, no SQL.
//!
//! A token says *who* and how far the credential reaches; what the account may do is decided in the
//! statement that resolves the repository, so nothing here knows a right. What this crate needs from
//! elsewhere is passed in: the time through [`Clock`], randomness through `rand::CryptoRng`, stored
//! keys through [`KeySource`], other servers' answers through [`oidc::Fetch`].

mod clock;
mod digest_key;
mod error;
mod federation;
mod grant;
mod key_id;
mod keyring;
mod method;
pub mod oidc;
mod password;
mod password_hash;
mod scope;
mod seal;
mod secret;
mod sign;
mod signing_key;
mod token;
mod verify;

pub use clock::{Clock, ManualClock, SystemClock};
pub use digest_key::DigestKey;
pub use error::{Error, IdTokenFault, TokenFault};
pub use federation::{FederationRule, Pattern, PatternError, RuleMiss};
pub use grant::{Action, Actions, Grant};
pub use key_id::KeyId;
pub use keyring::{
    KeySource, Keyring, KeysFuture, KeysUnavailable, PUBLISHED_FOR, StoredKey, verifies_for,
};
pub use method::Method;
pub use password::{PasswordLimits, Passwords};
pub use password_hash::PasswordHash;
pub use scope::{GRANTS_MAX, Scope, parse_scopes};
pub use seal::{Purpose, SealKey, SealedWith};
pub use secret::{Secret, SecretKind, hash_secret};
pub use sign::{SignedToken, TokenSigner};
pub use signing_key::{PublicKey, SigningKey};
pub use token::{LIFETIME, Subject, Token, TokenHolder, TokenRequest};
pub use verify::TokenVerifier;
