//! What can go wrong with credentials, keys and tokens.

use crate::keyring::KeysUnavailable;

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
