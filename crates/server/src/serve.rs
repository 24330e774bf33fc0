//! `portolan serve`: from a configuration to a process that has ended well.
//!
//! The start, in this order: bind both addresses (a taken port ends it here); answer on the private listener; wait for
//! the database and check its schema; put the parts together; answer on the public listener; run jobs. Where the
//! database is away the process waits for it, alive and not ready, instead of ending and being started again.
//! The end is in [`crate::shutdown`].

use crate::config::{self, Config, Need, Role};
use crate::doctor::{self, Grantee, Place, advice};
use crate::health::{Health, Phase};
use crate::instruments::Instruments;
use crate::layer::request_id::RequestIds;
use crate::listen::{self, Pair, Stop};
use crate::router::{self, Around};
use crate::shutdown::{self, Tasks};
use crate::wire::{self, App};
use crate::worker::{self, Worker, WorkerParts};
use crate::{admin, precheck, private, telemetry, token};
use anyhow::Context as _;
use portolan_metadata::migrate;
use portolan_pg::{Router, Survey};
use portolan_registry::pulls::Pulls;
use portolan_registry::upload::Uploads;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Sockets that are bound already; a missing one is bound to its configured address.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// For everybody.
    pub(crate) public: Option<TcpListener>,
    /// For those who look after this process.
    pub(crate) private: Option<TcpListener>,
}

/// `portolan serve`.
pub(crate) async fn command(file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let loaded = config::load(file, Need::Everything)?;
    telemetry::start(&loaded.config.log);
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let stop = shutdown::on_signal().context("cannot listen for signals")?;
    run(loaded.config, Listeners::default(), stop, || {}).await?;
    Ok(ExitCode::SUCCESS)
}

/// Serves until `shutdown` is cancelled and what was at work is done. Calls `ready` when requests are answered.
pub(crate) async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
    ready: impl FnOnce() + Send,
) -> anyhow::Result<()> {
    telemetry::start(&config.log);
    let public = bound(listeners.public, config.http.listen)?;
    let private = bound(listeners.private, config.http.private_listen)?;
    let mut random = wire::random()?;
    let Instruments {
        page,
        database,
        uploads,
        pulls,
        logins,
        requests,
        jobs,
    } = Instruments::of(&config, &mut random)?;
    let health = Health::new(database.clone());
    let around = Around {
        ids: RequestIds::new(random.next_u64()),
        metrics: requests,
    };

    let private_stop = Stop::new();
    let processes = wire::processes(&config);
    let private_service = private::routes(health.clone(), database.clone(), processes, page);
    let private_server = listen::serve_private(private, private_service, private_stop.clone());
    let process = Process {
        config,
        database,
        health,
        around,
        job_metrics: jobs,
        pulls,
        logins,
        random,
    };
    let work = async {
        let outcome = process.work(public, uploads, shutdown, ready).await;
        private_stop.gracefully(PRIVATE_DRAIN);
        outcome
    };
    tokio::pin!(private_server);
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut private_server => {
            outcome.context("the private listener failed")?;
            work.await
        }
        outcome = &mut work => {
            // Its listener is closed; connections that scrapers keep open do not hold up the end.
            let _ = private_server.await;
            outcome
        }
    }
}

/// Probes and scrapes take milliseconds.
const PRIVATE_DRAIN: Duration = Duration::from_millis(500);
/// Tasks that are told to stop have nothing to finish but a statement.
const TASKS_END: Duration = Duration::from_secs(5);
/// A part on its way to the store, and a row.
const UPLOADS_END: Duration = Duration::from_secs(10);
/// A statement; where the primary is lost it will not come back just now.
const PULLS_END: Duration = Duration::from_secs(3);
/// Connections say goodbye to Postgres; a server that does not answer is not waited for.
const DATABASE_END: Duration = Duration::from_secs(5);

fn bound(given: Option<TcpListener>, address: SocketAddr) -> anyhow::Result<TcpListener> {
    match given {
        Some(listener) => Ok(listener),
        None => listen::bind(address).with_context(|| format!("cannot listen on `{address}`")),
    }
}

/// What a process is made of before the database has been seen.
struct Process {
    config: Config,
    database: Router,
    health: Health,
    around: Around,
    job_metrics: worker::Metrics,
    pulls: Pulls,
    logins: token::Metrics,
    random: StdRng,
}

