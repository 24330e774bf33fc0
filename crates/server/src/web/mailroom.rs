//! Mails of recovery: looked up and sent beside requests, so that no answer tells whether there was one to send.

use super::problem::Problem;
use crate::config::Mail;
use crate::shutdown::Tasks;
use anyhow::Context as _;
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use portolan_auth::Secret;
use portolan_metadata::accounts::EmailAddress;
use portolan_registry::identity::{Actor, Addressee, Identity};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::ExposeSecret as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Mails that may wait: one takes a second at most of servers, so a minute's worth.
const WAITING_MAX: usize = 64;

/// A mail server that takes longer for one of its answers is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody's wish for a mail.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) address: EmailAddress,
    pub(super) actor: Actor,
}

/// Takes wishes for mails; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Mailroom(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    post: Option<Post>,
    identity: Identity,
    sender: Sender<Asked>,
    /// Until somebody works.
    waiting: Mutex<Option<(Receiver<Asked>, StdRng)>>,
}

/// How mails are sent.
#[derive(Debug)]
struct Post {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// What the registry is called, if its configuration says so: never what a request called it.
    registry: Option<String>,
}

impl Mailroom {
    /// As configured; touches no mail server.
    pub(crate) fn new(
        mail: &Mail,
        registry: Option<String>,
        identity: Identity,
        random: StdRng,
    ) -> anyhow::Result<Self> {
        let post = match (&mail.url, &mail.from) {
            (Some(url), Some(from)) => Some(Post {
                server: AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())
                    .context("`mail.url` cannot be used")?
                    .timeout(Some(PATIENCE))
                    .build(),
                from: from.parse().context("`mail.from` is no address")?,
                registry,
            }),
            _ => None,
        };
        let (sender, receiver) = channel(WAITING_MAX);
        Ok(Self(Arc::new(Inner {
            post,
            identity,
            sender,
            waiting: Mutex::new(Some((receiver, random))),
        })))
    }

    /// Whether mails can be sent.
    pub(super) fn is_set_up(&self) -> bool {
        self.0.post.is_some()
    }

    /// Wishes for a mail.
    pub(super) fn ask(&self, asked: Asked) -> Result<(), Problem> {
        self.0.sender.try_send(asked).map_err(|_| Problem::TooMany {
            retry_after: PATIENCE,
        })
    }

    /// Sends what is wished for until `tasks` are to end.
    pub(crate) fn work(&self, tasks: &Tasks) {
        let slot = &self.0.waiting;
        let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut receiver, mut random)) = taken else {
            return;
        };
        let (room, stopping) = (self.clone(), tasks.stopping().clone());
        tasks.spawn("mails", async move {
            while let Some(Some(asked)) = stopping.run_until_cancelled(receiver.recv()).await {
                // Cut off when the process ends: whoever waits for a mail asks again.
                let sent = stopping.run_until_cancelled(room.send(asked, &mut random));
                if let Some(Err(cause)) = sent.await {
                    let cause = format!("{cause:#}");
                    tracing::warn!(cause, "could not send a mail: {cause}");
                }
            }
        });
    }

    async fn send(&self, asked: Asked, random: &mut StdRng) -> anyhow::Result<()> {
        let Some(post) = &self.0.post else {
            return Ok(());
        };
        let begun = self
            .0
            .identity
            .begin_recovery(&asked.actor, &asked.address, &mut StdRng::from_rng(random))
            .await?;
        let Some((addressee, secret)) = begun else {
            return Ok(());
        };
        let mail = post.recovery(&addressee, &secret)?;
        post.server.send(mail).await?;
        tracing::info!(
            account = addressee.account.as_str(),
            "sent a mail to recover account `{}`",
            addressee.account
        );
        Ok(())
    }
}

impl Post {
    fn recovery(&self, to: &Addressee, secret: &Secret) -> anyhow::Result<Message> {
        let registry = self.registry.as_deref().unwrap_or("a container registry");
        let body = format!(
            // Lines that need no folding.
            "Somebody asked for a new password.\n\n\
             Registry: {registry}\n\
             Account: {account}\n\n\
             With this token you can choose one within an hour:\n\n\
             {token}\n\n\
             If it was not you, do nothing.\n",
            account = to.account,
            token = secret.text().expose_secret(),
        );
        Message::builder()
            .from(self.from.clone())
            .to(to.address.parse().context("the account's address")?)
            .subject("A new password")
            .body(body)
            .context("the mail cannot be written")
    }
}
