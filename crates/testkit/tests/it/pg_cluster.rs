//! The cluster: databases, replicas, and that nothing outlives its process.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use portolan_testkit::{
    children::{eventually, wait_for},
    pg_cluster::{Part, PgCluster, Session},
};

async fn count(session: &Session) -> i64 {
    let row = session.query_one("SELECT count(*) FROM t", &[]).await;
    row.unwrap().get(0)
}

#[tokio::test]
async fn a_copy_of_a_database_has_its_tables_and_none_of_its_changes() {
    let cluster = PgCluster::shared();
    let template = cluster.create_database().await;
    let session = template.session().await;
    session
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    drop(session);
    let (one, two) = tokio::join!(
        cluster.create_database_from(template.name()),
        cluster.create_database_from(template.name()),
    );
    let one = one.session().await;
    one.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(count(&one).await, 1);
    assert_eq!(count(&two.session().await).await, 0);
}

#[tokio::test]
async fn a_database_answers_over_tcp_and_over_its_socket() {
    let database = PgCluster::shared().create_database().await;
    for url in [database.url(), database.socket_url()] {
        let session = Session::open(url).await.unwrap();
        let row = session
            .query_one("SELECT inet_server_addr() IS NULL", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, bool>(0), url.contains("host="), "{url}");
    }
}

#[tokio::test]
async fn a_server_comes_back_where_it_was_with_what_was_committed() {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    let address = cluster.primary().address();
    let session = database.session().await;
    session
        .batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    cluster.restart();
    assert!(session.query_one("SELECT 1", &[]).await.is_err());
    assert_eq!(count(&database.session().await).await, 1);
    cluster.kill9();
    assert!(Session::open(database.url()).await.is_err());
    cluster.primary().start_again();
    assert_eq!(cluster.primary().address(), address);
    assert_eq!(count(&database.session().await).await, 1);
}

