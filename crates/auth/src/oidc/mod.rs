//! ID tokens that others make: of people at a provider of single sign-on, and of machines at a CI system.
//!
//! An [`Issuer`] knows its own endpoints and keys and verifies its tokens; the code flow is here too. Which issuers are
//! asked at all is the operator's to say, so nothing here ever follows a name from a token. Only asymmetric algorithms
//! count, each by the key it belongs to. How bytes get here is the server's affair ([`Fetch`]), and who somebody is in
//! this registry is `registry`'s.
//!
//! `jsonwebtoken`, which signs and verifies our own tokens, checks the signatures: the larger library for OpenID Connect
//! would bring second implementations of RSA and of the curves beside aws-lc-rs.

mod endpoints;
mod fetch;
mod flow;
mod id_token;
mod issuer;
mod keys;
mod url;

pub use endpoints::Endpoints;
pub use fetch::{Ask, Fetch, FetchFuture, Shown, Told, Unanswered};
pub use flow::{Attempt, Client, Redeemed, error_word};
pub use id_token::{Audience, IdToken, looks_like_id_token, unverified_issuer};
pub use issuer::Issuer;
pub use url::{HttpsUrl, HttpsUrlError};
