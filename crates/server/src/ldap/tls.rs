//! Whom connections to a directory trust.

use anyhow::{Context as _, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The certificates of `file` and no others, or the system's.
pub(super) fn config(file: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let about = || format!("cannot use `ldap.ca_file`, `{}`", path.display());
            let certificates = CertificateDer::pem_file_iter(path).with_context(about)?;
            for certificate in certificates {
                let certificate = certificate.with_context(about)?;
                roots.add(certificate).with_context(about)?;
            }
            ensure!(
                !roots.is_empty(),
                "`ldap.ca_file`, `{}`, holds no certificate",
                path.display()
            );
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
