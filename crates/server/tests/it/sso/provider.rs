//! The identity provider that others maintain, as `scripts/setup.sh sso` installs it.

use http::Method;
use portolan_testkit::children::Guarded;
use portolan_testkit::client::Client;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::sync::OnceCell;

/// A running provider.
#[derive(Debug)]
pub(super) struct IdentityProvider {
    _process: Guarded,
    _stdin: std::io::PipeWriter,
    address: SocketAddr,
}

/// The Node.js that was installed beside the provider, because the system's is too old; else the system's.
fn node(folder: &Path) -> PathBuf {
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let own = folder.join(format!("node_modules/node-linux-{arch}/bin/node"));
    if own.is_file() { own } else { "node".into() }
}

impl IdentityProvider {
    /// The one of this test binary; people are told apart by their names.
    pub(super) async fn shared() -> &'static Self {
        static SHARED: OnceCell<IdentityProvider> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::start()).await
    }

    fn start() -> Self {
        let folder = folder();
        assert!(
            folder.join(".complete").is_file(),
            "single sign-on is tested against a real provider, which is missing; get it with\n\n    scripts/setup.sh sso\n"
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sso/provider.mjs");
        let (stdin, alive) = std::io::pipe().expect("a pipe");
        let (read, stdout) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(node(&folder));
        command
            .arg(script)
            .arg(folder)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::null());
        let process = Guarded::spawn("node provider.mjs", &mut command);
        drop(command);
        let mut line = String::new();
        BufReader::new(read)
            .read_line(&mut line)
            .expect("the provider says its port");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let port = said["port"].as_u64().expect("a port");
        let port = u16::try_from(port).expect("a port");
        Self {
            _process: process,
            _stdin: alive,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Its name.
    pub(super) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it says this of somebody.
    pub(super) async fn person(&self, name: &str, claims: &Value) {
        Client::new(self.address)
            .request(Method::PUT, &format!("/test/people/{name}"))
            .body(claims.to_string())
            .send()
            .await
            .expect(204);
    }
}

fn folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let cache = cache.or_else(home).expect("a home");
    cache.join("portolan/sso")
}
