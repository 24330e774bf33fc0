//! What can go wrong with credentials, keys and tokens.

use crate::keyring::KeysUnavailable;
use crate::oidc::HttpsUrl;
use std::time::Duration;

/// A refusal or a failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is not one of ours, or no longer good.
    #[error("token refused: {0}")]
    Token(#[from] TokenFault),
    /// More passwords are being checked than the bound allows; worth another try.
    #[error("too many passwords are being checked")]
    Overloaded,
    /// The stored keys could not be read; worth another try.
    #[error("signing keys are unavailable")]
    KeysUnavailable(#[from] KeysUnavailable),
    /// No stored key may sign now.
    #[error("there is no active signing key")]
    NoActiveKey,
    /// A stored secret was sealed with another key than the configured one.
    #[error("the secret was sealed with another key than the configured `SECRETS__KEY`")]
    SealedWithOtherKey,
    /// A sealed secret was cut, altered, or moved from another place.
    #[error("the sealed secret is damaged or belongs elsewhere")]
    SealBroken,
    /// The configured sealing key does not decode to 32 bytes.
    #[error("a sealing key must be 32 bytes in base64")]
    SealKeyInvalid,
    /// What was unsealed is no P-256 private key.
    #[error("the stored signing key is not a P-256 private key")]
    SigningKeyInvalid,
    /// A key's name breaks its grammar.
    #[error("a key id must be 16 lower-case hexadecimal digits")]
    KeyIdInvalid,
    /// A stored password hash cannot be read.
    #[error(
        "the stored password hash is neither an argon2id string nor one of bcrypt with a cost of at most 14"
    )]
    PasswordHashInvalid,
    /// A token's holder has a name longer than any account's.
    #[error("a subject must be at most 255 bytes without control characters")]
    SubjectInvalid,
    /// An ID token is not one of its issuer's, or no longer good, or not for us.
    #[error("ID token refused: {0}")]
    IdToken(#[from] IdTokenFault),
    /// An issuer of ID tokens does not answer; worth another try.
    #[error("issuer `{0}` does not answer")]
    IssuerUnreachable(HttpsUrl),
    /// An issuer answers with what makes no sense, or what must not be trusted.
    #[error("issuer `{issuer}`: {what}")]
    IssuerBroken {
        /// Which.
        issuer: HttpsUrl,
        /// What is wrong.
        what: &'static str,
    },
    /// The directory cannot say whether a password is right; worth another try.
    #[error("the directory does not answer")]
    DirectoryUnreachable {
        /// No sooner is it asked again.
        retry_after: Duration,
    },
    /// A provider does not give a token for this code.
    #[error("the provider refused the code: {0}")]
    CodeRefused(
        /// Its word for why.
        String,
    ),
    /// The cryptographic provider failed.
    #[error("the cryptographic provider failed")]
    Crypto,
    /// The thread that checked a password ended early (the process is going down).
    #[error("password check was cancelled")]
    Cancelled,
}

/// Why a token is refused. For the log only: a client hears `invalid_token`, whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Longer than any token of ours.
    #[error("too long")]
    TooLong,
    /// Not three parts, or parts that cannot be read.
    #[error("malformed")]
    Malformed,
    /// Another algorithm than the one its key is for.
    #[error("wrong algorithm")]
    WrongAlgorithm,
    /// No key id, or one that breaks the grammar.
    #[error("missing or malformed key id")]
    KeyIdMalformed,
    /// A well-formed key id that names no key of ours.
    #[error("unknown key")]
    UnknownKey,
    /// The signature is not of that key.
    #[error("wrong signature")]
    WrongSignature,
    /// It was good once.
    #[error("expired")]
    Expired,
    /// It will be good later.
    #[error("not yet valid")]
    NotYetValid,
    /// Made for another service.
    #[error("wrong audience")]
    WrongAudience,
    /// Made by somebody else.
    #[error("wrong issuer")]
    WrongIssuer,
}

/// Why an ID token is refused. For the log, and for whoever tries out a rule; a client hears that its credentials are
/// wrong, whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenFault {
    /// Longer than any token that makes sense.
    #[error("it is too long")]
    TooLong,
    /// Not three parts, or parts that cannot be read, or without an algorithm.
    #[error("it is malformed, or unsigned")]
    Malformed,
    /// It says that it is another kind of token.
    #[error("it is not an ID token by its `typ`")]
    WrongType,
    /// A symmetric algorithm, or not the key's.
    #[error("its algorithm is not accepted")]
    WrongAlgorithm,
    /// Its issuer is none that this registry trusts.
    #[error("its issuer is not trusted here")]
    UntrustedIssuer,
    /// It names a key that its issuer does not publish.
    #[error("its issuer publishes no such key")]
    UnknownKey,
    /// The signature is not of that key.
    #[error("its signature is wrong")]
    WrongSignature,
    /// It says that it is another issuer's.
    #[error("it is another issuer's")]
    WrongIssuer,
    /// Made for others.
    #[error("it was made for another audience")]
    WrongAudience,
    /// Asked for by others.
    #[error("it was asked for by another client (`azp`)")]
    WrongParty,
    /// It was good once.
    #[error("it has expired")]
    Expired,
    /// It will be good later.
    #[error("it is not valid yet")]
    NotYetValid,
    /// A claim that must be there is not, or is not what it must be.
    #[error("its claim `{0}` is missing or malformed")]
    ClaimMissing(&'static str),
    /// Made for another attempt to log in.
    #[error("it was made for another login")]
    WrongNonce,
    /// What else is said is said of somebody else.
    #[error("the provider speaks of somebody else")]
    WrongSubject,
}
