//! `portolan admin user`.

use super::begin;
use crate::config::Admin;
use crate::wire;
use anyhow::{Context as _, bail};
use portolan_auth::{PasswordLimits, Passwords};
use portolan_metadata::accounts::{self, AccountName, NewUser, StoredPassword};
use portolan_metadata::read_only;
use portolan_pg::Router;
use rand::Rng as _;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret as _, SecretString};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What to do with a user.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Make a user, and the namespace of the same name, in which they may push.
    Create {
        /// Login and namespace: lower-case letters and digits, with single `.`, `_` or dashes between them.
        name: AccountName,
        #[command(flatten)]
        password: Password,
        /// May everything, everywhere.
        #[arg(long)]
        superuser: bool,
    },
    /// Set a user's password, and end all their tokens.
    SetPassword {
        /// Who.
        name: AccountName,
        #[command(flatten)]
        password: Password,
    },
    /// Shut a user out, at once and with all their tokens.
    Disable {
        /// Who.
        name: AccountName,
    },
    /// Let a user in again.
    Enable {
        /// Who.
        name: AccountName,
    },
}

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

/// Runs one task.
pub(super) async fn run(router: &Router, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Create {
            name,
            password,
            superuser,
        } => create(router, name, &password, superuser).await,
        Task::SetPassword { name, password } => set_password(router, &name, &password).await,
        Task::Disable { name } => set_active(router, &name, false).await,
        Task::Enable { name } => set_active(router, &name, true).await,
    }
}

async fn create(
    router: &Router,
    name: AccountName,
    password: &Password,
    superuser: bool,
) -> anyhow::Result<()> {
    let chosen = password.choose().await?;
    let tx = begin(router).await?;
    let new = NewUser {
        name,
        password_hash: chosen.hash.clone(),
        superuser,
    };
    accounts::create_user(&tx, &new)
        .await
        .with_context(|| format!("cannot make user `{}`", new.name))?;
    router.acknowledge(tx.commit().await?).await?;
    let kind = if superuser { "superuser" } else { "user" };
    say(&format!("made {kind} `{}`", new.name), &chosen)
}

async fn set_password(
    router: &Router,
    name: &AccountName,
    password: &Password,
) -> anyhow::Result<()> {
    let chosen = password.choose().await?;
    let tx = begin(router).await?;
    if !accounts::set_password(&tx, name, &chosen.hash).await? {
        bail!("there is no user `{name}`");
    }
    router.acknowledge(tx.commit().await?).await?;
    say(
        &format!("set the password of `{name}`; all its tokens have ended"),
        &chosen,
    )
}

async fn set_active(router: &Router, name: &AccountName, active: bool) -> anyhow::Result<()> {
    let tx = begin(router).await?;
    if !accounts::set_active(&tx, name, active).await? {
        bail!("there is no user `{name}`");
    }
    router.acknowledge(tx.commit().await?).await?;
    let done = if active { "enabled" } else { "disabled" };
    writeln!(
        std::io::stdout(),
        "{done} `{name}`; all its tokens have ended"
    )?;
    Ok(())
}

/// Makes the configured administrator's account if nobody has its name; an existing one is left as it is.
pub(crate) async fn ensure_account(
    admin: &Admin,
    router: &Router,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let (Some(name), Some(password)) = (&admin.username, &admin.password) else {
        return Ok(());
    };
    let name: AccountName = name
        .parse()
        .with_context(|| format!("`admin.username`: `{name}`"))?;
    // The hash costs 20 ms and is needed once in the life of an installation.
    let exists = accounts::find(&router.read_primary().await?, &name)
        .await?
        .is_some();
    if exists {
        return Ok(());
    }
    if read_only::current(&router.read_primary().await?)
        .await?
        .is_some()
    {
        // A process that is started anew must serve pulls; the account is made at a later start.
        tracing::warn!(
            account = name.as_str(),
            "the registry is in read-only mode: the administrator's account `{name}` is not made"
        );
        return Ok(());
    }
    let hash = hash(password.clone(), random).await?;
    let tx = begin(router).await?;
    let made = accounts::ensure_admin(&tx, &name, &hash).await?;
    router.acknowledge(tx.commit().await?).await?;
    if made {
        tracing::info!(
            account = name.as_str(),
            "made the administrator's account `{name}`"
        );
    }
    Ok(())
}

/// Gives the configured administrator the configured password, if the account exists; its tokens end.
pub(crate) async fn reset_password(
    admin: &Admin,
    router: &Router,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let (Some(name), Some(password)) = (&admin.username, &admin.password) else {
        return Ok(());
    };
    let name: AccountName = name
        .parse()
        .with_context(|| format!("`admin.username`: `{name}`"))?;
    let hash = hash(password.clone(), random).await?;
    let tx = begin(router).await?;
    accounts::set_password(&tx, &name, &hash).await?;
    router.acknowledge(tx.commit().await?).await?;
    Ok(())
}

/// A password's hash, and the password where nobody knows it yet.
struct Chosen {
    hash: StoredPassword,
    made_up: Option<SecretString>,
}

impl Password {
    async fn choose(&self) -> anyhow::Result<Chosen> {
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
async fn hash(password: SecretString, rng: &mut StdRng) -> anyhow::Result<StoredPassword> {
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

fn say(what: &str, chosen: &Chosen) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what}")?;
    if let Some(password) = &chosen.made_up {
        writeln!(out, "password: {}", password.expose_secret())?;
    }
    Ok(())
}
