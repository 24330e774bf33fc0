//! Makes one connection: address, TLS, login, session settings, a check of the server's role, and the task that
//! drives it until it ends. How often and how many at once is the business of [`crate::dial`].

use std::{
    future::pending,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use deadpool_postgres::ClientWrapper;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_postgres::{Config, NoTls};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    connection::{Ending, Life},
    endpoint::Endpoint,
    error::DialError,
    identify::{Cluster, Peer, identify},
    metrics::{CloseReason, Metrics, Role},
    policy::Policy,
    router::Knowledge,
    session::PLANNER,
};

/// How long a line may carry nothing that is answered before the kernel gives it up: time for two or three
/// retransmissions in one region, and short enough that a vanished server is not waited for by a whole pool.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// A quiet line is probed after this long; below the minute or two after which address translators forget a line.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Between the probes. The system's own (75 s, nine times) would keep a dead line for eleven minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Probes without an answer until the line is given up: with the interval, about as long as [`TCP_USER_TIMEOUT`].
const KEEPALIVE_PROBES: u32 = 3;

/// Everything needed to make a connection to one server.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) role: Role,
    endpoint: Endpoint,
    timeout: Duration,
    farewell: Duration,
    tracker: TaskTracker,
    alive: Arc<AtomicUsize>,
    surroundings: Surroundings,
    metrics: Metrics,
}

/// What all connections of a router have in common.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// What is known of the servers, and what time it is.
    pub(crate) knowledge: Arc<Knowledge>,
    /// Which cluster they lead to.
    pub(crate) cluster: Arc<Cluster>,
    /// The name of this process among those that share the cluster.
    pub(crate) process: Uuid,
}

/// A connection that has just been made.
pub(crate) struct Fresh {
    pub(crate) client: ClientWrapper,
    pub(crate) ending: Arc<Ending>,
    pub(crate) peer: Peer,
}

impl Connector {
    pub(crate) fn new(
        role: Role,
        mut endpoint: Endpoint,
        policy: &Policy,
        tracker: TaskTracker,
        alive: Arc<AtomicUsize>,
        surroundings: Surroundings,
        metrics: Metrics,
    ) -> Self {
        prepare(&mut endpoint.config, policy, role, surroundings.process);
        Self {
            role,
            endpoint,
            timeout: policy.dial.timeout,
            farewell: policy.age.farewell,
            tracker,
            alive,
            surroundings,
            metrics,
        }
    }

    /// Makes one connection.
    ///
    /// Cancel safe: an unfinished attempt is closed.
    pub(crate) async fn connect(&self) -> Result<Fresh, DialError> {
        timeout(self.timeout, self.handshake())
            .await
            .unwrap_or(Err(DialError::TimedOut {
                after: self.timeout,
            }))
    }

    /// Cancel safe: the task that drives the connection ends with its client.
    async fn handshake(&self) -> Result<Fresh, DialError> {
        let refused = |error| DialError::Refused(Arc::new(error));
        let config = &self.endpoint.config;
        let (client, ending) = if let Some(tls) = &self.endpoint.tls {
            let (client, connection) = config.connect(tls.clone()).await.map_err(refused)?;
            (client, self.drive(connection))
        } else {
            let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
            (client, self.drive(connection))
        };
        let (farewell, ending) = ending;
        // The driver is told by the end of this task that nobody holds the connection any more: deadpool aborts it
        // when the client is dropped. Were it the driver itself, the line would be cut without a Terminate message,
        // and Postgres counts (`sessions_abandoned`) and may log each of those.
        let watch = self.tracker.spawn(async move {
            let _farewell = farewell.drop_guard();
            pending::<()>().await;
        });
        let client = ClientWrapper::new(client, watch);
        let address = self.endpoint.name();
        let peer = identify(&client, self.role, &self.surroundings, &address).await?;
        if self.role == Role::Primary {
            self.surroundings.knowledge.primary_answered();
        }
        Ok(Fresh {
            client,
            ending,
            peer,
        })
    }

    /// Starts the task that moves the connection's bytes and counts it until it is closed.
    fn drive<S, T>(
        &self,
        connection: tokio_postgres::Connection<S, T>,
    ) -> (CancellationToken, Arc<Ending>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let farewell = CancellationToken::new();
        let ending = Arc::new(Ending::default());
        let life = Life::begin(
            self.role,
            Arc::clone(&ending),
            Arc::clone(&self.alive),
            self.metrics.clone(),
        );
        let (limit, dropped, role) = (self.farewell, farewell.clone(), self.role);
        self.tracker.spawn(async move {
            let mut connection = Box::pin(connection);
            let ended = tokio::select! {
                biased;
                () = dropped.cancelled() => None,
                ended = &mut connection => Some(ended),
            };
            match ended {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(server = %role, error = %DisplayChain(&error), "a connection to the database ended");
                }
                // What was sent is finished, then Terminate. A line that does not answer is cut.
                None => {
                    if life.dropped(CloseReason::Shutdown).says_goodbye() {
                        let _ = timeout(limit, connection).await;
                    }
                }
            }
        });
        (farewell, ending)
    }
}

/// Adds what every session of ours has to what the URL asked for.
fn prepare(config: &mut Config, policy: &Policy, role: Role, process: Uuid) {
    config.application_name(&policy.application_name);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(policy.dial.timeout);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    config
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_PROBES);
    if policy.pooler && role == Role::Primary {
        // A pooler drops `options`, or leaks them into the sessions of others: there the role has the settings.
        return;
    }
    let planner = PLANNER.map(|(name, value)| format!("-c {name}={value}"));
    let options = format!(
        "{} -c statement_timeout={} -c idle_in_transaction_session_timeout={} \
         {} -c synchronous_commit=on \
         -c default_transaction_isolation=read\\ committed -c portolan.process={process}",
        config.get_options().unwrap_or_default(),
        policy.limits.lane.as_millis(),
        policy.limits.idle_in_transaction.as_millis(),
        planner.join(" "),
    );
    config.options(options.trim_start());
}

/// An error with its causes, on one line: the driver's own text says only "db error".
pub(crate) struct DisplayChain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for DisplayChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
