//! A primary, two replicas, and processes that reach them in different ways, all by proxies of their own.

use std::net::SocketAddr;
use std::time::Duration;

use super::pooler::settings;
use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::eventually;
use portolan_testkit::client::Client;
use portolan_testkit::pg_cluster::{PgBouncer, PgCluster, PgReplica, Session, TestDatabase};
use rustix::process::Signal;

use crate::app::{Options, Store, TestApp};

/// How a process reaches the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each of them directly.
    Direct,
    /// The replicas by one address that leads to either in turn, which nobody should configure.
    RoundRobin,
    /// The primary through a transaction pooler.
    Pooler,
}

/// How long the primary must be lost until replicas answer without it: most faults here are shorter.
const STALE_AFTER: Duration = Duration::from_millis(1_500);

/// How old what they then say of a private repository may be. Shorter than the longest fault, so that it ends.
pub(crate) const MAX_STALE: Duration = Duration::from_secs(3);

/// A process and its proxies.
pub(crate) struct Node {
    // Dropped in this order.
    pub(crate) app: TestApp,
    _pooler: Option<PgBouncer>,
    pub(crate) to_primary: ChaosProxy,
    pub(crate) to_replicas: Vec<ChaosProxy>,
    database: TestDatabase,
}

/// All of it.
pub(crate) struct Stage {
    // Dropped in this order.
    pub(crate) nodes: Vec<Node>,
    pub(crate) replicas: [PgReplica; 2],
    pub(crate) cluster: PgCluster,
    pub(crate) database: TestDatabase,
}

/// The role of a process behind a pooler, which has the settings that the others set for themselves.
const POOLED_ROLE: &str = "registry";

impl Stage {
    pub(crate) async fn start(ways: &[Way]) -> Self {
        let cluster = PgCluster::options().rewindable().start();
        let database = cluster.create_database().await;
        let replicas =
            tokio::task::block_in_place(|| [cluster.add_replica(), cluster.add_replica()]);
        prepare_pooled_role(&database).await;
        let mut nodes: Vec<Node> = Vec::new();
        for way in ways {
            let node = Node::start(
                *way,
                ways.len(),
                nodes.first(),
                &cluster,
                &replicas,
                &database,
            );
            nodes.push(node.await);
        }
        for replica in &replicas {
            replica.catch_up(cluster.primary()).await;
        }
        Self {
            nodes,
            replicas,
            cluster,
            database,
        }
    }

    /// Somebody with a token for `repository` at each process.
    pub(crate) async fn clients(&self, repository: &str) -> Vec<Client> {
        let token = self.token(repository).await;
        let bearer = |node: &Node| node.app.anonymous().bearer(&token);
        self.nodes.iter().map(bearer).collect()
    }

    /// A token for `repository`, good at every process.
    pub(crate) async fn token(&self, repository: &str) -> String {
        let first = &self.nodes[0].app;
        let scope = format!("repository:{repository}:pull,push");
        first.token(&first.admin(), &[&scope]).await
    }

    /// What the processes have logged as errors.
    pub(crate) fn errors(&self) -> String {
        let mut errors = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let log = node.app.log();
            for line in log.lines().filter(|line| line.contains("ERROR")) {
                errors.extend([&format!("process {number}: "), line, "\n"]);
            }
        }
        errors
    }

    /// Waits until replicas serve some of what this process is asked.
    pub(crate) async fn served_by_replicas(&self, node: usize) {
        let before = self.nodes[node].reads("replica").await;
        eventually("replicas serve", async || {
            self.nodes[node].reads("replica").await > before
        })
        .await;
    }

    /// Ends what the processes hold to the replicas. A session reports what it did once a second while it works and much
    /// later when it does not, but at last when it ends.
    pub(crate) async fn end_sessions_at_replicas(&self) {
        for replica in &self.replicas {
            let url = replica.server().socket_url(self.database.name());
            let session = Session::open(&url).await.expect("the replica answers");
            let sql = "SELECT pid, pg_terminate_backend(pid) \
                       FROM pg_stat_activity WHERE application_name LIKE 'portolan/%'";
            let ended = session.query(sql, &[]).await.expect("a superuser");
            let ended: Vec<i32> = ended.iter().map(|row| row.get(0)).collect();
            eventually("they have ended", async || {
                let sql = "SELECT FROM pg_stat_activity WHERE pid = ANY ($1)";
                let left = session.query(sql, &[&ended]).await;
                left.expect("a superuser").is_empty()
            })
            .await;
        }
    }

    /// How often the replicas looked a tag up.
    pub(crate) async fn lookups_at_replicas(&self) -> i64 {
        let mut sum = 0;
        for replica in &self.replicas {
            let url = replica.server().socket_url(self.database.name());
            let session = Session::open(&url).await.expect("the replica answers");
            let sql = "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'tag'";
            let row = session.query_one(sql, &[]).await;
            sum += row.expect("the table is there").get::<_, i64>(0);
        }
        sum
    }
}

async fn prepare_pooled_role(database: &TestDatabase) {
    let session = database.session().await;
    let role = format!("CREATE ROLE {POOLED_ROLE} SUPERUSER LOGIN");
    session.batch_execute(&role).await.expect("it is new");
    for sql in settings(POOLED_ROLE) {
        session.batch_execute(&sql).await.expect("a setting");
    }
}

