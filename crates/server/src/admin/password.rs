//! Passwords of commands: where they come from, and their hashes.

use crate::wire;
use anyhow::{Context as _, bail};
use portolan_auth::{PasswordLimits, Passwords};
use portolan_metadata::accounts::StoredPassword;
use rand::Rng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where a password comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct Password {
    /// File with the password, `-` for standard input. Without it one is made up and printed.
    #[arg(id = "password_file", long = "password-file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the password from standard input, as `docker login` does.
    #[arg(
        id = "password_stdin",
        long = "password-stdin",
        conflicts_with = "password_file"
    )]
    stdin: bool,
}

/// A password's hash, and the password where nobody knows it yet.
pub(super) struct Chosen {
    pub(super) hash: StoredPassword,
    pub(super) made_up: Option<SecretString>,
}

impl Password {
    /// The password, and its hash.
    pub(super) async fn choose(&self) -> anyhow::Result<Chosen> {
        let mut rng = wire::random()?;
        let (password, is_new) = match &self.file {
            Some(path) => (read(path)?, false),
            None if self.stdin => (read(Path::new("-"))?, false),
            None => (made_up(&mut rng), true),
        };
        let hash = hash(password.clone(), &mut rng).await?;
        Ok(Chosen {
            hash,
            made_up: is_new.then_some(password),
        })
    }
}

/// The stored form of a password.
pub(super) async fn hash(
    password: SecretString,
    rng: &mut StdRng,
) -> anyhow::Result<StoredPassword> {
    let passwords = Passwords::new(PasswordLimits::default(), rng)?;
    let hash = passwords.hash(password, rng).await?;
    Ok(StoredPassword::new(hash.as_str()))
}

fn read(path: &Path) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the password")?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
    }
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password.into())
}

/// 120 random bits, as 20 characters that survive being read aloud and pasted into a shell.
fn made_up(rng: &mut StdRng) -> SecretString {
    /// 64 of them, six bits each.
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0_u8; 20];
    rng.fill_bytes(&mut bytes);
    let text: String = bytes
        .iter()
        .map(|byte| char::from(CHARACTERS[usize::from(byte % 64)]))
        .collect();
    text.into()
}
