//! `portolan doctor`, of what is well and of every fault that a server can be put into.

use crate::app::{Store, TestApp, free_addresses, push, repository};
use crate::fleet::Fleet;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use portolan_testkit::pg_cluster::{PgCluster, TestDatabase};
use serde_json::Value;

/// What it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    text: String,
}

impl Said {
    /// The lines of one finding: what was found, and what to do.
    #[track_caller]
    fn finding(&self, begins: &str) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let at = lines.iter().position(|line| line.starts_with(begins));
        let at = at.unwrap_or_else(|| panic!("no `{begins}` in:\n{}", self.text));
        let advice = lines[at + 1..]
            .iter()
            .take_while(|line| line.starts_with("  "));
        let all: Vec<&str> = std::iter::once(&lines[at]).chain(advice).copied().collect();
        all.join("\n")
    }

    /// A finding that makes it fail, in words that must be there.
    #[track_caller]
    fn problem(&self, about: &str, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{}", self.text);
        let finding = self.finding(&format!("PROBLEM  {about}: "));
        for word in words {
            assert!(finding.contains(word), "no `{word}` in:\n{finding}");
        }
    }
}

impl TestApp {
    fn doctor(&self, settings: &[(&str, &str)]) -> Said {
        let mut command = self.command();
        for (name, value) in settings {
            command.env(format!("PORTOLAN_{name}"), value);
        }
        let output = command.arg("doctor").output().expect("the binary starts");
        Said {
            code: output.status.code(),
            text: String::from_utf8(output.stdout).expect("text"),
        }
    }

    fn doctor_at(&self, primary: &str) -> Said {
        self.doctor(&[("DATABASE__PRIMARY", primary)])
    }
}

