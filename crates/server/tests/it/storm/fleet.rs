//! Twenty processes, each with a proxy of its own on the way to one Postgres.

use std::sync::Arc;
use std::thread;

use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use portolan_testkit::pg_cluster::{PgCluster, Session};

use super::load::{Puller, Target};
use crate::app::{Store, TestApp, push};

/// How many.
pub(crate) const PROCESSES: usize = 20;

/// The most sessions of each, as configured by default.
pub(crate) const SESSIONS_EACH: usize = 8;

/// Tags that are pulled.
const TAGS: u64 = 10;

const REPOSITORY: &str = "storm/private";

/// The processes and what is between them and their database.
pub(crate) struct Fleet {
    // Dropped in this order.
    pub(crate) processes: Vec<TestApp>,
    pub(crate) proxies: Vec<ChaosProxy>,
    pub(crate) cluster: PgCluster,
    database: String,
    targets: Arc<Vec<Target>>,
}

impl Fleet {
    /// Starts all of them, and pushes what will be pulled.
    pub(crate) async fn start() -> Self {
        let cluster = PgCluster::start();
        let database = cluster.create_database().await;
        let mut proxies = Vec::new();
        for _ in 0..PROCESSES {
            proxies.push(ChaosProxy::start(cluster.primary().address()).await);
        }
        let urls: Vec<String> = proxies
            .iter()
            .map(|proxy| proxy.through(database.url()))
            .collect();
        let first = TestApp::options(Store::Directory)
            // Jobs look for work once a minute, which is a session.
            .with("ROLES", r#"["registry"]"#)
            .with("DATABASE__POOL__PROCESSES", PROCESSES)
            .start_on(database.clone(), &urls[0]);
        let others = tokio::task::block_in_place(|| {
            thread::scope(|scope| {
                let starting: Vec<_> = urls[1..]
                    .iter()
                    .map(|url| scope.spawn(|| first.another_with(&[("DATABASE__PRIMARY", url)])))
                    .collect();
                let started = starting.into_iter().map(thread::ScopedJoinHandle::join);
                started
                    .map(|app| app.expect("it starts"))
                    .collect::<Vec<_>>()
            })
        });
        let client = first.admin();
        let mut targets = Vec::new();
        for seed in 0..TAGS {
            let (tag, image) = (format!("v{seed}"), Image::random(seed));
            push(&client, REPOSITORY, &tag, &image).await;
            let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
            targets.push((target, image.manifest));
        }
        let processes = std::iter::once(first).chain(others).collect();
        Self {
            processes,
            proxies,
            cluster,
            database: database.name().to_owned(),
            targets: Arc::new(targets),
        }
    }

    /// Somebody with a token at each process.
    pub(crate) async fn pullers(&self) -> Vec<Puller> {
        let first = &self.processes[0];
        let scope = format!("repository:{REPOSITORY}:pull,push");
        let token = first.token(&first.admin(), &[&scope]).await;
        let clients = self.processes.iter().map(TestApp::anonymous);
        let with_token: Vec<Client> = clients.map(|client| client.bearer(&token)).collect();
        let puller = |client| Puller {
            client,
            targets: Arc::clone(&self.targets),
        };
        with_token.into_iter().map(puller).collect()
    }

    /// A way to the database that is cut with the others.
    pub(crate) fn through_the_first_proxy(&self) -> String {
        let url = self.cluster.primary().url("postgres");
        self.proxies[0].through(&url)
    }

    /// Sessions of the registry.
    pub(crate) async fn sessions(&self) -> i64 {
        let url = self.cluster.primary().socket_url(&self.database);
        let session = Session::open(&url).await.expect("the database answers");
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'portolan/%'";
        session.query_one(sql, &[]).await.expect("it counts").get(0)
    }
}
