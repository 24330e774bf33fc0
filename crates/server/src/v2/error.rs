//! The one place where a refusal or a failure under `/v2` becomes an answer.
//!
//! The body is the specification's envelope. A 5xx says nothing of its cause: the cause travels to
//! [`super::finish`] beside the response, which logs it once, and puts the challenge on a 401,
//! because only there the request is known.

use super::header;
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header as http_header};
use axum::response::{IntoResponse, Response};
use portolan_auth::Error as AuthError;
use portolan_oci::{Digest, DigestError, ErrorCode, RepositoryName, UploadId};
use portolan_registry::Error as Refusal;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Why a request under `/v2` is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The registry refused or failed.
    #[error(transparent)]
    Registry(#[from] Refusal),
    /// The name and the password do not belong together.
    #[error("wrong name or password")]
    CredentialsInvalid,
    /// The token is forged, expired or not for this registry.
    #[error("the token is not valid")]
    TokenInvalid,
    /// Passwords or signing keys could not be looked at.
    #[error(transparent)]
    Auth(portolan_auth::Error),
    /// The path names no repository that could exist.
    #[error("invalid repository name: {0}")]
    NameInvalid(#[source] portolan_oci::RepositoryNameError),
    /// Neither a tag nor a digest.
    #[error("invalid reference: {0}")]
    ReferenceInvalid(#[source] portolan_oci::ReferenceError),
    /// A digest that cannot be one, or of an algorithm that is not supported.
    #[error("invalid digest: {0}")]
    DigestInvalid(#[source] DigestError),
    /// A tag that cannot be one, in the query.
    #[error("invalid tag: {0}")]
    TagInvalid(#[source] portolan_oci::TagNameError),
    /// A parameter of the query that must be there is not.
    #[error("the query has no `{0}`")]
    ParameterMissing(&'static str),
    /// A parameter of the query that cannot be read.
    #[error("the query's `{0}` is not valid")]
    ParameterInvalid(&'static str),
    /// `n` is no number.
    #[error("`n` must be a number, zero or more")]
    PageInvalid,
    /// More tags than one push may set.
    #[error("at most {limit} tags can be set at once")]
    TooManyTags {
        /// The configured limit.
        limit: usize,
    },
    /// The declared type of a manifest cannot be read.
    #[error("invalid `Content-Type`: {0}")]
    ContentTypeInvalid(#[source] portolan_oci::MediaTypeError),
    /// `Content-Length` cannot be read, or the body has another length.
    #[error("the body has another length than announced")]
    LengthInvalid,
    /// A manifest larger than this registry takes.
    #[error("the manifest exceeds the limit of {limit} bytes")]
    ManifestTooLarge {
        /// The configured limit in bytes.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("the body did not come in time")]
    BodyTimeout,
    /// The connection broke in the middle of the body.
    #[error("the body ended early")]
    BodyInterrupted,
    /// A precondition that this registry does not evaluate, and therefore must not ignore.
    #[error("of a tag, `If-Match` or `If-None-Match: *` can be demanded, and nothing else")]
    ConditionUnsupported,
    /// The content is not what `If-Match` demands.
    #[error("the content does not meet the request's condition")]
    ConditionFailed,
    /// No byte of the content lies in the range asked for.
    #[error("the range lies outside the content, which has {size} bytes")]
    RangeNotSatisfiable {
        /// Bytes of the content.
        size: u64,
    },
    /// A chunk that does not fit what an upload has so far.
    #[error("the chunk does not continue the upload")]
    ChunkRefused(#[source] ChunkRefused),
    /// The path is none of this API's.
    #[error("no such endpoint")]
    NoSuchEndpoint,
    /// The endpoint exists, the method on it does not.
    #[error("the method is not supported here")]
    MethodNotAllowed,
    /// A bug of ours, found before it did harm.
    #[error("a handler panicked")]
    Panicked,
}

/// A chunk out of order, or one beside another: the client finds its way from Location and Range.
#[derive(Debug, thiserror::Error)]
#[error("upload `{id}` of `{}` has {received} bytes", .name.requested())]
pub(crate) struct ChunkRefused {
    name: RepositoryName,
    id: UploadId,
    received: u64,
    busy: bool,
}

/// What [`super::finish`] needs to know of an error that has become a response.
#[derive(Debug, Clone)]
pub(super) struct Failure(pub(super) Arc<Error>);

/// Why the request lacks authentication, as the challenge says it (RFC 6750, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unauthorized {
    /// It had none, or the wrong password: no `error` is given.
    Missing,
    /// `error="invalid_token"`
    InvalidToken,
    /// `error="insufficient_scope"`
    InsufficientScope,
}

/// A client that must try later is told whole seconds, and never zero, which some take for "at once".
fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// Most unknown blobs that one answer lists: enough for any image, and a bound for hostile manifests.
const LISTED_MAX: usize = 100;

impl Error {
    /// Puts the place into an error of an upload, which the client needs to go on.
    pub(super) fn in_upload(error: Refusal, name: &RepositoryName) -> Self {
        let name = name.clone();
        match error {
            Refusal::RangeOutOfOrder { id, received } => Self::ChunkRefused(ChunkRefused {
                name,
                id,
                received,
                busy: false,
            }),
            Refusal::UploadBusy { id, received } => Self::ChunkRefused(ChunkRefused {
                name,
                id,
                received,
                busy: true,
            }),
            other => Self::Registry(other),
        }
    }

    /// Which challenge the answer carries; `None` where it is not about authentication.
    pub(super) fn unauthorized(&self) -> Option<Unauthorized> {
        match self {
            Self::CredentialsInvalid | Self::Registry(Refusal::Unauthenticated) => {
                Some(Unauthorized::Missing)
            }
            Self::TokenInvalid
            | Self::Auth(AuthError::Token(_))
            | Self::Registry(Refusal::CredentialsVoid) => Some(Unauthorized::InvalidToken),
            Self::Registry(Refusal::InsufficientScope) => Some(Unauthorized::InsufficientScope),
            _ => None,
        }
    }

    /// The code of the specification that clients act on.
    fn code(&self) -> ErrorCode {
        match self {
            Self::Registry(refusal) => refusal_code(refusal),
            Self::CredentialsInvalid | Self::TokenInvalid | Self::Auth(AuthError::Token(_)) => {
                ErrorCode::Unauthorized
            }
            Self::Auth(AuthError::Overloaded) => ErrorCode::TooManyRequests,
            Self::Auth(
                AuthError::KeysUnavailable(_)
                | AuthError::IssuerUnreachable(_)
                | AuthError::IssuerBroken { .. }
                | AuthError::DirectoryUnreachable { .. },
            ) => ErrorCode::Unavailable,
            Self::Auth(_) | Self::Panicked => ErrorCode::Unknown,
            Self::NameInvalid(_) => ErrorCode::NameInvalid,
            Self::ReferenceInvalid(portolan_oci::ReferenceError::Digest(_))
            | Self::DigestInvalid(_)
            | Self::ParameterMissing("digest") => ErrorCode::DigestInvalid,
            Self::ReferenceInvalid(_) | Self::TagInvalid(_) => ErrorCode::TagInvalid,
            Self::ParameterMissing(_)
            | Self::ParameterInvalid(_)
            | Self::ConditionUnsupported
            | Self::RangeNotSatisfiable { .. }
            | Self::NoSuchEndpoint
            | Self::MethodNotAllowed => ErrorCode::Unsupported,
            Self::PageInvalid => ErrorCode::PaginationNumberInvalid,
            Self::ContentTypeInvalid(_) => ErrorCode::ManifestInvalid,
            Self::LengthInvalid => ErrorCode::SizeInvalid,
            Self::ManifestTooLarge { .. } => ErrorCode::ManifestTooLarge,
            Self::TooManyTags { .. } => ErrorCode::TooManyTags,
            Self::BodyTimeout | Self::BodyInterrupted => ErrorCode::BlobUploadInvalid,
            Self::ConditionFailed => ErrorCode::PreconditionFailed,
            Self::ChunkRefused(ChunkRefused { busy: true, .. }) => ErrorCode::UploadBusy,
            Self::ChunkRefused(_) => ErrorCode::RangeInvalid,
        }
    }

    /// The status: the code's own, but where one code stands for several facts.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Registry(Refusal::BlobTooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            // The method exists, but not on this blob now; the specification has 405 for refused deletes.
            Self::Registry(Refusal::BlobReferenced) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NoSuchEndpoint => StatusCode::NOT_FOUND,
            Self::ParameterMissing(_) | Self::ParameterInvalid(_) | Self::ConditionUnsupported => {
                StatusCode::BAD_REQUEST
            }
            other => StatusCode::from_u16(other.code().status())
                .expect("every code has a status of HTTP"),
        }
    }

    /// For people. A 500 has the code's own text: causes are not for clients.
    fn message(&self) -> Cow<'static, str> {
        let status = self.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR || matches!(self, Self::Auth(_)) {
            return Cow::Borrowed(self.code().message());
        }
        Cow::Owned(self.to_string())
    }

    /// What a client can make use of beside the code; `None` where there is nothing.
    fn detail(&self) -> Option<Value> {
        match self {
            Self::Registry(Refusal::DigestMismatch { expected }) => {
                Some(json!({ "digest": expected }))
            }
            Self::Registry(Refusal::ManifestChildRemoved { digest }) => {
                Some(json!({ "digest": digest }))
            }
            Self::Registry(Refusal::PreconditionFailed { current }) => {
                Some(json!({ "current": current }))
            }
            Self::Registry(Refusal::BlobTooLarge { limit }) => Some(json!({ "limit": limit })),
            Self::ManifestTooLarge { limit } => Some(json!({ "limit": limit })),
            Self::ChunkRefused(at) => Some(json!({ "received": at.received })),
            _ => None,
        }
    }

    /// Headers that belong to the error itself.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // A 404 that a cache before us remembers would hide the push that follows.
        headers.insert(http_header::CACHE_CONTROL, header::NO_STORE);
        match self {
            Self::Registry(
                Refusal::Overloaded { retry_after }
                | Refusal::ReadOnly { retry_after, .. }
                | Refusal::Unavailable { retry_after, .. },
            )
            | Self::Auth(AuthError::DirectoryUnreachable { retry_after }) => {
                headers.insert(http_header::RETRY_AFTER, seconds(*retry_after));
            }
            Self::Auth(AuthError::Overloaded) => {
                headers.insert(http_header::RETRY_AFTER, HeaderValue::from(1));
            }
            // As long as the registry says when the database is out of reach, which is the reason here too.
            Self::Auth(AuthError::KeysUnavailable(_)) => {
                headers.insert(http_header::RETRY_AFTER, HeaderValue::from(2));
            }
            // No sooner is it asked again.
            Self::Auth(AuthError::IssuerUnreachable(_) | AuthError::IssuerBroken { .. }) => {
                headers.insert(http_header::RETRY_AFTER, HeaderValue::from(5));
            }
            Self::Registry(Refusal::BlobReferenced) => {
                headers.insert(http_header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::RangeNotSatisfiable { size } => {
                headers.insert(
                    http_header::CONTENT_RANGE,
                    header::value(format_args!("bytes */{size}")),
                );
            }
            Self::ChunkRefused(at) => {
                headers.insert(
                    http_header::LOCATION,
                    header::upload_location(&at.name, &at.id),
                );
                headers.insert(http_header::RANGE, header::upload_range(at.received));
                headers.insert(header::UPLOAD_UUID, header::value(at.id));
                if at.busy {
                    headers.insert(http_header::RETRY_AFTER, HeaderValue::from(1));
                }
            }
            _ => {}
        }
        headers
    }

    /// The body. One entry, but for blobs that a manifest names and nobody knows.
    pub(super) fn envelope(&self, request: Option<&str>) -> Value {
        if let Self::Registry(Refusal::ManifestBlobUnknown { digests }) = self {
            let entries: Vec<Value> = digests.iter().take(LISTED_MAX).map(blob_unknown).collect();
            return json!({ "errors": entries });
        }
        let mut entry = json!({ "code": self.code().as_str(), "message": self.message() });
        let detail = request
            .map(|id| json!({ "request": id }))
            .or_else(|| self.detail());
        if let Some(detail) = detail {
            entry["detail"] = detail;
        }
        json!({ "errors": [entry] })
    }
}

fn blob_unknown(digest: &Digest) -> Value {
    let code = ErrorCode::ManifestBlobUnknown;
    json!({ "code": code.as_str(), "message": code.message(), "detail": { "digest": digest } })
}

fn refusal_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Unauthenticated | Refusal::CredentialsVoid | Refusal::InsufficientScope => {
            ErrorCode::Unauthorized
        }
        Refusal::Denied { .. } | Refusal::BlobReferenced => ErrorCode::Denied,
        Refusal::NameUnknown => ErrorCode::NameUnknown,
        Refusal::ManifestUnknown | Refusal::ManifestChildRemoved { .. } => {
            ErrorCode::ManifestUnknown
        }
        Refusal::BlobUnknown => ErrorCode::BlobUnknown,
        Refusal::UploadUnknown => ErrorCode::BlobUploadUnknown,
        Refusal::BodyInterrupted => ErrorCode::BlobUploadInvalid,
        Refusal::UploadBusy { .. } => ErrorCode::UploadBusy,
        Refusal::RangeOutOfOrder { .. } => ErrorCode::RangeInvalid,
        Refusal::SizeMismatch | Refusal::BlobTooLarge { .. } => ErrorCode::SizeInvalid,
        Refusal::DigestMismatch { .. } => ErrorCode::DigestInvalid,
        Refusal::ManifestBlobUnknown { .. } => ErrorCode::ManifestBlobUnknown,
        Refusal::ManifestInvalid(_) => ErrorCode::ManifestInvalid,
        Refusal::PreconditionFailed { .. } => ErrorCode::PreconditionFailed,
        Refusal::Overloaded { .. } => ErrorCode::TooManyRequests,
        Refusal::ReadOnly { .. } | Refusal::Unavailable { .. } => ErrorCode::Unavailable,
        // Nothing under `/v2` changes who there is.
        Refusal::Refused(_)
        | Refusal::Metadata(_)
        | Refusal::Store(_)
        | Refusal::StoreUnknown(_)
        | Refusal::Keys(_) => ErrorCode::Unknown,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = Json(self.envelope(None));
        let mut response = (self.status(), self.headers(), body).into_response();
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}
