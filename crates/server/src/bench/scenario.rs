//! The operations that are measured, one request (or one whole push) each.

use super::content::Content;
use super::fixture::{self, Fixture, MANIFEST_TYPE};
use super::target::{Connection, Keep};
use anyhow::ensure;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// Tags in the list that [`Scenario::TagList`] asks for.
const LISTED_TAGS: u32 = 10_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What one operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// GET of `/v2/`: the same way through the server for an answer that is always the same.
    Ping,
    /// GET of a manifest by tag.
    ManifestTag,
    /// GET of a manifest by digest.
    ManifestDigest,
    /// HEAD of a manifest by tag.
    ManifestHead,
    /// GET of a blob of 1 KiB.
    #[value(name = "blob-1k")]
    Blob1K,
    /// GET of a blob of 1 MiB, redirects followed.
    #[value(name = "blob-1m")]
    Blob1M,
    /// GET of a blob of 256 MiB, redirects followed.
    #[value(name = "blob-256m")]
    Blob256M,
    /// Push of a fresh blob of 1 MiB: POST, PUT.
    #[value(name = "push-1m")]
    Push1M,
    /// Push of a fresh blob of 256 MiB: POST, PUT.
    #[value(name = "push-256m")]
    Push256M,
    /// Push of a fresh blob of 2 GiB: POST, PUT.
    #[value(name = "push-2g")]
    Push2G,
    /// PUT of a fresh manifest by a fresh tag.
    ManifestPut,
    /// The whole list of 10,000 tags, pages followed by asking for all at once.
    TagList,
    /// A token: the challenge and the token endpoint.
    Token,
    /// A login with a wrong password, another one each time: refused, or told to come later.
    WrongLogin,
}

/// An operation with all that the client must compute beforehand.
pub(crate) enum Prepared {
    Get { url: String },
    Head { url: String },
    Push { digest: String, content: Content },
    Put { reference: String, payload: Bytes },
    Token,
    WrongLogin { password: String },
}

impl Scenario {
    pub(crate) fn every() -> Vec<Self> {
        use clap::ValueEnum as _;
        Self::value_variants().to_vec()
    }

    /// Whether it needs the right to push.
    pub(crate) fn writes(self) -> bool {
        matches!(
            self,
            Self::Push1M | Self::Push256M | Self::Push2G | Self::ManifestPut | Self::Token
        )
    }

    /// The size of the blob that it reads.
    pub(crate) fn reads_blob_of(self) -> Option<u64> {
        match self {
            Self::Blob1K => Some(KIB),
            Self::Blob1M => Some(MIB),
            Self::Blob256M => Some(256 * MIB),
            _ => None,
        }
    }

    /// How many tags must be there; `chosen` is what the operator asked for.
    pub(crate) fn tags_needed(self, chosen: u32) -> u32 {
        match self {
            Self::Ping | Self::WrongLogin => 0,
            Self::TagList => LISTED_TAGS,
            Self::ManifestTag | Self::ManifestDigest | Self::ManifestHead => chosen,
            _ => 1,
        }
    }

    /// Whether it finds its tags by their names alone.
    pub(crate) fn needs_only_names(self) -> bool {
        matches!(
            self,
            Self::Ping | Self::ManifestTag | Self::ManifestHead | Self::Token | Self::WrongLogin
        )
    }

    /// Everything that is the client's own work, so that only the registry's is timed.
    pub(crate) fn prepare(
        self,
        connection: &Connection,
        fixture: &Fixture,
        tags: u32,
        random: &mut StdRng,
    ) -> Prepared {
        let blob = |size| Prepared::Get {
            url: connection.url(&format!("blobs/{}", fixture.blob_of(size))),
        };
        let mut any = || random.random_range(0..tags);
        match self {
            Self::Ping => Prepared::Get {
                url: connection.absolute("/v2/"),
            },
            Self::ManifestTag => Prepared::Get {
                url: connection.url(&format!("manifests/t{}", any())),
            },
            Self::ManifestHead => Prepared::Head {
                url: connection.url(&format!("manifests/t{}", any())),
            },
            Self::ManifestDigest => {
                let digest = &fixture.manifests[any() as usize];
                Prepared::Get {
                    url: connection.url(&format!("manifests/{digest}")),
                }
            }
            Self::Blob1K => blob(KIB),
            Self::Blob1M => blob(MIB),
            Self::Blob256M => blob(256 * MIB),
            Self::Push1M => fresh_blob(random, MIB),
            Self::Push256M => fresh_blob(random, 256 * MIB),
            Self::Push2G => fresh_blob(random, 2048 * MIB),
            Self::ManifestPut => {
                let unique = random.next_u64();
                let payload = fixture::manifest(&fixture.config, &format!("put {unique}"));
                Prepared::Put {
                    reference: format!("put-{unique}"),
                    payload,
                }
            }
            Self::TagList => Prepared::Get {
                url: connection.url(&format!("tags/list?n={LISTED_TAGS}")),
            },
            Self::Token => Prepared::Token,
            Self::WrongLogin => Prepared::WrongLogin {
                password: format!("wrong {}", random.next_u64()),
            },
        }
    }
}

/// Content that the registry has not seen.
fn fresh_blob(random: &mut StdRng, size: u64) -> Prepared {
    let content = Content::random(random, size);
    Prepared::Push {
        digest: content.digest().to_string(),
        content,
    }
}

impl Prepared {
    /// Does it; the answer is the number of bytes moved.
    pub(crate) async fn perform(self, connection: &Connection) -> anyhow::Result<u64> {
        let accept = [(ACCEPT, MANIFEST_TYPE)];
        match self {
            Self::Get { url } => {
                let empty = Content::empty();
                let answer = connection
                    .send(Method::GET, &url, &accept, empty, Keep::Length)
                    .await?;
                ensure!(
                    answer.status == StatusCode::OK,
                    "GET answered {}",
                    answer.status
                );
                Ok(answer.bytes)
            }
            Self::Head { url } => {
                let empty = Content::empty();
                let answer = connection
                    .send(Method::HEAD, &url, &accept, empty, Keep::Length)
                    .await?;
                ensure!(
                    answer.status == StatusCode::OK,
                    "HEAD answered {}",
                    answer.status
                );
                Ok(0)
            }
            Self::Push { digest, content } => {
                let bytes = content.len();
                connection.upload(&digest, content).await?;
                Ok(bytes)
            }
            Self::Put { reference, payload } => {
                let bytes = payload.len() as u64;
                fixture::put_manifest(connection, &reference, payload).await?;
                Ok(bytes)
            }
            Self::Token => connection.one_token().await,
            Self::WrongLogin { password } => connection.wrong_login(&password).await,
        }
    }
}
