//! The order of a start and of a stop.
//!
//! The address and the folder are taken before anything is made, so that a start that cannot go on leaves nothing.
//! Whatever happens after Postgres was started, it is stopped before this returns.

use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context as _;
use portolan_metadata::migrate;
use rand::rngs::StdRng;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::account::Account;
use super::announce::{self, Announcement};
use super::cluster::Cluster;
use super::error::Error;
use super::folder::Folder;
use super::postmaster::{self, Postmaster};
use super::programs::{self, Programs};
use super::secrets;
use super::settings::Settings;
use crate::config::Config;
use crate::{admin, serve, wire};

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = crate::shutdown::on_signal()?;
    let folder = Folder::open(&args.data)?;
    let taken = take(&args, &folder).await;
    let (listener, programs, account) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            folder.discard_if_made();
            return Err(error.into());
        }
    };
    let cluster = unless(&stop, prepare(&folder, &programs, account)).await??;
    let mut postmaster = Postmaster::spawn(&folder, &cluster, &programs, account).await?;
    let outcome = with_postgres(
        &mut postmaster,
        &folder,
        &cluster,
        &programs,
        listener,
        &stop,
    )
    .await;
    postmaster.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What a start needs of the machine, before it makes anything.
async fn take(args: &Args, folder: &Folder) -> Result<(TcpListener, Programs, Account), Error> {
    let listener = bind(args.listen)?;
    let path = Cluster::path_in(folder);
    let account = Account::choose(&path)?;
    let wanted = programs::major_of(&path);
    let programs = Programs::find(args.postgres.as_deref(), wanted, account, folder.path()).await?;
    Ok((listener, programs, account))
}

async fn prepare(folder: &Folder, programs: &Programs, account: Account) -> Result<Cluster, Error> {
    let cluster = Cluster::open_or_make(folder, programs, account).await?;
    postmaster::stop_left_over(&cluster).await?;
    Ok(cluster)
}

async fn with_postgres(
    postmaster: &mut Postmaster,
    folder: &Folder,
    cluster: &Cluster,
    programs: &Programs,
    listener: TcpListener,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    unless(stop, postmaster.ready(cluster)).await??;
    tokio::select! {
        outcome = operate(folder, cluster, programs, listener, stop) => outcome,
        error = postmaster.ended() => Err(error.into()),
    }
}

/// From a running Postgres to the last answered request.
async fn operate(
    folder: &Folder,
    cluster: &Cluster,
    programs: &Programs,
    listener: TcpListener,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("cannot read the address listened on")?;
    let host = announce::host(address);
    let private = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let private_address = private
        .local_addr()
        .context("cannot read the address listened on")?;

    migrate_up(folder, cluster, stop).await?;
    let mut rng = wire::random()?;
    let key = secrets::sealing_key(folder, &mut rng)?;
    let password = secrets::password(folder, &format!("http://{host}"), &mut rng)?;
    let settings = Settings {
        folder,
        cluster,
        key,
        listen: address,
        private: private_address,
    };
    settings.keep_for_other_commands()?;

    let config = settings.config(&password.value);
    if password.is_new {
        // The file of an older start was lost or thrown away; an account it was for has to learn the new one.
        unless(stop, reset_password(&config, &mut rng)).await??;
    }
    let listeners = serve::Listeners {
        public: Some(listener),
        private: Some(private),
    };
    serve::run(config, listeners, stop.clone(), || {
        let announcement = Announcement {
            host: &host,
            private: private_address,
            password: password.is_new.then(|| password.value.expose_secret()),
            folder: folder.path(),
            postgres: programs.version(),
        };
        // Nobody reads the screen: the facts are in the folder too.
        let _ = write!(io::stdout().lock(), "{announcement}");
        let _ = io::stdout().flush();
    })
    .await
}

/// Brings the schema up to date; a newer one is left as it is.
async fn migrate_up(
    folder: &Folder,
    cluster: &Cluster,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    match unless(stop, migrate::up(&cluster.url())).await? {
        Ok(_) => Ok(()),
        Err(portolan_metadata::Error::SchemaTooNew { found, newest }) => Err(Error::SchemaNewer {
            path: folder.path().to_path_buf(),
            found,
            newest,
        }
        .into()),
        Err(error) => Err(error).context("cannot bring the database up to date"),
    }
}

async fn reset_password(config: &Config, rng: &mut StdRng) -> anyhow::Result<()> {
    let router = wire::database_for_command(config, "quickstart", rng)?;
    let outcome = admin::reset_password(&config.admin, &router, rng).await;
    router.close().await;
    outcome
}

/// Listens on `address`, telling a taken port from other refusals.
fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken {
            address,
            suggestion: SocketAddr::new(address.ip(), 0),
        },
        _ => Error::Listen { address, source },
    })
}

/// The outcome of `work`, unless a signal comes first; `work` is dropped then.
async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        outcome = work => Ok(outcome),
        () = stop.cancelled() => Err(Error::Interrupted),
    }
}
