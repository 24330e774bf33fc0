//! `portolan read-only`, while clients of two processes push.

use crate::app::{PASSWORD, TestApp, push, push_blob, push_manifest, put_manifest, repository};
use portolan_testkit::children::{eventually, run, wait_for};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::{Blob, Image};
use portolan_testkit::pg_cluster::Session;
use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

impl TestApp {
    /// Starts `portolan read-only …`, whose words go to a file.
    fn switch(&self, arguments: &[&str]) -> (Child, tempfile::NamedTempFile) {
        let said = tempfile::NamedTempFile::new().expect("a file");
        let output = File::create(said.path()).expect("our own file");
        let child = self
            .command()
            .arg("read-only")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("an open file"))
            .stderr(output)
            .spawn()
            .expect("the binary starts");
        (child, said)
    }

    fn switched(&self, arguments: &[&str]) -> String {
        let done = run(self.command().arg("read-only").args(arguments));
        String::from_utf8(done.stdout).expect("words")
    }

    /// A session of somebody who is not the registry.
    async fn stranger(&self) -> Session {
        let own = self.database().session().await;
        // Roles are the cluster's, and other tests may have made it.
        let _ = own
            .batch_execute("CREATE ROLE stranger SUPERUSER LOGIN")
            .await;
        let url = self.database().url().replace("postgres@", "stranger@");
        Session::open(&url).await.expect("a session")
    }

    /// Every change of a row shows here.
    async fn content(&self) -> Vec<(String, String)> {
        let session = self.database().session().await;
        let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
        let mut found = Vec::new();
        for row in session.query(tables, &[]).await.expect("tables") {
            let table: String = row.get(0);
            let sql = format!(
                "SELECT coalesce(md5(string_agg(t.ctid || t.xmin::text || t::text, ',' ORDER BY t.ctid)), '')
                 FROM \"{table}\" AS t"
            );
            let sum = session.query_one(&sql, &[]).await.expect("one row").get(0);
            found.push((table, sum));
        }
        found
    }
}

