//! Blobs in a bucket of anything that speaks S3.
//!
//! Checksums are sent only where S3 demands them or the caller has one, because compatible stores
//! differ in what else they take; a part's bytes are covered by TLS, or without it by the request's
//! signature. Every call has a time limit that grows with its bytes, and is tried at most three times. Nothing
//! here logs a presigned URL.

mod body;
mod download;
mod failure;
mod settings;

pub use settings::{S3Credentials, S3Encryption, S3Endpoint, S3Settings};

use crate::store::{
    BlobRead, BlobStore, BlobStream, MultipartId, Part, PartNumber, PartTag, Removal,
};
use crate::{Content, Error, StorageKey};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder as ConfigBuilder;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_sdk_s3::types::{MultipartUpload, ServerSideEncryption};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use download::Download;
use failure::sort;
use http::Uri;
use portolan_oci::{Algorithm, Digest};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a presigned URL is good: the 20 minutes a slow client may need to begin (wire notes, "Redirect").
const PRESIGNED_LIFE: Duration = Duration::from_mins(20);
/// What a browser that follows a presigned URL is told the bytes are, whatever somebody uploaded.
const PRESIGNED_TYPE: &str = "application/octet-stream";
const PRESIGNED_DISPOSITION: &str = "attachment";
/// Most keys in one `DeleteObjects` (S3 API reference).
const DELETE_MAX: usize = 1_000;
/// What a call is given besides the time for its bytes.
const CALL_TIME: Duration = Duration::from_secs(30);
/// The slowest transfer to a store that is still worth waiting for, in bytes a second.
const SLOWEST: u64 = 1 << 20;
/// S3 may take minutes to put 10,000 parts together (S3 API reference, `CompleteMultipartUpload`).
const COMPLETE_TIME: Duration = Duration::from_mins(5);

/// A bucket, or the part of it under a prefix.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    /// Signs for the address that clients of the registry use.
    public: Client,
    bucket: String,
    /// Empty, or ending in a slash.
    prefix: String,
    encryption: S3Encryption,
    /// Over TLS the transport covers a request's bytes already; hashing them once more for the
    /// signature would double what a push costs.
    over_tls: bool,
}

impl S3Store {
    /// Makes the clients; asks nothing of the bucket yet.
    pub async fn connect(settings: S3Settings) -> Self {
        let (client, public) = settings.clients().await;
        let S3Settings {
            bucket,
            prefix,
            encryption,
            endpoint,
            ..
        } = settings;
        // AWS itself, where nobody names an endpoint.
        let over_tls = endpoint
            .url
            .is_none_or(|url| url.scheme_str() == Some("https"));
        let trimmed = prefix.trim_matches('/');
        let prefix = if trimmed.is_empty() {
            String::new()
        } else {
            format!("{trimmed}/")
        };
        Self {
            client,
            public,
            bucket,
            prefix,
            encryption,
            over_tls,
        }
    }