impl Process {
    /// From the database's first answer to the last connection closed.
    async fn work(
        mut self,
        public: TcpListener,
        uploads: Uploads,
        shutdown: CancellationToken,
        ready: impl FnOnce() + Send,
    ) -> anyhow::Result<()> {
        let Some(app) = shutdown
            .run_until_cancelled(Box::pin(self.prepare(uploads)))
            .await
        else {
            self.end_database().await;
            return Ok(());
        };
        let app = app?;
        let address = public
            .local_addr()
            .context("cannot read the address listened on")?;
        let tasks = Tasks::default();
        let stop = Stop::new();
        let mut server = self.answer(public, app.clone(), &tasks, stop.clone())?;
        app.auth.do_chores(&tasks);
        app.mailroom.work(&tasks);
        let database = self.database.clone();
        tasks.spawn("replicas", async move { say_of_replicas(&database).await });
        let (pulls, database) = (self.pulls.clone(), self.database.clone());
        tasks.spawn("pulls", pulls.run(database, tasks.stopping().clone()));
        if self.config.has(Role::Worker) {
            Worker::start(
                &tasks,
                WorkerParts {
                    router: self.database.clone(),
                    registry: app.registry.clone(),
                    duties: wire::duties(&self.config, &self.database)?,
                    metrics: self.job_metrics.clone(),
                    concurrency: usize::try_from(self.config.jobs.concurrency)?,
                    random: StdRng::from_rng(&mut self.random),
                },
            );
        }
        self.health.enter(Phase::Serving);
        tracing::info!(%address, "serving on {address}");
        ready();
        let failed = tokio::select! {
            () = shutdown.cancelled() => None,
            outcome = &mut server => Some(outcome),
        };
        self.health.enter(Phase::Draining);
        let outcome = match failed {
            Some(outcome) => outcome?.context("the public listener failed"),
            None => self.drain(stop, server, &tasks).await,
        };
        if !tasks.finish(TASKS_END).await {
            tracing::warn!("some tasks did not end in time");
        }
        // What clients sent before they were cut off is written down, so that they can go on elsewhere.
        if tokio::time::timeout(UPLOADS_END, app.registry.drain_uploads())
            .await
            .is_err()
        {
            tracing::warn!("some uploads did not end in time");
        }
        let _ = tokio::time::timeout(PULLS_END, self.pulls.flush(&self.database)).await;
        let counts = self.pulls.waits();
        if counts > 0 {
            tracing::warn!(
                counts,
                "{counts} counts of pulls could not be written down and are lost"
            );
        }
        self.end_database().await;
        outcome
    }

    /// Waits for the database, checks it, and puts the parts together.
    async fn prepare(&mut self, uploads: Uploads) -> anyhow::Result<App> {
        let processes = wire::processes(&self.config);
        let survey = await_database(&self.database, processes, &mut self.random).await?;
        precheck::judge(&survey)?;
        let app = wire::app(
            &self.config,
            uploads,
            self.pulls.clone(),
            self.logins.clone(),
            &self.database,
            &mut self.random,
        )
        .await?;
        admin::ensure_account(&self.config.admin, &self.database, &mut self.random).await?;
        Ok(app)
    }

    /// Starts to answer on the public listener.
    fn answer(
        &self,
        listener: TcpListener,
        app: App,
        tasks: &Tasks,
        stop: Stop,
    ) -> anyhow::Result<JoinHandle<io::Result<()>>> {
        let http = self.config.http.clone();
        let tls = match Pair::of(&http.tls) {
            None => None,
            Some(pair) => {
                let live = pair
                    .load()
                    .context("cannot use the configured certificate")?;
                listen::watch_tls(tasks, pair, live.clone(), http.tls.check_every);
                Some(live)
            }
        };
        let service = router::service(app, &self.config, self.around.clone());
        Ok(tasks.spawn("public", async move {
            listen::serve_public(listener, &http, tls, service, stop).await
        }))
    }

    /// Lets load balancers notice, closes the listener and waits for the requests at work.
    async fn drain(
        &self,
        stop: Stop,
        server: JoinHandle<io::Result<()>>,
        tasks: &Tasks,
    ) -> anyhow::Result<()> {
        let drain = &self.config.http.drain;
        tasks.stopping().cancel();
        tokio::time::sleep(drain.delay).await;
        let connections = stop.connections();
        tracing::info!(
            connections,
            "closed the listener; {connections} connections to finish"
        );
        stop.gracefully(drain.timeout);
        server.await?.context("the public listener failed")
    }

    async fn end_database(&self) {
        let _ = tokio::time::timeout(DATABASE_END, self.database.close()).await;
    }
}

/// Says at the start what is wrong with the configured replicas; what becomes of them later is counted.
async fn say_of_replicas(database: &Router) {
    for finding in doctor::reached(&database.reach_replicas().await, &Grantee::of(database)) {
        tracing::warn!("{finding}");
    }
}

/// The longest wait between two tries to reach the database at the start.
const RETRY_CAP: Duration = Duration::from_secs(2);
/// How often, at most, the log says that the database is still away.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// Waits until the database answers, and ends if its schema is none that this program works with.
async fn await_database(
    database: &Router,
    processes: NonZeroU32,
    random: &mut StdRng,
) -> anyhow::Result<Survey> {
    let mut reminded: Option<tokio::time::Instant> = None;
    loop {
        let error = match look(database, processes).await {
            Ok(survey) => return Ok(survey),
            Err(portolan_metadata::Error::Pg(error)) if may_pass(&error) => error,
            Err(portolan_metadata::Error::Pg(error)) => {
                let advice = advice(&error, Place::Primary, &Grantee::of(database));
                return Err(anyhow::anyhow!("{:#}; {advice}", anyhow::Error::new(error)));
            }
            Err(error) => return Err(error.into()),
        };
        if reminded.is_none_or(|last| last.elapsed() >= REMIND_EVERY) {
            reminded = Some(tokio::time::Instant::now());
            let advice = advice(&error, Place::Primary, &Grantee::of(database));
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(error, advice, "waiting for the database: {error}; {advice}");
        }
        tokio::time::sleep(random.random_range(RETRY_CAP / 10..=RETRY_CAP)).await;
    }
}

/// Whether waiting may help. A wrong password or a missing database are for somebody to correct.
fn may_pass(error: &portolan_pg::Error) -> bool {
    match error {
        portolan_pg::Error::Unavailable { source, .. } => !source.is_for_good(),
        other => other.is_overload() || other.is_connection_lost(),
    }
}

async fn look(
    database: &Router,
    processes: NonZeroU32,
) -> Result<Survey, portolan_metadata::Error> {
    let step = migrate::check(&database.read_primary().await?).await?;
    tracing::debug!(step, "the schema is at step {step}");
    Ok(database.survey(processes).await?)
}