fn refused(answer: Answer, message: &str) {
    let answer = answer.refused(503, "UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "60");
    let said = answer.json()["errors"][0]["message"].clone();
    assert_eq!(said, message);
}

const QUIET: &str = "the registry is in read-only mode: moving house until noon";

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_refused_with_the_operators_words_and_pulls_and_logins_go_on() {
    let app = TestApp::start().await;
    let another = app.another();
    let name = repository("quiet");
    let image = Image::random(7);
    push(&app.admin(), &name, "v1", &image).await;
    let started = app
        .admin()
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .expect(202);
    assert_eq!(app.switched(&["status"]), "off\n");
    let said = app.switched(&["on", "--message", "moving house until noon"]);
    assert_eq!(
        said,
        "read-only mode is on: every process refuses changes\n"
    );
    let status: serde_json::Value =
        serde_json::from_str(&app.switched(&["status", "-o", "json"])).unwrap();
    assert_eq!(status["read_only"], true);
    assert_eq!(status["message"], "moving house until noon");
    assert!(status["since"].is_string());

    let before = app.content().await;
    for process in [&app, &another] {
        // As docker: a token, what is there, the upload, the manifest.
        let scope = format!("repository:{name}:pull,push,delete");
        let token = process.token(&process.admin(), &[&scope]).await;
        let client = process.anonymous().bearer(&token);
        client.get("/v2/").await.expect(200);
        let blob = Blob::random(1, 100);
        let place = format!("/v2/{name}/blobs");
        client
            .head(&format!("{place}/{}", blob.digest))
            .await
            .expect(404);
        let uploads = format!("{place}/uploads/");
        refused(client.post(&uploads).await, QUIET);
        let whole = format!("{uploads}?digest={}", blob.digest);
        let request = client.request(http::Method::POST, &whole);
        refused(request.body(blob.content.clone()).send().await, QUIET);
        let mount = format!("{uploads}?mount={}&from={name}", image.config.digest);
        refused(client.post(&mount).await, QUIET);
        refused(client.patch(started.location(), "more").await, QUIET);
        let end = started.location_with(&format!("digest={}", blob.digest));
        refused(client.put(&end, blob.content.clone()).await, QUIET);
        refused(client.delete(started.location()).await, QUIET);
        client.get(started.location()).await.expect(204);
        let target = format!("/v2/{name}/manifests/v2");
        refused(put_manifest(&client, &target, &image.manifest).await, QUIET);
        for reference in ["v1".to_owned(), image.manifest.digest.to_string()] {
            let target = format!("/v2/{name}/manifests/{reference}");
            refused(client.delete(&target).await, QUIET);
            client.get(&target).await.expect(200);
        }
        let layer = format!("{place}/{}", image.layers[0].digest);
        refused(client.delete(&layer).await, QUIET);
        client.get(&layer).await.expect(200);
        let tags = client
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .expect(200);
        assert_eq!(tags.json()["tags"], serde_json::json!(["v1"]));
    }
    let (mut child, said) = app.admin_user("late");
    assert_eq!(
        wait_for("it to end", || child.try_wait().unwrap()).code(),
        Some(1)
    );
    let said = fs::read_to_string(said.path()).unwrap();
    assert!(said.contains("portolan read-only off"), "{said}");

    // A process that starts in this time serves, and runs no job.
    let late = app.another();
    late.admin()
        .get(&format!("/v2/{name}/manifests/v1"))
        .await
        .expect(200);
    assert_eq!(app.content().await, before);

    assert_eq!(
        app.switched(&["off"]),
        "read-only mode is off: changes are taken\n"
    );
    let switched =
        "SELECT count(DISTINCT detail ->> 'to') FROM audit_log WHERE action = 'registry.read_only'";
    assert_eq!(app.count(switched).await, 2);
    push(&another.admin(), &name, "v2", &image).await;
    app.settled().await;
}

impl TestApp {
    fn admin_user(&self, name: &str) -> (Child, tempfile::NamedTempFile) {
        let said = tempfile::NamedTempFile::new().expect("a file");
        let child = self
            .command()
            .args(["admin", "user", "create", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(said.path()).expect("our own file"))
            .spawn()
            .expect("the binary starts");
        (child, said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_let_in_is_done_before_the_command_is() {
    let app = TestApp::start().await;
    let name = repository("held");
    let image = Image::random(8);
    for blob in image.blobs() {
        push_blob(&app.admin(), &name, blob).await;
    }
    // The push finds its repository and asks the switch in one statement, and waits in it.
    let stranger = app.stranger().await;
    stranger
        .batch_execute("BEGIN; SELECT id FROM repository FOR UPDATE")
        .await
        .unwrap();
    let client = app.admin();
    let pushing = push_manifest(&client, &name, "v1", &image.manifest);
    let switching = async {
        eventually("the push waits", || async {
            app.count(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .await
                == 1
        })
        .await;
        let (mut child, said) = app.switch(&["on"]);
        let words = || fs::read_to_string(said.path()).unwrap();
        wait_for("the command to say what it waits for", || {
            assert_eq!(child.try_wait().unwrap(), None, "no wait: {}", words());
            words()
                .contains("waiting for 1 transaction that began before: `portolan/registry")
                .then_some(())
        });
        // Who comes now is refused, though the command has not ended.
        let other = format!("/v2/{}/blobs/uploads/", repository("held"));
        client.post(&other).await.refused(503, "UNAVAILABLE");
        assert_eq!(child.try_wait().unwrap(), None);
        stranger.batch_execute("COMMIT").await.unwrap();
        let status = wait_for("the command to end", || child.try_wait().unwrap());
        assert!(status.success(), "{}", words());
        app.content().await
    };
    let (_, then) = tokio::join!(pushing, switching);
    assert_eq!(app.content().await, then);
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_end_is_named_and_the_mode_stays_on() {
    let app = TestApp::start().await;
    let own = app.database().session().await;
    own.batch_execute("SET application_name = 'somebody at a terminal'; BEGIN; SELECT 1")
        .await
        .unwrap();
    let (mut child, said) = app.switch(&["on", "--wait", "1"]);
    let status = wait_for("the command to give up", || child.try_wait().unwrap());
    let words = fs::read_to_string(said.path()).unwrap();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(
        words.contains("1 transaction that began before may still change something")
            && words.contains("somebody at a terminal"),
        "{words}"
    );
    let target = format!("/v2/{}/blobs/uploads/", repository("named"));
    app.admin().post(&target).await.refused(503, "UNAVAILABLE");
    own.batch_execute("COMMIT").await.unwrap();
    app.switched(&["on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_command_has_ended_nothing_changes_whoever_is_pushing() {
    let app = TestApp::start().await;
    let another = app.another();
    app.user("carol");
    let (stop, pushed, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let pushers = futures::future::join_all((0..16_u64).map(|pusher| {
        let process = if pusher % 2 == 0 { &app } else { &another };
        let client = process.anonymous().basic("carol", PASSWORD);
        let (stop, pushed, refused) = (&stop, &pushed, &refused);
        async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                if push_small(&client, pusher, round).await {
                    pushed.fetch_add(1, Ordering::Relaxed);
                } else {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }));
    let more = async |counter: &AtomicU64, by: u64| {
        let from = counter.load(Ordering::Relaxed);
        eventually("they go on", || async {
            counter.load(Ordering::Relaxed) >= from + by
        })
        .await;
    };
    let switching = async {
        for _ in 0..3 {
            more(&pushed, 40).await;
            app.switched(&["on"]);
            let then = app.content().await;
            more(&refused, 100).await;
            assert_eq!(app.content().await, then);
            app.switched(&["off"]);
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(pushers, switching);
    app.settled().await;
}

/// Two requests, each to a repository that may be new; false: one was refused.
async fn push_small(client: &Client, pusher: u64, round: u64) -> bool {
    let name = format!("carol/r{pusher}-{round}");
    let blob = Blob::new("{}");
    let target = format!("/v2/{name}/blobs/uploads/?digest={}", blob.digest);
    let request = client.request(http::Method::POST, &target);
    let answer = request.body(blob.content.clone()).send().await;
    if answer.status != 201 {
        answer.refused(503, "UNAVAILABLE");
        return false;
    }
    let image = Image::artifact("application/vnd.example.a", 0, None);
    let target = format!("/v2/{name}/manifests/v1");
    let mut document: serde_json::Value =
        serde_json::from_slice(&image.manifest.payload).expect("a manifest is JSON");
    document["layers"] = serde_json::json!([blob.descriptor("application/vnd.example.data")]);
    document["annotations"]["round"] = format!("{pusher}-{round}").into();
    let manifest = portolan_testkit::image::ManifestFile::of(&document);
    let answer = put_manifest(client, &target, &manifest).await;
    if answer.status != 201 {
        answer.refused(503, "UNAVAILABLE");
        return false;
    }
    true
}
