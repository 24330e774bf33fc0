//! What the scenarios read: pushed once, through the registry's own front door.

use super::content::Content;
use super::scenario::Scenario;
use super::target::{Connection, Keep, Target};
use anyhow::ensure;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use portolan_oci::Digest;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Fixtures pushed at a time.
const CONCURRENT: usize = 16;
/// The media type of every manifest here.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Content that is in the registry.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// How many tags there are.
    pub(crate) tags: u32,
    /// The manifest digest behind each tag; tag `i` is `t<i>`.
    pub(crate) manifests: Vec<String>,
    /// Digests of the blobs of each size that some scenario reads.
    pub(crate) blobs: Vec<(u64, String)>,
    /// The config that pushed manifests name.
    pub(crate) config: (String, usize),
}

impl Fixture {
    /// What is there already: tags that somebody else has made.
    pub(crate) fn of_others(tags: u32) -> Self {
        Self {
            tags,
            manifests: Vec::new(),
            blobs: Vec::new(),
            config: (String::new(), 0),
        }
    }

    /// Pushes what the scenarios need.
    pub(crate) async fn prepare(
        target: &Target,
        scenarios: &[Scenario],
        tags: u32,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let connection = target.connect();
        let mut random = StdRng::seed_from_u64(seed);
        let config = Bytes::from(format!(
            r#"{{"architecture":"amd64","os":"linux","seed":{seed}}}"#
        ));
        let config_digest = Digest::sha256(&config).to_string();
        let config_size = config.len();
        connection.upload(&config_digest, config.into()).await?;

        let mut blobs = Vec::new();
        for size in scenarios
            .iter()
            .filter_map(|scenario| scenario.reads_blob_of())
        {
            let content = Content::random(&mut random, size);
            let digest = content.digest().to_string();
            connection.upload(&digest, content).await?;
            blobs.push((size, digest));
        }

        let config = (config_digest, config_size);
        let needed = scenarios
            .iter()
            .map(|scenario| scenario.tags_needed(tags))
            .max();
        let tags = needed.unwrap_or(0);
        let manifests = futures::stream::iter(0..tags)
            .map(|index| {
                let payload = manifest(&config, &format!("seed {seed} tag {index}"));
                let connection = &connection;
                async move {
                    put_manifest(connection, &format!("t{index}"), payload.clone()).await?;
                    anyhow::Ok(Digest::sha256(&payload).to_string())
                }
            })
            .buffered(CONCURRENT)
            .try_collect()
            .await?;
        Ok(Self {
            tags,
            manifests,
            blobs,
            config,
        })
    }

    pub(crate) fn blob_of(&self, size: u64) -> &str {
        let found = self.blobs.iter().find(|(known, _)| *known == size);
        &found
            .expect("prepare pushed a blob of every size that a scenario reads")
            .1
    }
}

/// An image manifest of about 1.2 KB, unique by its annotation.
pub(crate) fn manifest(config: &(String, usize), unique: &str) -> Bytes {
    let padding = "x".repeat(700);
    Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[],"annotations":{{"bench":"{unique}","padding":"{padding}"}}}}"#,
        config.0, config.1
    ))
}

/// PUTs a manifest.
pub(crate) async fn put_manifest(
    connection: &Connection,
    reference: &str,
    payload: Bytes,
) -> anyhow::Result<()> {
    let url = connection.url(&format!("manifests/{reference}"));
    let headers = [(CONTENT_TYPE, MANIFEST_TYPE)];
    let answer = connection
        .send(Method::PUT, &url, &headers, payload.into(), Keep::Length)
        .await?;
    ensure!(
        answer.status == StatusCode::CREATED,
        "PUT manifest answered {}",
        answer.status
    );
    Ok(())
}
