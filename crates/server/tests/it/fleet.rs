//! A registry whose database has a streaming replica.

use crate::app::{Options, TestApp, command};
use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::pg_cluster::{PgCluster, PgReplica, TestDatabase};

/// A registry over a primary and one replica of its own.
pub(crate) struct Fleet {
    // Dropped in this order.
    pub(crate) app: TestApp,
    pub(crate) replica: PgReplica,
    pub(crate) cluster: PgCluster,
}

impl Fleet {
    pub(crate) async fn start(options: Options) -> Self {
        let (cluster, database, replica) = migrated().await;
        let url = database.url().to_owned();
        Self::launch(options, cluster, database, replica, &url)
    }

    /// The same with a proxy between the registry and the primary; the replica follows the primary directly.
    pub(crate) async fn start_behind_a_proxy(options: Options) -> (Self, ChaosProxy) {
        let (cluster, database, replica) = migrated().await;
        let proxy = ChaosProxy::start(cluster.primary().address()).await;
        let url = proxy.through(database.url());
        (
            Self::launch(options, cluster, database, replica, &url),
            proxy,
        )
    }

    fn launch(
        options: Options,
        cluster: PgCluster,
        database: TestDatabase,
        replica: PgReplica,
        url: &str,
    ) -> Self {
        let replicas = replica.server().url(database.name());
        let options = options.with("DATABASE__REPLICAS", format!("[\"{replicas}\"]"));
        Self {
            app: options.start_over(database, url),
            replica,
            cluster,
        }
    }

    /// Pulls until the replica has served a read.
    pub(crate) async fn served_by_the_replica(&self, target: &str) {
        let served = "portolan_pg_reads_total{need=\"fresh\",server=\"replica\",reason=\"fresh\"}";
        let before = self.app.metric(served).await;
        eventually("the replica serves", async || {
            self.app.admin().get(target).await.expect(200);
            self.app.metric(served).await > before
        })
        .await;
    }
}

async fn migrated() -> (PgCluster, TestDatabase, PgReplica) {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    let primary = [(
        "PORTOLAN_DATABASE__PRIMARY".to_owned(),
        database.url().to_owned(),
    )];
    run(command(&primary).args(["migrate", "up"]));
    let replica = cluster.add_replica();
    (cluster, database, replica)
}