    fn object(&self, key: &StorageKey) -> String {
        format!("{}{key}", self.prefix)
    }

    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.encryption {
            S3Encryption::BucketDefault => (None, None),
            S3Encryption::Aes256 => (Some(ServerSideEncryption::Aes256), None),
            S3Encryption::Kms { key } => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    /// All that was begun under a key and not ended.
    async fn begun(&self, key: &StorageKey) -> Result<Vec<MultipartId>, Error> {
        let object = self.object(key);
        let mut begun = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let call = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(&object);
            let page = call
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|cause| sort("ListMultipartUploads", &cause))?;
            let more = page.is_truncated() == Some(true);
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            let of_key = |upload: &MultipartUpload| upload.key() == Some(object.as_str());
            let uploads = page.uploads.unwrap_or_default().into_iter().filter(of_key);
            begun.extend(uploads.filter_map(|upload| upload.upload_id.map(MultipartId::new)));
            if !more || key_marker.is_none() {
                return Ok(begun);
            }
        }
    }

    async fn abort_one(&self, key: &StorageKey, id: &MultipartId) -> Result<(), Error> {
        let call = self.client.abort_multipart_upload().bucket(&self.bucket);
        let sent = call
            .key(self.object(key))
            .upload_id(id.as_str())
            .send()
            .await;
        match sent.map_err(|cause| sort("AbortMultipartUpload", &cause)) {
            Ok(_) | Err(Error::MultipartUnknown | Error::NotFound) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

#[async_trait]
impl BlobRead for S3Store {
    async fn get(
        &self,
        key: &StorageKey,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<BlobStream, Error> {
        let (client, bucket) = (self.client.clone(), self.bucket.clone());
        Ok(Download::begin(client, bucket, self.object(key), range)
            .await?
            .stream())
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>, Error> {
        let call = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.object(key));
        match call
            .send()
            .await
            .map_err(|cause| sort("HeadObject", &cause))
        {
            Ok(answer) => {
                let size = answer
                    .content_length()
                    .and_then(|length| u64::try_from(length).ok());
                size.map(Some)
                    .ok_or_else(|| failure::without("HeadObject", "no Content-Length"))
            }
            Err(Error::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn presign_get(&self, key: &StorageKey) -> Result<Option<Uri>, Error> {
        let life = PresigningConfig::expires_in(PRESIGNED_LIFE)
            .expect("twenty minutes are less than S3's week");
        let call = self
            .public
            .get_object()
            .bucket(&self.bucket)
            .key(self.object(key));
        let signed = call
            .response_content_type(PRESIGNED_TYPE)
            .response_content_disposition(PRESIGNED_DISPOSITION)
            .presigned(life)
            .await
            .map_err(|cause| sort("presign", &cause))?;
        let uri = signed.uri().parse();
        uri.map(Some)
            .map_err(|_| failure::without("presign", "the signed URL does not parse"))
    }

    async fn probe(&self) -> Result<(), Error> {
        let call = self.client.head_bucket().bucket(&self.bucket);
        call.send()
            .await
            .map(drop)
            .map_err(|cause| sort("HeadBucket", &cause))
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn put(
        &self,
        key: &StorageKey,
        content: Content,
        expected: Option<&Digest>,
    ) -> Result<(), Error> {
        let checksum = expected
            .filter(|digest| digest.algorithm() == Algorithm::Sha256)
            .map(|digest| BASE64.encode(digest.as_bytes()));
        let (encryption, kms_key) = self.encryption();
        let len = content.len();
        let call = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.object(key));
        let call = call
            .content_length(body::length(len))
            .set_checksum_sha256(checksum)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .body(body::send(content))
            .customize()
            .config_override(within(time_for(len)));
        let call = if self.over_tls {
            call.disable_payload_signing()
        } else {
            call
        };
        call.send()
            .await
            .map(drop)
            .map_err(|cause| sort("PutObject", &cause))
    }

    async fn begin_multipart(&self, key: &StorageKey) -> Result<MultipartId, Error> {
        let (encryption, kms_key) = self.encryption();
        let call = self.client.create_multipart_upload().bucket(&self.bucket);
        let begun = call
            .key(self.object(key))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .send()
            .await
            .map_err(|cause| sort("CreateMultipartUpload", &cause))?;
        let id = begun.upload_id.map(MultipartId::new);
        id.ok_or_else(|| failure::without("CreateMultipartUpload", "no upload id"))
    }

    async fn put_part(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        number: PartNumber,
        _offset: u64,
        content: Content,
    ) -> Result<PartTag, Error> {
        let len = content.len();
        let call = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(self.object(key));
        let call = call
            .upload_id(id.as_str())
            .part_number(part_number(number))
            .content_length(body::length(len))
            .body(body::send(content))
            .customize()
            .config_override(within(time_for(len)));
        let call = if self.over_tls {
            call.disable_payload_signing()
        } else {
            call
        };
        let stored = match call
            .send()
            .await
            .map_err(|cause| sort("UploadPart", &cause))
        {
            Ok(stored) => stored,
            Err(failure) => return Err(self.why_unavailable(key, id, failure).await),
        };
        let tag = stored.e_tag.map(PartTag::new);
        tag.ok_or_else(|| failure::without("UploadPart", "no ETag"))
    }

    async fn complete_multipart(
        &self,
        key: &StorageKey,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        let named = parts.iter().map(|part| {
            let number = part_number(part.number);
            CompletedPart::builder()
                .part_number(number)
                .e_tag(part.tag.as_str())
                .build()
        });
        let named = CompletedMultipartUpload::builder()
            .set_parts(Some(named.collect()))
            .build();
        let call = self.client.complete_multipart_upload().bucket(&self.bucket);
        call.key(self.object(key))
            .upload_id(id.as_str())
            .multipart_upload(named)
            .customize()
            .config_override(within(COMPLETE_TIME))
            .send()
            .await
            .map(drop)
            .map_err(|cause| sort("CompleteMultipartUpload", &cause))
    }

    async fn abort_multipart(
        &self,
        key: &StorageKey,
        id: Option<&MultipartId>,
    ) -> Result<(), Error> {
        if let Some(id) = id {
            return self.abort_one(key, id).await;
        }
        for id in self.begun(key).await? {
            self.abort_one(key, &id).await?;
        }
        Ok(())
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<Vec<Removal>, Error> {
        let mut removals = Vec::with_capacity(keys.len());
        for keys in keys.chunks(DELETE_MAX) {
            removals.extend(self.delete_some(keys).await?);
        }
        Ok(removals)
    }
}

impl S3Store {
    /// A server that refuses a part because its upload is gone may close the line while the part
    /// is still being sent, and then the refusal is lost. So it is asked, with nothing to send.
    async fn why_unavailable(&self, key: &StorageKey, id: &MultipartId, failure: Error) -> Error {
        if !matches!(failure, Error::Unavailable(_)) {
            return failure;
        }
        let call = self
            .client
            .list_parts()
            .bucket(&self.bucket)
            .key(self.object(key));
        let asked = call.upload_id(id.as_str()).max_parts(1).send().await;
        match asked.map_err(|cause| sort("ListParts", &cause)) {
            Err(Error::MultipartUnknown) => Error::MultipartUnknown,
            Ok(_) | Err(_) => failure,
        }
    }

    async fn delete_some(&self, keys: &[StorageKey]) -> Result<Vec<Removal>, Error> {
        let named = keys.iter().map(|key| {
            let named = ObjectIdentifier::builder().key(self.object(key)).build();
            named.expect("an object identifier needs a key, and has one")
        });
        let named = Delete::builder().set_objects(Some(named.collect())).build();
        let call = self.client.delete_objects().bucket(&self.bucket);
        let answer = call
            .delete(named.expect("a deletion needs a list, and has one"))
            .send()
            .await
            .map_err(|cause| sort("DeleteObjects", &cause))?;
        let outcome = |key: &StorageKey| {
            let object = self.object(key);
            if answer
                .deleted()
                .iter()
                .any(|gone| gone.key() == Some(object.as_str()))
            {
                return Ok(());
            }
            let said = answer
                .errors()
                .iter()
                .find(|kept| kept.key() == Some(object.as_str()));
            Err(said.map_or_else(
                || failure::without("DeleteObjects", "no answer for the key"),
                |kept| failure::of_key("DeleteObjects", kept),
            ))
        };
        Ok(keys
            .iter()
            .map(|key| Removal {
                key: key.clone(),
                outcome: outcome(key),
            })
            .collect())
    }
}

fn part_number(number: PartNumber) -> i32 {
    i32::try_from(number).expect("a schedule has at most 10,000 parts")
}

/// How long one attempt to send `len` bytes may take.
fn time_for(len: u64) -> Duration {
    CALL_TIME + Duration::from_secs(len / SLOWEST)
}

fn within(limit: Duration) -> ConfigBuilder {
    let limit = TimeoutConfig::builder()
        .operation_attempt_timeout(limit)
        .build();
    ConfigBuilder::new().timeout_config(limit)
}
