//! The certificate and its key: read at start, and again when the files change.

use crate::config::Tls;
use crate::shutdown::Tasks;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// What we speak inside TLS, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM, or holds nothing of what it should.
    #[error("no usable PEM in `{path}`")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The two do not belong together, or rustls does not know such a key.
    #[error("the certificate and the key cannot be used")]
    Refused(#[from] rustls::Error),
}

/// The two files.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

/// What is in them.
#[derive(PartialEq, Eq)]
struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    /// As configured; `None` without TLS.
    pub(crate) fn of(tls: &Tls) -> Option<Self> {
        Some(Self {
            cert: tls.cert.clone()?,
            key: tls.key.clone()?,
        })
    }

    /// Reads both for the first time.
    pub(crate) fn load(&self) -> Result<RustlsConfig, Error> {
        let config = self.config(&self.read()?)?;
        Ok(RustlsConfig::from_config(config))
    }

    fn read(&self) -> Result<Content, Error> {
        Ok(Content {
            cert: read(&self.cert)?,
            key: read(&self.key)?,
        })
    }

    fn config(&self, content: &Content) -> Result<Arc<ServerConfig>, Error> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Pem { path, source }
        };
        let chain = CertificateDer::pem_slice_iter(&content.cert)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|chain| {
                let missing = rustls::pki_types::pem::Error::NoItemsFound;
                if chain.is_empty() {
                    Err(missing)
                } else {
                    Ok(chain)
                }
            })
            .map_err(unusable(&self.cert))?;
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(unusable(&self.key))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Looks at the files every `every` and puts a changed pair into `live`. A pair that cannot be used, as between the
/// writing of one file and of the other, is said once and tried again when it changes.
///
/// Looking, and not being told: what orchestrators mount are links to folders that are swapped, which the kernel's
/// notifications do not follow.
pub(crate) fn watch(tasks: &Tasks, pair: Pair, live: RustlsConfig, every: Duration) {
    let stopping = tasks.stopping().clone();
    tasks.spawn("tls-reload", async move {
        let mut seen = pair.read().ok();
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            let content = match pair.read() {
                Ok(content) if seen.as_ref() == Some(&content) => continue,
                Ok(content) => content,
                Err(error) => {
                    if seen.take().is_some() {
                        tracing::error!(%error, "cannot look at the certificate: {error}");
                    }
                    continue;
                }
            };
            match pair.config(&content) {
                Ok(config) => {
                    live.reload_from_config(config);
                    let path = pair.cert.display();
                    tracing::info!(%path, "serving the new certificate of `{path}`");
                }
                Err(error) => {
                    tracing::error!(%error, "keeping the old certificate, the new one is not usable: {error}");
                }
            }
            seen = Some(content);
        }
    });
}
