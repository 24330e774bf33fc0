//! A process whose way to the primary is a pgbouncer in transaction mode, and what it needs besides.

use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::eventually;
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use portolan_testkit::pg_cluster::{PgBouncer, PgCluster, PgReplica, Session, TestDatabase};
use tokio::task::JoinSet;

use super::TURN;
use crate::app::{ADMIN, PASSWORD, Store, TestApp, push, push_manifest};

const ROLE: &str = "registry";

/// Clients at once: more than the process has connections, so that sessions change hands.
const CLIENTS: u64 = 12;

struct Pooled {
    // Dropped in this order.
    app: TestApp,
    direct: ChaosProxy,
    pooler: PgBouncer,
    heir: PgReplica,
    cluster: PgCluster,
    database: TestDatabase,
}

impl Pooled {
    /// The role owns the database and may nothing else; `settings` are the lines that an operator runs for it.
    async fn start(settings: &[String]) -> Self {
        let cluster = PgCluster::start();
        let database = cluster.create_database().await;
        let session = database.session().await;
        let name = database.name();
        for sql in [
            format!("CREATE ROLE {ROLE} LOGIN"),
            format!("ALTER DATABASE {name} OWNER TO {ROLE}"),
        ] {
            session.batch_execute(&sql).await.expect("a superuser");
        }
        for sql in settings {
            session.batch_execute(sql).await.expect("a superuser");
        }
        let heir = tokio::task::block_in_place(|| cluster.add_replica());
        let pooler = cluster.start_pooler(cluster.primary().address(), &[ROLE]);
        let direct = ChaosProxy::start(cluster.primary().address()).await;
        let direct_url = direct.through(database.url());
        let direct_url = direct_url.replace("//postgres@", &format!("//{ROLE}@"));
        let options = TestApp::options(Store::Directory).with("DATABASE__DIRECT", direct_url);
        let url = pooler.url_as(ROLE, name);
        let app = tokio::task::block_in_place(|| options.start_on(database.clone(), &url));
        Self {
            app,
            direct,
            pooler,
            heir,
            cluster,
            database,
        }
    }
}

/// What the documentation says that the role needs.
pub(super) fn settings(role: &str) -> Vec<String> {
    [
        ("statement_timeout", "500ms"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        ("synchronous_commit", "on"),
        ("idle_in_transaction_session_timeout", "10s"),
    ]
    .iter()
    .map(|(name, value)| format!("ALTER ROLE {role} SET {name} = '{value}'"))
    .collect()
}

/// Logs in, pushes an image, pulls it by tag and by digest, lists the tags and removes one of two.
async fn work(app: Client, number: u64) {
    let name = format!("pooled/r{number}");
    let admin = app.basic(ADMIN, PASSWORD);
    let scope = format!("/v2/auth?service=portolan&scope=repository:{name}:pull,push,delete");
    let token = admin.get(&scope).await.expect(200);
    let token = token.json()["token"].as_str().expect("a token").to_owned();
    let client = app.bearer(&token);
    for version in 0..3 {
        let image = Image::random(number * 10 + version);
        push(&client, &name, "latest", &image).await;
        push_manifest(&client, &name, "kept", &image.manifest).await;
        let pulled = client.get(&format!("/v2/{name}/manifests/latest")).await;
        assert_eq!(pulled.expect(200).body, image.manifest.payload);
        let layer = &image.layers[0];
        let pulled = client
            .get(&format!("/v2/{name}/blobs/{}", layer.digest))
            .await;
        assert_eq!(pulled.expect(200).body, layer.content);
        let tag = format!("/v2/{name}/manifests/latest");
        client.delete(&tag).await.expect(202);
        let tags = client
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .expect(200);
        assert_eq!(tags.json()["tags"], serde_json::json!(["kept"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_transaction_pooler_and_follows_it_to_a_promoted_server() {
    let _turn = TURN.lock().await;
    let stage = Pooled::start(&settings(ROLE)).await;
    assert!(stage.direct.accepted() > 0, "the schema was made directly");
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(work(stage.app.anonymous(), number));
    }
    clients.join_all().await;
    let log = stage.app.log();
    assert!(!log.contains("ALTER ROLE"), "a setting is missed:\n{log}");
    assert!(!log.contains("ERROR"), "{log}");

    let epoch =
        "SELECT (SELECT count(*) FROM portolan_pg.cluster_epoch WHERE timeline = '00000002')";
    assert_eq!(stage.app.count(epoch).await, 0);
    stage.heir.catch_up(stage.cluster.primary()).await;
    stage.cluster.kill9();
    stage.heir.promote().await;
    let heir = stage.heir.server();
    stage.pooler.point_at(heir.address()).await;
    let client = stage.app.admin();
    eventually("pulls go on at the promoted server", async || {
        let pulled = client.get("/v2/pooled/r0/manifests/kept").await;
        pulled.status == 200
    })
    .await;
    work(stage.app.anonymous(), CLIENTS).await;
    let url = heir.socket_url(stage.database.name());
    let session = Session::open(&url).await;
    let session = session.expect("the heir answers");
    let drawn: i64 = session.query_one(epoch, &[]).await.expect("a count").get(0);
    assert_eq!(drawn, 1, "a new epoch for the new timeline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_settings_is_told_which_lines_it_needs() {
    let _turn = TURN.lock().await;
    let stage = Pooled::start(&[]).await;
    let log = stage.app.log();
    for name in ["statement_timeout", "plan_cache_mode"] {
        assert!(
            log.contains(&format!("SET {name} = ")),
            "no line for `{name}`:\n{log}"
        );
    }
    work(stage.app.anonymous(), 0).await;
}
