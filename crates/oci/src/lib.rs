//! The words of the OCI specifications: names, digests, manifests, ranges and error codes. No I/O.
//!
//! Everything a request or a database row says in text becomes one of these types at the border and is
//! not checked again behind it. Each type has one validating door (`FromStr`), quotes its grammar with
//! the section it comes from, and writes itself back exactly (`Display`, serde).
//!
//! What comes in is hostile until parsed: no function here panics on any input, recurses without a
//! bound or allocates more than a small multiple of what it was given. `tests/it` holds that with
//! random and malformed input; `PORTOLAN_FUZZ_SECONDS=600 cargo test -p portolan-oci --test it`
//! does so for as long as one likes.
//!
//! Two versions of the specifications are meant: the released image-spec 1.1.1 and distribution-spec
//! 1.1.1, and the later main branches where they add something (several tags per push, sha512).

mod byte_range;
mod content_range;
mod descriptor;
mod descriptor_error;
mod digest;
mod error_code;
mod json;
mod manifest;
mod manifest_error;
mod manifest_kind;
mod manifest_reader;
pub mod media_type;
mod platform;
mod reference;
mod repository_name;
mod storage_key;
mod tag_name;
mod text;
mod upload_id;

pub use byte_range::RequestedRange;
pub use content_range::{ContentRange, ContentRangeError};
pub use descriptor::Descriptor;
pub use descriptor_error::DescriptorError;
pub use digest::{Algorithm, Digest, DigestError};
pub use error_code::ErrorCode;
pub use manifest::Manifest;
pub use manifest_error::{ManifestError, Place};
pub use manifest_kind::ManifestKind;
pub use media_type::{MediaType, MediaTypeError};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError};
pub use repository_name::{DEFAULT_NAMESPACE, RepositoryName, RepositoryNameError};
pub use storage_key::{StorageKey, StorageKeyError};
pub use tag_name::{TagName, TagNameError};
pub use upload_id::{UploadId, UploadIdError};
