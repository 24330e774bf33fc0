//! S3's failures, sorted by what a caller can do about them.

use crate::Error;
use crate::error::S3Failure;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use std::error::Error as StdError;

/// Sorts the failure of one call.
pub(super) fn sort<E>(operation: &'static str, failure: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let status = failure
        .raw_response()
        .map(|response| response.status().as_u16());
    let code = failure.code().map(str::to_owned);
    let request_id = failure.meta().request_id().map(str::to_owned);
    let message = match failure {
        SdkError::ServiceError(_) => failure.message().unwrap_or("no message").to_owned(),
        // A connector's chain of causes ("connection refused"); it knows nothing of the request.
        SdkError::DispatchFailure(cause) => cause.as_connector_error().map_or_else(
            || "cannot be sent".to_owned(),
            |e| DisplayErrorContext(e).to_string(),
        ),
        SdkError::TimeoutError(_) => "timed out".to_owned(),
        SdkError::ResponseError(_) => "the answer cannot be read".to_owned(),
        _ => "the request cannot be made (credentials?)".to_owned(),
    };
    let unanswered = matches!(
        failure,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_)
    );
    let said = S3Failure {
        operation,
        status,
        code,
        message,
        request_id,
    };
    if unanswered {
        Error::Unavailable(said.into())
    } else {
        by_code(said)
    }
}

fn by_code(said: S3Failure) -> Error {
    match (
        said.code.as_deref().unwrap_or_default(),
        said.status.unwrap_or_default(),
    ) {
        ("NoSuchUpload", _) => Error::MultipartUnknown,
        ("InvalidPart" | "InvalidPartOrder" | "EntityTooSmall", _) => Error::PartMismatch,
        // versitygw and AWS say `BadDigest`, minio `XAmzContentChecksumMismatch`.
        (
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch",
            _,
        ) => Error::ChecksumMismatch,
        ("InvalidRange", _) | (_, 416) => Error::RangeOutside,
        (
            "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded",
            _,
        )
        | (_, 429) => Error::Throttled(said.into()),
        ("XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage", _) | (_, 507) => {
            Error::Full(said.into())
        }
        ("NoSuchBucket", _) => Error::Failed {
            operation: said.operation,
            cause: said.into(),
        },
        // A HEAD has no body and so no code.
        ("NoSuchKey" | "NotFound", _) | (_, 404) => Error::NotFound,
        (_, 401 | 403) => Error::Denied(said.into()),
        (_, 500..=599) => Error::Unavailable(said.into()),
        _ => Error::Failed {
            operation: said.operation,
            cause: said.into(),
        },
    }
}

/// What one key of a `DeleteObjects` met.
pub(super) fn of_key(operation: &'static str, kept: &aws_sdk_s3::types::Error) -> Error {
    let status = match kept.code() {
        Some("InternalError" | "ServiceUnavailable") => Some(503),
        Some("AccessDenied") => Some(403),
        _ => None,
    };
    by_code(S3Failure {
        operation,
        status,
        code: kept.code().map(str::to_owned),
        message: kept.message().unwrap_or("no message").to_owned(),
        request_id: None,
    })
}

/// An answer that lacks what it must have.
pub(super) fn without(operation: &'static str, what: &str) -> Error {
    let said = S3Failure {
        operation,
        status: None,
        code: None,
        message: what.to_owned(),
        request_id: None,
    };
    Error::Failed {
        operation,
        cause: said.into(),
    }
}

/// A body that broke off.
pub(super) fn in_stream(cause: &(dyn StdError + 'static)) -> Error {
    let said = S3Failure {
        operation: "GetObject",
        status: None,
        code: None,
        message: DisplayErrorContext(cause).to_string(),
        request_id: None,
    };
    Error::Unavailable(said.into())
}
