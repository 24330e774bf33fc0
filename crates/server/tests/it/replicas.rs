//! Processes over a primary and a streaming replica, as an operator configures them.

use crate::app::{Options, Store, TestApp, command, push, repository};
use portolan_testkit::children::{eventually, run};
use portolan_testkit::image::Image;
use portolan_testkit::pg_cluster::{PgCluster, PgReplica};

/// A registry over a primary and one replica of its own.
struct Fleet {
    // Dropped in this order.
    app: TestApp,
    replica: PgReplica,
    cluster: PgCluster,
}

impl Fleet {
    async fn start(options: Options) -> Self {
        let cluster = PgCluster::start();
        let database = cluster.create_database().await;
        let primary = [(
            "PORTOLAN_DATABASE__PRIMARY".to_owned(),
            database.url().to_owned(),
        )];
        run(command(&primary).args(["migrate", "up"]));
        let replica = cluster.add_replica();
        let url = replica.server().url(database.name());
        let options = options.with("DATABASE__REPLICAS", format!("[\"{url}\"]"));
        let app = options.start_over(database);
        Self {
            app,
            replica,
            cluster,
        }
    }

    /// Pulls until the replica has served a read.
    async fn served_by_the_replica(&self, target: &str) {
        let served = "portolan_pg_reads_total{need=\"fresh\",server=\"replica\",reason=\"fresh\"}";
        let before = self.app.metric(served).await;
        eventually("the replica serves", async || {
            self.app.admin().get(target).await.expect(200);
            self.app.metric(served).await > before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_serves_pulls_in_every_mode_of_proof() {
    for mode in ["wal", "beacon", "read_index"] {
        let options = TestApp::options(Store::Directory)
            .with("DATABASE__FRESHNESS", mode)
            .with("DATABASE__LANES__PER_SERVER", 1)
            .with("DATABASE__LANES__BATCH_KEYS", 16)
            .with("DATABASE__LANES__QUEUE_KEYS", 64)
            .with("DATABASE__FLOORS__POLL_MIN", "20ms")
            .with("DATABASE__FLOORS__POLL_MAX", "40ms");
        let fleet = Fleet::start(options).await;
        let name = repository("replicated");
        let image = Image::random(3);
        push(&fleet.app.admin(), &name, "v1", &image).await;
        let target = format!("/v2/{name}/manifests/v1");
        fleet.served_by_the_replica(&target).await;
        // One connection for its lane and no more.
        let open = fleet
            .app
            .metric("portolan_pg_connections_open{server=\"replica\"}")
            .await;
        assert!(
            open <= 1.0,
            "{open} connections to the replica in mode {mode}"
        );
        fleet.app.settled().await;
        drop(fleet);
    }
}
