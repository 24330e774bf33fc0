//! The configuration of a quickstart: the defaults and this folder, nothing of the environment.
//!
//! The same facts are kept as `DIR/portolan.toml`, so that the other commands can be pointed at a running
//! quickstart: `portolan admin user create … --config DIR/portolan.toml`.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::cluster::Cluster;
use super::error::Error;
use super::folder::{Folder, write_whole};
use super::secrets::USERNAME;
use crate::config::{Config, DatabaseUrl, SecretKey, StoreKind};

/// What sets this installation apart from the defaults.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// The data folder.
    pub(super) folder: &'a Folder,
    /// Its Postgres.
    pub(super) cluster: &'a Cluster,
    /// The key that seals secrets in the database.
    pub(super) key: SecretString,
    /// Where clients come.
    pub(super) listen: SocketAddr,
    /// Where metrics and health are asked.
    pub(super) private: SocketAddr,
}

impl Settings<'_> {
    /// As `serve` takes it.
    pub(super) fn config(&self, password: &SecretString) -> Config {
        let mut config = Config::default();
        config.http.listen = self.listen;
        config.http.private_listen = self.private;
        config.database.primary = Some(DatabaseUrl::new(self.cluster.url()));
        config.storage.kind = Some(StoreKind::Directory);
        config.storage.directory.path = Some(self.folder.file("blobs"));
        config.secrets.key = Some(SecretKey::from_base64(self.key.expose_secret()));
        config.admin.username = Some(USERNAME.to_owned());
        config.admin.password = Some(password.clone());
        // No load balancer has to notice first.
        config.http.drain.delay = Duration::ZERO;
        // The screen belongs to the lines to paste; what goes wrong still shows below them.
        "warn".clone_into(&mut config.log.level);
        config
    }

    /// Writes `portolan.toml`.
    pub(super) fn keep_for_other_commands(&self) -> Result<(), Error> {
        let file = |name| toml::Value::String(self.folder.file(name).display().to_string());
        let text = format!(
            "# Written by `portolan quickstart` at each start, for the other commands while it runs:\n\
             # portolan admin user create NAME --config {config}\n\
             [database]\nprimary = {url}\n\n\
             [storage]\nkind = \"directory\"\n\n\
             [storage.directory]\npath = {blobs}\n\n\
             [secrets]\nkey_file = {key}\n",
            config = self.folder.file("portolan.toml").display(),
            url = toml::Value::String(self.cluster.url()),
            blobs = file("blobs"),
            key = file("secrets.key"),
        );
        write_whole(&self.folder.file("portolan.toml"), text.as_bytes(), 0o600)
    }
}