/// The database's URL for a new role.
async fn as_role(database: &TestDatabase, role: &str, options: &str) -> String {
    let session = database.session().await;
    let sql = format!("CREATE ROLE \"{role}\" LOGIN {options}");
    session.batch_execute(&sql).await.expect("a new role");
    database.url().replace("postgres@", &format!("{role}@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_said_to_be_and_the_running_process_says_what_it_sees() {
    let fleet = Fleet::start(TestApp::options(Store::Directory)).await;
    let name = repository("well");
    push(&fleet.app.admin(), &name, "v1", &Image::random(3)).await;
    let target = format!("/v2/{name}/manifests/v1");
    fleet.served_by_the_replica(&target).await;
    let objects = fleet.app.objects();

    let said = fleet.app.doctor(&[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let replica = fleet.replica.server().address();
    for line in [
        "ok       primary: PostgreSQL ",
        "ok       connections: ",
        "ok       settings: ",
        "ok       schema: at step ",
        "ok       rights: ",
        &format!("ok       replica {replica}: server {replica}/"),
        "ok       store: get a range of it",
        "ok       store: delete both",
    ] {
        said.finding(line);
    }
    let durability = said.finding("warning  durability: ");
    assert!(
        durability.contains("a fail-over may lose the last changes"),
        "{durability}"
    );
    assert!(
        said.text.ends_with("well: 0 problems, 1 warning\n"),
        "{}",
        said.text
    );
    assert_eq!(fleet.app.objects(), objects);

    let json = run(fleet.app.command().args(["doctor", "-o", "json"])).stdout;
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["well"], true);
    assert_eq!(json["servers"]["replicas"][0]["state"], "serving");

    run(fleet.app.command().args(["read-only", "on"]));
    let said = fleet.app.doctor(&[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.finding("ok       store: reach it (nothing is written in read-only mode)");
    assert!(!said.text.contains("put an object"), "{}", said.text);
    run(fleet.app.command().args(["read-only", "off"]));

    let page = Client::new(fleet.app.private());
    eventually("the process names the replica for its reads", async || {
        let page = page.get("/doctor").await.expect(200).json();
        assert_eq!(page["version"], json["version"]);
        let about = |about: &str| {
            let findings = page["findings"].as_array().expect("findings");
            findings.iter().any(|finding| finding["about"] == about)
        };
        for looked_at in ["primary", "connections", "settings", "schema", "rights"] {
            assert!(about(looked_at), "{looked_at}: {page}");
        }
        assert!(!about("store"), "nothing is written: {page}");
        let read = &page["servers"]["reads"][0];
        read["kind"] == "fresh" && read["server"] == replica.to_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_late_or_gone_is_told_with_what_it_costs() {
    let fleet = Fleet::start(TestApp::options(Store::Directory)).await;
    let replica = format!("replica {}", fleet.replica.server().address());
    let well = format!("ok       {replica}: ");
    let said = fleet.app.doctor(&[]).finding(&well);
    assert!(
        said.contains("the first process that reads puts it there"),
        "{said}"
    );
    let said = fleet.app.doctor(&[("DATABASE__FRESHNESS", "read_index")]);
    let said = said.finding(&well);
    assert!(said.contains("which needs no place in this mode"), "{said}");
    let said = fleet.app.doctor(&[("DATABASE__FRESHNESS", "beacon")]);
    let said = said.finding(&well);
    assert!(said.contains("not in service yet"), "{said}");
    let left = fleet
        .app
        .count("SELECT count(*) FROM portolan_pg.beacon")
        .await;
    assert_eq!(left, 0, "rows of processes that are gone");

    let name = repository("late");
    push(&fleet.app.admin(), &name, "v1", &Image::random(3)).await;
    let target = format!("/v2/{name}/manifests/v1");
    fleet.served_by_the_replica(&target).await;
    fleet.replica.catch_up(fleet.cluster.primary()).await;
    fleet.replica.pause_replay().await;
    push(&fleet.app.admin(), &name, "v2", &Image::random(3)).await;
    let said = fleet.app.doctor(&[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let late = said.finding(&format!("warning  {replica}: "));
    assert!(
        late.contains("late by ") && late.contains(" bytes, for at least 1"),
        "{late}"
    );
    assert!(
        late.contains("did not catch up") && late.contains("a paused replay"),
        "{late}"
    );

    fleet.replica.resume_replay().await;
    fleet.served_by_the_replica(&target).await;
    fleet.replica.kill9();
    eventually("the running process finds so too", async || {
        fleet.app.admin().get(&target).await.expect(200);
        let said = fleet.app.doctor(&[]);
        said.problem(&replica, &["see whether the server runs"]);
        let gone = said.finding(&format!("PROBLEM  {replica}: "));
        gone.contains("it stays in service, because it is the last: each push waits up to 500 ms")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_do_what_it_must_is_named_with_what_to_do() {
    let app = TestApp::options(Store::S3).start().await;
    let said = app.doctor(&[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.finding("ok       store: get it by a signed URL of 127.0.0.1:");
    said.finding("ok       lists: served by the primary: no replica is configured");
    said.finding("ok       store: put an object in parts");
    assert_eq!(app.objects(), [""; 0]);

    let [nobody] = free_addresses();
    let elsewhere = format!("http://{nobody}");
    let said = app.doctor(&[("STORAGE__S3__PUBLIC_ENDPOINT", &elsewhere)]);
    let url = format!("cannot get it by a signed URL of {nobody}");
    said.problem("store", &[&url, "`storage.s3.public_endpoint`"]);
    assert!(!said.text.contains("X-Amz"), "{}", said.text);

    let said = app.doctor(&[("STORAGE__S3__SECRET_KEY", "wrong")]);
    said.problem(
        "store",
        &[
            "cannot put an object",
            "denies access",
            "`storage.s3.access_key`",
        ],
    );
    let said = app.doctor(&[("STORAGE__S3__ENDPOINT", &elsewhere)]);
    said.problem("store", &["cannot put an object", "`storage.s3.endpoint`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_lets_nobody_in_is_explained() {
    const HBA: &str =
        "local all all trust\nhost all strict all scram-sha-256\nhost all all all trust\n";
    let cluster = PgCluster::options()
        .with_file("pg_hba.conf", HBA)
        .with("max_connections", "12")
        .start();
    let database = cluster.create_database().await;
    let app = TestApp::shared().await;
    let to = |account: &str| database.url().replace("postgres@", &format!("{account}@"));

    as_role(&database, "strict", "PASSWORD 'right'").await;
    let said = app.doctor_at(&to("strict:wrong"));
    said.problem(
        "primary",
        &[
            "password authentication failed",
            "the user or the password in `database.primary`",
        ],
    );
    assert!(!said.text.contains("wrong"), "{}", said.text);
    said.finding("ok       store: put an object");
    app.doctor_at(&to("nobody"))
        .problem("primary", &["role \"nobody\" does not exist"]);
    let elsewhere = database.url().replace(database.name(), "nowhere");
    app.doctor_at(&elsewhere).problem(
        "primary",
        &["database \"nowhere\" does not exist", "create it"],
    );
    let [nobody] = free_addresses();
    let nowhere = format!("postgres://postgres@{nobody}/registry");
    app.doctor_at(&nowhere)
        .problem("primary", &["see whether the server runs"]);

    as_role(&database, "bounded", "CONNECTION LIMIT 0").await;
    app.doctor_at(&to("bounded")).problem(
        "primary",
        &["too many connections for role", "`CONNECTION LIMIT`"],
    );
    // Nine for everybody, and others have them.
    as_role(&database, "late", "").await;
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(database.session().await);
    }
    app.doctor_at(&to("late")).problem(
        "primary",
        &["no connection is left", "raise `max_connections`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_lets_us_in_and_is_not_as_it_must_be_is_explained() {
    let app = TestApp::start().await;
    let empty = PgCluster::shared().create_database().await;
    app.doctor_at(empty.url())
        .problem("schema", &["portolan migrate up"]);

    let session = app.database().session().await;
    let other = as_role(app.database(), "half", "CONNECTION LIMIT 100").await;
    app.doctor_at(&other).problem(
        "primary",
        &["permission denied", "GRANT USAGE ON SCHEMA", "TO \"half\""],
    );
    session
        .batch_execute(
            "GRANT USAGE ON SCHEMA portolan_pg TO half;
             GRANT SELECT ON ALL TABLES IN SCHEMA public, portolan_pg TO half",
        )
        .await
        .unwrap();
    let said = app.doctor_at(&other);
    said.problem(
        "rights",
        &[
            "DELETE on portolan_pg.beacon",
            "GRANT SELECT, INSERT, UPDATE, DELETE",
            "IN SCHEMA \"public\", portolan_pg TO \"half\"",
        ],
    );
    assert!(
        said.finding("ok       primary: ")
            .contains("role `half` limited to 100 connections")
    );
    session
        .batch_execute(
            "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, portolan_pg TO half;
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO half",
        )
        .await
        .unwrap();
    app.doctor_at(&other).problem(
        "rights",
        &[
            "EXECUTE on public.audit_partition_drop(month date)",
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA \"public\"",
        ],
    );
    session
        .batch_execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO half")
        .await
        .unwrap();
    let said = app.doctor_at(&other);
    assert_eq!(said.code, Some(0), "{}", said.text);

    let narrow = [("DATABASE__POOL__PROCESSES", "1000")];
    app.doctor(&narrow)
        .problem("connections", &["`database.pool.processes`"]);
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        app.database().name()
    );
    session.batch_execute(&read_only).await.unwrap();
    app.doctor(&[]).problem(
        "settings",
        &["`default_transaction_read_only` is `on`", "ALTER ROLE"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_in_the_wrong_place_are_explained_by_the_doctor_and_at_the_start() {
    let fleet = Fleet::start(TestApp::options(Store::Directory)).await;
    let database = fleet.app.database();
    let replica = fleet.replica.server().url(database.name());
    fleet
        .app
        .doctor_at(&replica)
        .problem("primary", &["not the primary", "leads to a standby"]);

    let stranger = PgCluster::options().stranger().start();
    let its_replica = stranger.add_replica();
    let twin = replica.replace("127.0.0.1", "localhost");
    let strange = its_replica.server().url("postgres");
    let [nobody] = free_addresses();
    let gone = format!("postgres://postgres@{nobody}/registry");
    let urls = [&replica, &twin, &database.url().to_owned(), &strange, &gone];
    let list = format!("{urls:?}");
    let said = fleet.app.doctor(&[("DATABASE__REPLICAS", &list)]);
    let host = |url: &str| url.split(['@', '/']).nth(3).expect("a host").to_owned();
    let about = |url: &str| format!("replica {}", host(url));
    let words = [
        (about(&twin), "is the same server as"),
        (about(database.url()), "this server is a primary"),
        (about(&strange), "does not follow `database.primary`"),
        (about(&gone), "see whether the server runs"),
    ];
    for (about, word) in &words {
        said.problem(about, &[word]);
    }
    let again = TestApp::options(Store::Directory).with("DATABASE__REPLICAS", &list);
    let again = again.start_over(database.clone(), database.url());
    eventually("the start says the same", async || {
        let log = again.log();
        words
            .iter()
            .all(|(about, word)| log.contains(about) && log.contains(word))
    })
    .await;

    fleet.replica.kill9();
    let dead = about(&replica);
    fleet
        .app
        .doctor(&[])
        .problem(&dead, &["see whether the server runs"]);
}