impl Node {
    async fn start(
        way: Way,
        processes: usize,
        first: Option<&Self>,
        cluster: &PgCluster,
        replicas: &[PgReplica; 2],
        database: &TestDatabase,
    ) -> Self {
        let to_primary = ChaosProxy::start(cluster.primary().address()).await;
        let addresses = replicas
            .each_ref()
            .map(|replica| replica.server().address());
        let to_replicas = to_replicas(way, addresses).await;
        let direct = to_primary.through(database.url());
        let pooler = (way == Way::Pooler)
            .then(|| cluster.start_pooler(to_primary.address(), &[POOLED_ROLE]));
        let primary = match &pooler {
            Some(pooler) => pooler.url_as(POOLED_ROLE, database.name()),
            None => direct.clone(),
        };
        let replica_urls = list_of(&to_replicas, database);
        let mut settings = vec![
            ("DATABASE__PRIMARY", primary.as_str()),
            ("DATABASE__REPLICAS", &replica_urls),
        ];
        if pooler.is_some() {
            settings.push(("DATABASE__DIRECT", &direct));
        }
        let app = tokio::task::block_in_place(|| {
            if let Some(first) = first {
                return first.app.another_with(&settings);
            }
            let options = TestApp::options(Store::Directory)
                .with("DATABASE__POOL__PROCESSES", processes)
                .with("DATABASE__STALE_AFTER", milliseconds(STALE_AFTER))
                .with("DATABASE__MAX_STALE", milliseconds(MAX_STALE));
            let add = |options: Options, (name, value): (&str, &str)| options.with(name, value);
            let options = settings.into_iter().fold(options, add);
            options.start_on(database.clone(), &direct)
        });
        Self {
            app,
            _pooler: pooler,
            to_primary,
            to_replicas,
            database: database.clone(),
        }
    }

    /// Another process in the place of this one that knows only the replicas behind these of its proxies. `turn` is
    /// given its address before the old one is told to end.
    pub(crate) async fn replace(
        &mut self,
        replicas: std::ops::Range<usize>,
        turn: impl AsyncFnOnce(&TestApp),
    ) {
        let replicas = list_of(&self.to_replicas[replicas], &self.database);
        let settings = [("DATABASE__REPLICAS", replicas.as_str())];
        let new = tokio::task::block_in_place(|| self.app.another_with(&settings));
        turn(&new).await;
        let mut old = std::mem::replace(&mut self.app, new);
        old.server().signal(Signal::TERM);
        let ended = tokio::task::block_in_place(|| old.wait());
        assert!(ended.success(), "{ended:?}\n{}", old.log());
    }

    /// Reads that had to be fresh and were, served by replicas.
    pub(crate) async fn proven(&self) -> f64 {
        let labels = [
            r#"need="fresh""#,
            r#"server="replica""#,
            r#"reason="fresh""#,
        ];
        let name = "portolan_pg_reads_total";
        self.app.metric_with(name, &labels).await
    }

    /// Reads that the primary served because the address of the replicas leads to several.
    pub(crate) async fn refused_to_several(&self) -> f64 {
        let labels = [r#"reason="several_servers""#];
        let name = "portolan_pg_reads_total";
        self.app.metric_with(name, &labels).await
    }

    /// Reads that had to be fresh, by who served them.
    pub(crate) async fn reads(&self, server: &str) -> f64 {
        let labels = [r#"need="fresh""#, &format!(r#"server="{server}""#)];
        let name = "portolan_pg_reads_total";
        self.app.metric_with(name, &labels).await
    }

    /// Who served reads, and what ended the waits of writes, for people.
    pub(crate) async fn summary(&self) -> String {
        let mut summary = format!(
            "{} reads by replicas, {} by the primary; barriers",
            self.reads("replica").await,
            self.reads("primary").await
        );
        for outcome in ["at_once", "observed", "timer", "perhaps_lost"] {
            let label = format!(r#"outcome="{outcome}""#);
            let [count, seconds] = ["count", "sum"].map(|part| {
                let name = format!("portolan_pg_barrier_seconds_{part}");
                let (app, label) = (&self.app, label.as_str());
                async move { app.metric_with(&name, &[label]).await }
            });
            let (count, seconds) = tokio::join!(count, seconds);
            summary.extend([format!(" {outcome} {count} ({seconds:.1} s)")]);
        }
        summary
    }

    /// What is asked of the primary goes through these; cut, nothing gets there, with or without a pooler.
    pub(crate) fn fence(&self) {
        self.to_primary.cut();
    }

    /// The primary is here from now on.
    pub(crate) fn lead_to(&self, primary: SocketAddr) {
        self.to_primary.lead_to(primary);
        self.to_primary.restore();
    }
}

/// The setting that names the replicas behind these.
fn list_of(proxies: &[ChaosProxy], database: &TestDatabase) -> String {
    let url = |proxy: &ChaosProxy| format!("{:?}", proxy.through(database.url()));
    let urls: Vec<String> = proxies.iter().map(url).collect();
    format!("[{}]", urls.join(", "))
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

async fn to_replicas(way: Way, addresses: [SocketAddr; 2]) -> Vec<ChaosProxy> {
    if way == Way::RoundRobin {
        return vec![ChaosProxy::round_robin(&addresses).await];
    }
    let mut proxies = Vec::new();
    for address in addresses {
        proxies.push(ChaosProxy::start(address).await);
    }
    proxies
}
