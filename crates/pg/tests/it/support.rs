//! A database, a router to it, and a look at both from outside.

use std::time::Duration;

use portolan_pg::{
    AcquirePolicy, AgePolicy, CloseReason, DialPolicy, Endpoint, Error, Metrics, PointRead, Policy,
    Read, Role, Router, Share, Statement, point_statement,
};
use portolan_testkit::{
    children::eventually,
    pg_cluster::{PgCluster, Session, TestDatabase},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use secrecy::SecretString;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

pub(crate) const APPLICATION: &str = "portolan/test";

/// The process id of the server's side of a connection.
pub(crate) static BACKEND: Statement = Statement {
    name: "test.backend",
    sql: "SELECT pg_backend_pid()",
    types: &[],
};

/// Keeps a connection busy for `$1` seconds.
pub(crate) static SLEEP: Statement = Statement {
    name: "test.sleep",
    sql: "SELECT pg_sleep($1)",
    types: &[Type::FLOAT8],
};

pub(crate) static INSERT: Statement = Statement {
    name: "test.insert",
    sql: "INSERT INTO item (name, size) VALUES ($1, $2)",
    types: &[Type::TEXT, Type::INT8],
};

pub(crate) static UPDATE_ALL: Statement = Statement {
    name: "test.update_all",
    sql: "UPDATE item SET size = size + 1",
    types: &[],
};

pub(crate) static COUNT: Statement = Statement {
    name: "test.count",
    sql: "SELECT count(*) FROM item",
    types: &[],
};

/// A point read of an item's size by its name.
#[derive(Debug)]
pub(crate) struct ItemSize;

impl PointRead for ItemSize {
    type Key = String;
    type Row = i64;

    const STATEMENT: Statement = point_statement!(
        "test.item_size",
        [TEXT_ARRAY],
        "SELECT k.ord, t.size \
         FROM unnest($1::text[]) WITH ORDINALITY AS k (name, ord) \
         CROSS JOIN LATERAL (SELECT i.size FROM item AS i WHERE i.name = k.name LIMIT 1) AS t",
    );

    /// Those whose names begin alike.
    fn party(key: &String) -> u64 {
        key.bytes().next().unwrap_or_default().into()
    }

    fn columns(keys: &[&String]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let names: Vec<String> = keys.iter().map(|&key| key.clone()).collect();
        vec![Box::new(names)]
    }

    fn decode(row: &Row) -> Result<i64, tokio_postgres::Error> {
        row.try_get(1)
    }
}

/// The default policy with ages short enough for a test, and deadlines long enough for a loaded machine.
pub(crate) fn policy() -> Policy {
    Policy {
        application_name: APPLICATION.to_owned(),
        acquire: AcquirePolicy {
            read: Duration::from_secs(10),
            write: Duration::from_secs(10),
            background: Duration::from_secs(10),
            waiters_per_connection: 4,
            ..AcquirePolicy::default()
        },
        dial: DialPolicy {
            backoff_base: Duration::from_millis(10),
            backoff_cap: Duration::from_millis(100),
            retry_period: Duration::from_millis(20),
            slow_start: Duration::from_millis(10),
            ..DialPolicy::default()
        },
        ..Policy::default()
    }
}

/// Ages of a pool that forgets quickly.
pub(crate) fn forgetful() -> AgePolicy {
    AgePolicy {
        idle: Duration::from_millis(200),
        reaper_period: Duration::from_millis(20),
        ..AgePolicy::default()
    }
}

pub(crate) fn router_to(url: &str, policy: Policy) -> (Router, Metrics) {
    let metrics = Metrics::unregistered();
    (router_counted_by(&metrics, url, policy), metrics)
}

fn router_counted_by(metrics: &Metrics, url: &str, policy: Policy) -> Router {
    let endpoint = Endpoint::parse(&SecretString::from(url)).unwrap();
    Router::connect(policy, endpoint, Vec::new(), metrics.clone(), 7)
}

/// A database with one table, a router to it, and a session beside it.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) router: Router,
    pub(crate) metrics: Metrics,
    pub(crate) page: Registry,
    pub(crate) outside: Session,
}