#[tokio::test]
async fn a_replica_follows_is_held_back_and_takes_over() {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    let primary = database.session().await;
    primary
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    let replica = cluster.add_replica();
    let replica_url = replica.server().url(database.name());

    replica.catch_up(cluster.primary()).await;
    let reader = Session::open(&replica_url).await.unwrap();
    assert_eq!(count(&reader).await, 0);

    replica.pause_replay().await;
    primary
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert_eq!(count(&reader).await, 0);
    replica.resume_replay().await;
    replica.catch_up(cluster.primary()).await;
    assert_eq!(count(&reader).await, 1);

    replica.set_apply_delay(Duration::from_hours(1)).await;
    primary
        .batch_execute("INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    assert_eq!(count(&reader).await, 1);
    replica.set_apply_delay(Duration::ZERO).await;
    replica.catch_up(cluster.primary()).await;
    assert_eq!(count(&reader).await, 2);

    replica.kill9();
    replica.start_again();
    replica.restart_immediately();
    replica.catch_up(cluster.primary()).await;

    cluster.kill9();
    replica.promote().await;
    let heir = Session::open(&replica_url).await.unwrap();
    heir.batch_execute("INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    assert_eq!(count(&heir).await, 3);
}

#[tokio::test]
async fn a_frozen_receiver_lets_nothing_in_and_a_frozen_replay_shows_nothing() {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    let primary = database.session().await;
    primary
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    let replica = cluster.add_replica();
    replica.catch_up(cluster.primary()).await;
    let reader = Session::open(&replica.server().url(database.name()))
        .await
        .unwrap();
    for (number, part) in [Part::WalReceiver, Part::Startup].into_iter().enumerate() {
        let shown = i64::try_from(number).unwrap();
        let frozen = replica.server().freeze(part);
        primary
            .batch_execute("INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        // As far as it gets: to the receiver's door, or to where replay would read it.
        let came = match part {
            Part::WalReceiver => {
                "SELECT pg_current_wal_flush_lsn() <= sent_lsn FROM pg_stat_replication"
            }
            Part::Startup => {
                "SELECT pg_current_wal_flush_lsn() <= flush_lsn FROM pg_stat_replication"
            }
        };
        eventually("the change has come to what is frozen", async || {
            let row = primary.query_one(came, &[]).await;
            row.unwrap().get::<_, bool>(0)
        })
        .await;
        assert_eq!(count(&reader).await, shown, "{part:?}");
        drop(frozen);
        replica.catch_up(cluster.primary()).await;
        assert_eq!(count(&reader).await, shown + 1, "{part:?}");
    }
}

#[tokio::test]
async fn a_killed_backend_takes_every_session_with_it_and_the_server_stays() {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    let session = database.session().await;
    let started = "SELECT pg_postmaster_start_time()::text";
    let before: String = session.query_one(started, &[]).await.unwrap().get(0);
    cluster.primary().crash().await;
    assert!(session.query_one(started, &[]).await.is_err());
    let session = database.session().await;
    let after: String = session.query_one(started, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
}

#[tokio::test]
async fn an_old_primary_and_its_other_replica_follow_the_promoted_one_and_the_pooler_leads_there() {
    let cluster = PgCluster::options().rewindable().start();
    let database = cluster.create_database().await;
    let session = database.session().await;
    session
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    let (heir, other) = (cluster.add_replica(), cluster.add_replica());
    let pooler = cluster.start_pooler(cluster.primary().address(), &[]);
    let through = Session::open(&pooler.url(database.name())).await.unwrap();
    through
        .simple_query("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    heir.catch_up(cluster.primary()).await;
    let frozen = other.server().freeze(Part::WalReceiver);
    heir.promote().await;
    // What the old primary takes now is lost.
    session
        .batch_execute("INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    drop((frozen, session));
    other.catch_up(cluster.primary()).await;

    pooler.point_at(heir.server().address()).await;
    eventually("the pooler leads to the heir", async || {
        let inserted = through
            .simple_query(
                "INSERT INTO t SELECT 3 FROM pg_control_checkpoint() WHERE NOT pg_is_in_recovery()",
            )
            .await;
        let found = through.simple_query("SELECT FROM t WHERE a = 2").await;
        inserted.is_ok() && found.is_ok_and(|messages| messages.len() == 2)
    })
    .await;
    for server in [cluster.primary(), other.server()] {
        server.follow(heir.server()).await;
        let url = server.url(database.name());
        eventually("it shows what the heir has", async || {
            let Ok(session) = Session::open(&url).await else {
                return false;
            };
            let sql = "SELECT pg_is_in_recovery() AND bool_or(a = 3) AND NOT bool_or(a = 2) FROM t";
            let row = session.query_one(sql, &[]).await.unwrap();
            row.get::<_, Option<bool>>(0) == Some(true)
        })
        .await;
    }
}

/// Not a test of its own: the next one runs it in a process that it kills.
#[test]
#[expect(clippy::print_stdout, reason = "tells the parent where its folder is")]
fn hold_a_cluster_until_killed() {
    if std::env::var_os("PORTOLAN_TESTKIT_HOLD").is_none() {
        return;
    }
    println!("\nfolder={}", PgCluster::shared().folder().display());
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_killed_test_process_leaves_no_server_and_no_folder() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pg_cluster::hold_a_cluster_until_killed",
            "--nocapture",
        ])
        .env("PORTOLAN_TESTKIT_HOLD", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let folder = lines
        .find_map(|line| line.unwrap().strip_prefix("folder=").map(PathBuf::from))
        .expect("the child says where its folder is");
    let pid_file = std::fs::read_to_string(folder.join("primary/postmaster.pid")).unwrap();
    let process = PathBuf::from("/proc").join(pid_file.lines().next().unwrap());
    assert!(process.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the folder to be removed", || {
        (!folder.exists()).then_some(())
    });
    eventually("the server has ended", async || !process.exists()).await;
}
