//! How a refusal is named on the wire.

use std::fmt;

/// What an answer of the distribution API says went wrong: its code, its status and what it says when
/// nothing better is known.
///
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes> lists the codes
/// but for most of them no status; the status is that of distribution, the reference registry, unless a
/// variant says otherwise. A few variants share a code and differ in status, and a few codes are not in
/// the list: clients know those from distribution.
///
/// go-containerregistry retries `BLOB_UPLOAD_INVALID`, `TOOMANYREQUESTS`, `UNKNOWN` and `UNAVAILABLE`:
/// nothing that is to stay so may be said with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The blob is not in the repository.
    BlobUnknown,
    /// The upload cannot go on like this.
    BlobUploadInvalid,
    /// There is no such upload here.
    BlobUploadUnknown,
    /// A digest is malformed, of an unknown algorithm or not that of the content.
    DigestInvalid,
    /// The manifest refers to something that is not in the repository.
    ManifestBlobUnknown,
    /// The manifest is not one.
    ManifestInvalid,
    /// The manifest is larger than allowed. `MANIFEST_INVALID` with 413, as the specification wants.
    ManifestTooLarge,
    /// The manifest is not in the repository.
    ManifestUnknown,
    /// The repository's name breaks the grammar.
    NameInvalid,
    /// There is no such repository.
    NameUnknown,
    /// A stated length is not the actual one.
    SizeInvalid,
    /// The client has to say who it is, or to bring a better token.
    Unauthorized,
    /// The client may not do this.
    Denied,
    /// The registry does not do this. 405.
    Unsupported,
    /// The body is of a type that is not stored. `MANIFEST_INVALID` with 415 is what HTTP would say, but
    /// clients and the conformance suite expect 400.
    MediaTypeUnsupported,
    /// The client is to come back later.
    TooManyRequests,
    /// A chunk is out of order. `BLOB_UPLOAD_INVALID` with 416: the client asks where to go on and retries.
    RangeInvalid,
    /// Another request is writing to this upload at the moment. `BLOB_UPLOAD_INVALID` with 409, to be
    /// retried.
    UploadBusy,
    /// A tag breaks the grammar.
    TagInvalid,
    /// More tags in one push than are taken. `TAG_INVALID` with 414, which the specification names.
    TooManyTags,
    /// A page size is not a number.
    PaginationNumberInvalid,
    /// `If-Match` does not hold.
    PreconditionFailed,
    /// Something that the registry needs is away. 503.
    Unavailable,
    /// The fault is ours. 500.
    Unknown,
}

impl ErrorCode {
    /// Every one of them, for tables and tests.
    pub const ALL: [Self; 24] = [
        Self::BlobUnknown,
        Self::BlobUploadInvalid,
        Self::BlobUploadUnknown,
        Self::DigestInvalid,
        Self::ManifestBlobUnknown,
        Self::ManifestInvalid,
        Self::ManifestTooLarge,
        Self::ManifestUnknown,
        Self::NameInvalid,
        Self::NameUnknown,
        Self::SizeInvalid,
        Self::Unauthorized,
        Self::Denied,
        Self::Unsupported,
        Self::MediaTypeUnsupported,
        Self::TooManyRequests,
        Self::RangeInvalid,
        Self::UploadBusy,
        Self::TagInvalid,
        Self::TooManyTags,
        Self::PaginationNumberInvalid,
        Self::PreconditionFailed,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// The code on the wire, the status, the default message.
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", 404, "blob unknown to registry"),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", 400, "blob upload invalid"),
            Self::BlobUploadUnknown => (
                "BLOB_UPLOAD_UNKNOWN",
                404,
                "blob upload unknown to registry",
            ),
            Self::DigestInvalid => (
                "DIGEST_INVALID",
                400,
                "provided digest did not match uploaded content",
            ),
            Self::ManifestBlobUnknown => (
                "MANIFEST_BLOB_UNKNOWN",
                400,
                "manifest references a manifest or blob unknown to registry",
            ),
            Self::ManifestInvalid => ("MANIFEST_INVALID", 400, "manifest invalid"),
            Self::ManifestTooLarge => ("MANIFEST_INVALID", 413, "manifest is too large"),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", 404, "manifest unknown to registry"),
            Self::NameInvalid => ("NAME_INVALID", 400, "invalid repository name"),
            Self::NameUnknown => ("NAME_UNKNOWN", 404, "repository name not known to registry"),
            Self::SizeInvalid => (
                "SIZE_INVALID",
                400,
                "provided length did not match content length",
            ),
            Self::Unauthorized => ("UNAUTHORIZED", 401, "authentication required"),
            Self::Denied => ("DENIED", 403, "requested access to the resource is denied"),
            Self::Unsupported => ("UNSUPPORTED", 405, "the operation is unsupported"),
            Self::MediaTypeUnsupported => (
                "MANIFEST_INVALID",
                400,
                "media type of the manifest is not supported",
            ),
            Self::TooManyRequests => ("TOOMANYREQUESTS", 429, "too many requests"),
            Self::RangeInvalid => (
                "BLOB_UPLOAD_INVALID",
                416,
                "range is not the next one of the upload",
            ),
            Self::UploadBusy => (
                "BLOB_UPLOAD_INVALID",
                409,
                "another request is writing to this upload",
            ),
            Self::TagInvalid => ("TAG_INVALID", 400, "invalid tag name"),
            Self::TooManyTags => ("TAG_INVALID", 414, "too many tags in one request"),
            Self::PaginationNumberInvalid => (
                "PAGINATION_NUMBER_INVALID",
                400,
                "invalid number of results requested",
            ),
            Self::PreconditionFailed => (
                "PRECONDITION_FAILED",
                412,
                "the tag is not what the request expects",
            ),
            Self::Unavailable => ("UNAVAILABLE", 503, "service unavailable, try again later"),
            Self::Unknown => ("UNKNOWN", 500, "unknown error"),
        }
    }

    /// The `code` of the error body.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// The `message` of the error body, when nothing better is known.
    pub const fn message(self) -> &'static str {
        self.row().2
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_what_the_specification_allows() {
        for code in ErrorCode::ALL {
            // "containing only uppercase alphabetic characters and underscores"
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
                "{code}"
            );
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(
                !code.message().is_empty() && !code.message().ends_with('.'),
                "{code}"
            );
        }
        assert_eq!(HashSet::from(ErrorCode::ALL).len(), ErrorCode::ALL.len());
    }
}
