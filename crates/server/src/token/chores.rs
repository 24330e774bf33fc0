//! What logins leave to be written down, so that none waits for it and none fails by it.
//!
//! One task works off a short queue, in the share of connections that is for the background. What does not fit is left
//! undone: the next login of the same kind brings it again. In read-only mode and without the primary nothing is written.
//!
//! That wrong passwords are written here, and not before the answer, is also what makes a name that somebody has take as long
//! as one that nobody has.

use super::Auth;
use crate::shutdown::Tasks;
use portolan_auth::PasswordHash;
use portolan_metadata::AccountId;
use portolan_registry::Error;
use secrecy::SecretString;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// A second's worth of chores for one connection; some 64 KiB.
const WAITING_MAX: usize = 256;

/// Something to be written down.
#[derive(Debug)]
pub(super) enum Chore {
    /// A wrong password.
    Failed {
        account: AccountId,
        network: IpAddr,
        attempt: [u8; 32],
    },
    /// A right one after wrong ones.
    Right { account: AccountId, network: IpAddr },
    /// A password that is right, and kept in a form that is not today's.
    Upgrade {
        account: AccountId,
        old: PasswordHash,
        password: SecretString,
    },
}

impl Chore {
    fn name(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "count a wrong password",
            Self::Right { .. } => "forget wrong passwords",
            Self::Upgrade { .. } => "upgrade a password's hash",
        }
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Chores {
    sender: Sender<Chore>,
    /// Until somebody works it off.
    receiver: Mutex<Option<Receiver<Chore>>>,
}

impl Chores {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel(WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Leaves `chore` to be done, or undone where too many wait.
    pub(super) fn add(&self, chore: Chore) {
        if let Err(refused) = self.sender.try_send(chore) {
            let chore = refused.into_inner().name();
            tracing::debug!(chore, "left undone: {chore}");
        }
    }
}

impl Auth {
    /// Works off what logins leave, until `tasks` are to end.
    pub(crate) fn do_chores(&self, tasks: &Tasks) {
        let slot = &self.0.chores.receiver;
        let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = taken else {
            return;
        };
        let (auth, stopping) = (self.clone(), tasks.stopping().clone());
        tasks.spawn("chores of logins", async move {
            while let Some(Some(chore)) = stopping.run_until_cancelled(receiver.recv()).await {
                auth.run(chore).await;
            }
            // What waits already is a handful of statements.
            while let Ok(chore) = receiver.try_recv() {
                auth.run(chore).await;
            }
        });
    }

    async fn run(&self, chore: Chore) {
        let name = chore.name();
        match self.try_run(chore).await {
            Ok(()) => {}
            Err(Error::ReadOnly { .. } | Error::Unavailable { .. } | Error::Overloaded { .. }) => {
                tracing::debug!(chore = name, "left undone: {name}");
            }
            Err(cause) => tracing::warn!(
                chore = name,
                cause = format!("{:#}", anyhow::Error::new(cause)),
                "could not {name}"
            ),
        }
    }

    async fn try_run(&self, chore: Chore) -> Result<(), Error> {
        let identity = &self.0.identity;
        match chore {
            Chore::Failed {
                account,
                network,
                attempt,
            } => {
                let Some(rules) = self.0.guard.rules() else {
                    return Ok(());
                };
                identity
                    .password_failed(account, network, &attempt, rules)
                    .await
            }
            Chore::Right { account, network } => {
                identity.password_was_right(account, network).await
            }
            Chore::Upgrade {
                account,
                old,
                password,
            } => {
                // Where too many passwords are being checked they come first.
                let Ok(new) = self.0.passwords.hash(password, &mut self.random()).await else {
                    return Ok(());
                };
                if identity.upgrade_password(account, &old, &new).await? {
                    tracing::info!(
                        account = account.get(),
                        "account {account}: the password's hash is argon2id now"
                    );
                }
                Ok(())
            }
        }
    }
}
