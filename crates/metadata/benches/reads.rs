//! Point reads in batches against one query for each: `cargo bench -p portolan-metadata`.
//!
//! The read of a pull by tag, with the right to it, of a private repository with a thousand tags: by the lanes, on the two
//! connections that they have, and by a pool of ten connections with the same statement and one key in it. Both in this
//! program, in turn, against one Postgres. `ROUNDS` and `SECONDS_EACH` set the size. As lines of a Markdown table.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program of its own, which prints figures or ends"
)]

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use portolan_metadata::tags::{ResolveTag, TagKey};
use portolan_metadata::{Principal, migrate};
use portolan_pg::{Endpoint, Metrics, PLANNER, PointRead, Policy, Router};
use portolan_testkit::pg_cluster::{PgCluster, TestDatabase};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::SecretString;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls};

const CLIENTS: [usize; 4] = [1, 16, 64, 256];
const TAGS: u32 = 1_000;
/// What services of this kind have.
const POOL: usize = 10;

const ROWS: &str = "
    INSERT INTO account (kind, name) VALUES ('user', 'alice');
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account;
    INSERT INTO repository (namespace_id, path) SELECT id, 'alice/app' FROM namespace;
    INSERT INTO manifest_content (digest, payload)
        SELECT sha256(('m' || n)::bytea), ('m' || n)::bytea FROM generate_series(0, 999) n;
    INSERT INTO manifest (repository_id, size_total, payload_size, layer_count, media_type_id, digest)
        SELECT r.id, 0, 1, 1, 1, c.digest FROM repository r, manifest_content c;
    INSERT INTO tag (repository_id, manifest_id, name)
        SELECT repository_id, id, 't' || row_number() OVER (ORDER BY id) - 1 FROM manifest;";

/// What the clients of one run were given.
struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

#[tokio::main]
async fn main() {
    let rounds = number("ROUNDS").unwrap_or(3);
    let time = Duration::from_secs(number("SECONDS_EACH").unwrap_or(3));
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    migrate::up(database.url()).await.unwrap();
    let session = database.session().await;
    session.batch_execute(ROWS).await.unwrap();
    session.batch_execute("VACUUM ANALYZE").await.unwrap();
    let account = session.query_one("SELECT id, generation FROM account", &[]);
    let account = account.await.unwrap();
    let principal = Principal::Account {
        id: account.get(0),
        generation: account.get(1),
        credential: None,
    };

    let lanes = lanes(&database);
    let pool = pool(&database);
    println!(
        "| clients | batched/s | one query each/s | ratio | p50 ms batched | one each | p99 ms batched | one each |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for clients in CLIENTS {
        let (mut batched, mut single) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let router = lanes.clone();
            let ask = move |key| by_lanes(router.clone(), key);
            batched.push(run(clients, time, round, principal, ask).await);
            let pool = pool.clone();
            let ask = move |key| one_by_one(pool.clone(), key);
            single.push(run(clients, time, round, principal, ask).await);
        }
        let (batched, single) = (median(batched), median(single));
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {clients} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            batched.per_second,
            single.per_second,
            batched.per_second / single.per_second,
            milliseconds(batched.p50),
            milliseconds(single.p50),
            milliseconds(batched.p99),
            milliseconds(single.p99),
        );
    }
    lanes.close().await;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn lanes(database: &TestDatabase) -> Router {
    let endpoint = Endpoint::parse(&SecretString::from(database.url())).unwrap();
    Router::connect(
        Policy::default(),
        endpoint,
        Vec::new(),
        Metrics::unregistered(),
        7,
    )
}

async fn by_lanes(lanes: Router, key: TagKey) -> bool {
    let served = lanes.read_fresh::<ResolveTag>(key).await.unwrap();
    served.value.unwrap().1.is_some()
}

fn pool(database: &TestDatabase) -> Pool {
    let mut config: Config = database.url().parse().unwrap();
    let planner = PLANNER.map(|(name, value)| format!("-c {name}={value}"));
    config.options(planner.join(" "));
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    let pool = Pool::builder(manager).max_size(POOL);
    pool.runtime(Runtime::Tokio1).build().unwrap()
}

async fn one_by_one(pool: Pool, key: TagKey) -> bool {
    let client = pool.get().await.unwrap();
    let statement = ResolveTag::STATEMENT;
    let prepared = client.prepare_typed_cached(statement.sql, statement.types);
    let prepared = prepared.await.unwrap();
    let columns = ResolveTag::columns(&[&key]);
    let params: Vec<&(dyn ToSql + Sync)> = columns
        .iter()
        .map(|column| &**column as &(dyn ToSql + Sync))
        .collect();
    let row = client.query_one(&prepared, &params).await.unwrap();
    ResolveTag::decode(&row).unwrap().1.is_some()
}

/// So many clients, each of whom asks for a tag of chance as soon as he has the last; after a second of warming up.
async fn run<A, F>(
    clients: usize,
    time: Duration,
    round: u64,
    principal: Principal,
    ask: A,
) -> Figures
where
    A: Fn(TagKey) -> F + Clone + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + time;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let mut rng = StdRng::seed_from_u64(round * 1_000 + client as u64);
        let ask = ask.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            loop {
                let key = TagKey {
                    path: "alice/app".parse().unwrap(),
                    tag: format!("t{}", rng.random_range(0..TAGS)).parse().unwrap(),
                    principal,
                };
                let asked = Instant::now();
                assert!(ask(key).await, "every tag is there");
                let now = Instant::now();
                if now >= end {
                    return took;
                }
                if asked >= begin {
                    took.push(now - asked);
                }
            }
        });
    }
    let mut took = tasks.join_all().await.concat();
    took.sort_unstable();
    Figures {
        per_second: f64::from(u32::try_from(took.len()).unwrap()) / time.as_secs_f64(),
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
    }
}

/// The run whose rate is in the middle.
fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    runs.swap_remove(runs.len() / 2)
}