impl World {
    pub(crate) async fn new(policy: Policy) -> Self {
        Self::on(PgCluster::shared(), policy).await
    }

    pub(crate) async fn on(cluster: &PgCluster, policy: Policy) -> Self {
        let database = cluster.create_database().await;
        let url = database.url().to_owned();
        Self::at(database, &url, policy).await
    }

    /// As [`World::on`], by a URL of the caller's choice.
    pub(crate) async fn at(database: TestDatabase, url: &str, policy: Policy) -> Self {
        let outside = database.session().await;
        outside
            .batch_execute(concat!(
                include_str!("../../../../migrations/0007_replication.sql"),
                ";
                 GRANT USAGE ON SCHEMA portolan_pg TO PUBLIC;
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portolan_pg TO PUBLIC;
                 CREATE TABLE item (name text PRIMARY KEY, size bigint NOT NULL CHECK (size >= 0));
                 CREATE TABLE part (item text NOT NULL REFERENCES item)"
            ))
            .await
            .unwrap();
        let mut page = Registry::default();
        let metrics = Metrics::register(&mut page);
        let router = router_counted_by(&metrics, url, policy);
        Self {
            database,
            router,
            metrics,
            page,
            outside,
        }
    }

    /// Our sessions, as the server sees them.
    pub(crate) async fn sessions(&self) -> i64 {
        sessions(&self.outside).await
    }

    pub(crate) fn in_use(&self, share: Share) -> i64 {
        self.metrics.in_use(Role::Primary, share)
    }

    pub(crate) fn waiting(&self, share: Share) -> i64 {
        self.metrics.waiting(Role::Primary, share)
    }

    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.metrics.closed(Role::Primary, reason)
    }

    pub(crate) fn open(&self) -> i64 {
        self.metrics.open(Role::Primary)
    }

    pub(crate) fn idle(&self) -> i64 {
        self.metrics.idle(Role::Primary)
    }

    /// What the metrics page says of `name{labels}`; 0 where it says nothing.
    pub(crate) fn measured(&self, name: &str) -> u64 {
        let mut page = String::new();
        encode(&mut page, &self.page).unwrap();
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Keys that wait for the primary's lanes.
    pub(crate) fn keys_waiting(&self) -> u64 {
        self.measured(r#"pg_keys_waiting{server="primary"}"#)
    }

    /// Every test ends with this: nothing is held, nobody waits, and every connection says goodbye.
    pub(crate) async fn end(self) {
        for share in [
            Share::Lanes,
            Share::SecondLane,
            Share::Lists,
            Share::Writes,
            Share::Background,
            Share::Control,
        ] {
            eventually("nothing is lent", async || self.in_use(share) == 0).await;
            assert_eq!(self.waiting(share), 0, "{share}");
        }
        assert_eq!(self.keys_waiting(), 0);
        eventually("what is open is idle", async || self.open() == self.idle()).await;
        self.router.close().await;
        assert_eq!((self.open(), self.idle()), (0, 0));
        eventually("the server has no session of ours", async || {
            self.sessions().await == 0
        })
        .await;
        assert!(matches!(self.router.begin().await, Err(Error::Closed)));
    }
}

pub(crate) async fn sessions(outside: &Session) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE application_name = $1 AND datname = current_database()";
    let row = outside.query_one(sql, &[&APPLICATION]).await.unwrap();
    row.get(0)
}

pub(crate) async fn backend(db: &impl Read) -> i32 {
    db.query_one(&BACKEND, &[]).await.unwrap().get(0)
}

pub(crate) async fn insert(router: &Router, name: &str, size: i64) -> Result<(), Error> {
    let tx = router.begin().await?;
    tx.execute_one(&INSERT, &[&name, &size]).await?;
    let committed = tx.commit().await?;
    router.acknowledge(committed).await
}

pub(crate) async fn count(router: &Router) -> i64 {
    let reader = router.read_list();
    reader.query_one(&COUNT, &[]).await.unwrap().get(0)
}
