//! Where a bucket is and how to be let in.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation,
};
use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// What a region is called where nobody says: the one every S3-compatible server takes.
const DEFAULT_REGION: &str = "us-east-1";
/// A store that has not taken a connection by then is as good as down; the call is tried again.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// One attempt of a call without a large body.
const ATTEMPT_TIME: Duration = Duration::from_secs(30);
/// The first attempt and two more (the SDK's standard mode, with its jitter and its retry quota).
const ATTEMPTS: u32 = 3;

/// All that is known about a bucket.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// What all keys begin with; slashes around it do not count.
    pub prefix: String,
    /// The region that requests are signed for; ambient configuration, else `us-east-1`, where `None`.
    pub region: Option<String>,
    /// Where it is.
    pub endpoint: S3Endpoint,
    /// Who asks.
    pub credentials: S3Credentials,
    /// How objects are encrypted where they lie.
    pub encryption: S3Encryption,
}

/// Where a bucket is.
#[derive(Debug, Clone, Default)]
pub struct S3Endpoint {
    /// The server; AWS where `None`.
    pub url: Option<Uri>,
    /// The address under which *clients of the registry* reach it, for presigned URLs; the same where `None`.
    pub public_url: Option<Uri>,
    /// The bucket in the path instead of in the host name.
    pub path_style: bool,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum S3Credentials {
    /// Whatever the machine offers: environment, profile, web identity, container or instance role.
    Ambient,
    /// A pair of keys.
    Static {
        /// Its public half.
        access_key: String,
        /// Its secret half.
        secret_key: SecretString,
    },
}

/// Encryption at rest.
#[derive(Debug, Clone, Default)]
pub enum S3Encryption {
    /// As the bucket is configured.
    #[default]
    BucketDefault,
    /// `AES256`: with keys of S3's own.
    Aes256,
    /// `aws:kms`.
    Kms {
        /// The key; the account's default one where `None`.
        key: Option<String>,
    },
}

impl S3Settings {
    /// One client for us, and one that only signs, for the public address.
    pub(super) async fn clients(&self) -> (Client, Client) {
        let builder = self
            .identified()
            .await
            .force_path_style(self.endpoint.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIME)
                    .operation_attempt_timeout(ATTEMPT_TIME)
                    .build(),
            );
        let at = |url: Option<&Uri>| {
            let builder = builder.clone();
            let builder = match url {
                Some(url) => builder.endpoint_url(url.to_string()),
                None => builder,
            };
            Client::from_conf(builder.build())
        };
        let url = self.endpoint.url.as_ref();
        (at(url), at(self.endpoint.public_url.as_ref().or(url)))
    }

    async fn identified(&self) -> Builder {
        let region = self.region.clone().map(Region::new);
        match &self.credentials {
            S3Credentials::Static {
                access_key,
                secret_key,
            } => {
                let secret = secret_key.expose_secret();
                let pair = Credentials::new(access_key, secret, None, None, "portolan");
                Builder::new()
                    .behavior_version(BehaviorVersion::latest())
                    .region(region.unwrap_or(Region::from_static(DEFAULT_REGION)))
                    .credentials_provider(pair)
            }
            S3Credentials::Ambient => {
                let mut loader = aws_config::defaults(BehaviorVersion::latest());
                if let Some(region) = region {
                    loader = loader.region(region);
                }
                let ambient = loader.load().await;
                let builder = Builder::from(&ambient);
                match ambient.region() {
                    Some(_) => builder,
                    None => builder.region(Region::from_static(DEFAULT_REGION)),
                }
            }
        }
    }
}
