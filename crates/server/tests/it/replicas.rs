//! Processes over a primary and a streaming replica, as an operator configures them.

use crate::app::{
    PASSWORD, Store, TestApp, push, push_blob, push_manifest, put_manifest, repository,
};
use crate::fleet::Fleet;
use crate::logins::secret;
use portolan_testkit::children::eventually;
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::{Blob, Image, ManifestFile};
use serde_json::json;
use std::time::{Duration, Instant};

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
        for (name, at_least) in [
            (
                "registry_database_lb_targets_total{target_type=\"replica\",fallback=\"false\",reason=\"selected\"}",
                1.0,
            ),
            ("registry_database_lb_pool_size", 1.0),
            (
                "registry_database_lb_pool_events_total{event=\"replica_added\",reason=\"discovered\"}",
                f64::from(mode != "read_index"),
            ),
            ("registry_database_lb_lag_seconds", 0.0),
        ] {
            assert!(
                fleet.app.metric(name).await >= at_least,
                "{name} in mode {mode}"
            );
        }
        let online = format!(
            "registry_database_lb_pool_status{{replica=\"{}\",status=\"online\"}}",
            fleet.replica.server().address()
        );
        assert!((fleet.app.metric(&online).await - 1.0).abs() < f64::EPSILON);
        fleet.app.settled().await;
        drop(fleet);
    }
}

const STALE: &str = "110 - \"Response is Stale\"";

/// Whether an answer says that it may be out of date.
pub(crate) fn is_stale(answer: &Answer) -> bool {
    answer.lines("warning").contains(&STALE)
}

/// Between two of many equal questions, so that whoever asks does not take a core from those who answer.
async fn breath() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// What a client is told that must come again.
fn later(answer: Answer) {
    let answer = answer.refused(503, "UNAVAILABLE");
    assert!(
        answer
            .header("retry-after")
            .parse::<u32>()
            .expect("seconds")
            >= 1
    );
}

/// Asks until the answer is 200; meanwhile nothing but "come again" is said.
async fn until_served(client: &Client, target: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(target).await;
        if answer.status == 200 {
            return answer;
        }
        later(answer);
        assert!(began.elapsed() < Duration::from_secs(30), "{target}");
        breath().await;
    }
}

/// Asks until the answer is a stale one.
async fn until_stale(client: &Client, target: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(target).await;
        if is_stale(&answer) {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no stale answer");
    }
}

/// All that a pull asks for is there, and is said to be stale.
async fn all_is_stale(client: &Client, name: &str, image: &Image) {
    for target in [
        format!("/v2/{name}/manifests/v1"),
        format!("/v2/{name}/manifests/{}", image.manifest.digest),
        format!("/v2/{name}/blobs/{}", image.config.digest),
    ] {
        assert!(
            is_stale(&client.head(&target).await.expect(200)),
            "{target}"
        );
        assert!(is_stale(&client.get(&target).await.expect(200)), "{target}");
    }
    let tags = format!("/v2/{name}/tags/list");
    let tags = client.get(&tags).await.expect(200);
    assert!(is_stale(&tags));
    assert_eq!(tags.json()["tags"], serde_json::json!(["v1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_primary_logins_go_on_and_a_process_shuts_out_who_guesses() {
    let options = TestApp::options(Store::Directory).with("LOGIN__LOCKOUT_AFTER", 2);
    let fleet = Fleet::start(options).await;
    let app = &fleet.app;
    app.user("alice");
    let key = secret(app, &["robot", "create", "alice+ci"]);
    let token = secret(app, &["token", "create", "alice"]);
    let public = repository("public");
    push(&app.admin(), &public, "v1", &Image::random(3)).await;
    app.publish(&public);
    let manifest = format!("/v2/{public}/manifests/v1");
    fleet.served_by_the_replica(&manifest).await;
    fleet.replica.catch_up(fleet.cluster.primary()).await;
    fleet.cluster.kill9();
    until_stale(&app.anonymous(), &manifest).await;
    let login = format!("/v2/auth?service=portolan&scope=repository:{public}:pull");
    for (name, shown, status) in [
        ("alice+ci", key.as_str(), 200),
        ("$token", &token, 200),
        ("alice", PASSWORD, 200),
        ("alice", "a guess", 401),
        ("alice", "another guess", 401),
        ("alice", PASSWORD, 429),
        ("alice", &token, 200),
    ] {
        let client = app.anonymous().basic(name, shown);
        let answer = client.get(&login).await.expect(status);
        assert!(status != 200 || is_stale(&answer), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_outlive_the_primary_and_say_so() {
    let options = TestApp::options(Store::Directory).with("DATABASE__MAX_STALE", "8s");
    let fleet = Fleet::start(options).await;
    let app = &fleet.app;
    let (private, public) = (repository("private"), repository("public"));
    let image = Image::random(3);
    for name in [&private, &public] {
        push(&app.admin(), name, "v1", &image).await;
    }
    app.publish(&public);
    let manifest = |name: &str| format!("/v2/{name}/manifests/v1");
    let scope = format!("repository:{private}:pull,push");
    let early = app.token(&app.admin(), &[&scope]).await;
    fleet.served_by_the_replica(&manifest(&private)).await;
    fleet.replica.catch_up(fleet.cluster.primary()).await;

    fleet.cluster.kill9();
    let killed = Instant::now();
    let client = app.anonymous().bearer(&early);
    let pulled = loop {
        let answer = client.get(&manifest(&private)).await;
        if is_stale(&answer) {
            break answer.expect(200);
        }
        // What the primary said last is good for a while; then there is nobody to ask.
        if killed.elapsed() > Duration::from_secs(1) {
            later(answer);
        }
        assert!(
            killed.elapsed() < Duration::from_secs(30),
            "no stale answer"
        );
        breath().await;
    };
    assert!(killed.elapsed() >= Duration::from_secs(3));
    assert_eq!(pulled.body, image.manifest.payload);
    for name in [
        "portolan_pg_stale_seconds",
        "portolan_pg_primary_failing_seconds",
    ] {
        assert!(app.metric(name).await >= 3.0, "{name}");
    }

    all_is_stale(&client, &private, &image).await;

    // A login is for pulls.
    let login = format!("/v2/auth?service=portolan&scope={scope}");
    let answer = app.admin().get(&login).await.expect(200);
    assert!(is_stale(&answer));
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let late = app.anonymous().bearer(&token);
    assert!(is_stale(&late.get(&manifest(&private)).await.expect(200)));
    app.anonymous()
        .basic("admin", "wrong")
        .get(&login)
        .await
        .expect(401);

    // Nothing is changed, and nothing is said not to be there.
    for client in [&client, &late, &app.admin()] {
        later(client.post(&format!("/v2/{private}/blobs/uploads/")).await);
        later(put_manifest(client, &manifest(&private), &image.manifest).await);
        later(client.delete(&manifest(&private)).await);
        later(client.get(&format!("/v2/{private}/manifests/v2")).await);
    }

    // Rights get old, what is public does not.
    eventually("what is private is refused", async || {
        let answer = client.get(&manifest(&private)).await;
        let served = answer.status == 200;
        if served {
            assert!(is_stale(&answer));
            assert!(
                killed.elapsed() < Duration::from_secs(10),
                "served for too long"
            );
        } else {
            later(answer);
        }
        !served
    })
    .await;
    assert!(killed.elapsed() >= Duration::from_secs(7));
    later(app.admin().get(&login).await);
    for client in [app.anonymous(), app.admin()] {
        assert!(is_stale(&client.get(&manifest(&public)).await.expect(200)));
    }
    let scope = format!("/v2/auth?service=portolan&scope=repository:{public}:pull");
    assert!(is_stale(&app.admin().get(&scope).await.expect(200)));

    fleet.cluster.primary().start_again();
    eventually("the primary is back", async || {
        let answer = client.get(&manifest(&private)).await;
        answer.status == 200 && !is_stale(&answer)
    })
    .await;
    // What was given out meanwhile stays for pulls.
    let uploads = format!("/v2/{private}/blobs/uploads/");
    late.post(&uploads).await.refused(401, "UNAUTHORIZED");
    let again = Image::random(4);
    push(&app.admin(), &private, "v2", &again).await;
    let pulled = client
        .get(&format!("/v2/{private}/manifests/v2"))
        .await
        .expect(200);
    assert!(!is_stale(&pulled));
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_younger_than_the_replicas_lag_does_not_say_how_old_its_answers_are() {
    let mut fleet = Fleet::start(TestApp::options(Store::Directory)).await;
    let (private, public) = (repository("private"), repository("public"));
    let image = Image::random(3);
    for name in [&private, &public] {
        push(&fleet.app.admin(), name, "v1", &image).await;
    }
    fleet.app.publish(&public);
    let scope = format!("repository:{private}:pull");
    let token = fleet.app.token(&fleet.app.admin(), &[&scope]).await;
    fleet.replica.catch_up(fleet.cluster.primary()).await;
    fleet.replica.pause_replay().await;
    // What the replica lacks is older than the process that reads of it.
    push(&fleet.app.admin(), &private, "v2", &image).await;
    fleet.app.kill();
    fleet.app.restart();
    let app = &fleet.app;
    let manifest = |name: &str| format!("/v2/{name}/manifests/v1");
    let client = app.anonymous().bearer(&token);
    client.get(&manifest(&private)).await.expect(200);
    eventually("the process knows that the replica is late", async || {
        client.get(&manifest(&private)).await.expect(200);
        app.metric("registry_database_lb_lag_bytes").await > 0.0
    })
    .await;

    fleet.cluster.kill9();
    let answer = until_stale(&app.anonymous(), &manifest(&public)).await;
    let said = answer.lines("warning").concat();
    assert!(said.contains("nobody can tell since when"), "{said}");
    later(client.get(&manifest(&private)).await);
    let tags = format!("/v2/{private}/tags/list");
    later(client.get(&tags).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_as_good_as_lost() {
    let options = TestApp::options(Store::Directory);
    let (fleet, proxy) = Fleet::start_behind_a_proxy(options).await;
    let name = repository("hanging");
    push(&fleet.app.admin(), &name, "v1", &Image::random(3)).await;
    let target = format!("/v2/{name}/manifests/v1");
    fleet.served_by_the_replica(&target).await;
    fleet.replica.catch_up(fleet.cluster.primary()).await;
    // No answer, and no end of the connection either.
    proxy.stall();
    let hung = Instant::now();
    let client = fleet.app.admin();
    loop {
        let answer = client.get(&target).await;
        if is_stale(&answer) {
            break;
        }
        // Until a question has gone unanswered it could as well be the load.
        if hung.elapsed() > Duration::from_millis(3_500) {
            later(answer);
        }
        assert!(hung.elapsed() < Duration::from_secs(15), "no stale answer");
        breath().await;
    }
    assert!(hung.elapsed() >= Duration::from_secs(3));
    let began = Instant::now();
    for _ in 0..20 {
        assert!(is_stale(&client.get(&target).await.expect(200)));
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    proxy.restore();
    eventually("the primary is back", async || {
        let answer = client.get(&target).await;
        answer.status == 200 && !is_stale(&answer)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_stale_answers_are_not_wanted_pulls_fail_with_the_primary() {
    let options = TestApp::options(Store::Directory).with("DATABASE__ON_PRIMARY_LOSS", "fail");
    let fleet = Fleet::start(options).await;
    let name = repository("strict");
    push(&fleet.app.admin(), &name, "v1", &Image::random(3)).await;
    fleet.app.publish(&name);
    let target = format!("/v2/{name}/manifests/v1");
    fleet.served_by_the_replica(&target).await;
    fleet.cluster.kill9();
    let killed = Instant::now();
    let client = fleet.app.anonymous();
    // A floor serves until its lease has ended; then nothing does.
    eventually("pulls are refused", async || {
        client.get(&target).await.status == 503
    })
    .await;
    while killed.elapsed() < Duration::from_secs(5) {
        later(client.get(&target).await);
        breath().await;
    }
    fleet.cluster.primary().start_again();
    until_served(&client, &target).await;
}

/// Writes that had to wait for the replicas.
async fn waits(app: &TestApp) -> f64 {
    let name = "portolan_pg_barrier_seconds_count";
    let at_once = app.metric_with(name, &[r#"outcome="at_once""#]).await;
    app.metric(name).await - at_once
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_many_layers_waits_for_a_late_replica_once() {
    const LAYERS: u64 = 40;
    let fleet = Fleet::start(TestApp::options(Store::Directory)).await;
    let (app, client) = (&fleet.app, fleet.app.admin());
    let before = repository("before");
    push(&client, &before, "v1", &Image::random(3)).await;
    fleet
        .served_by_the_replica(&format!("/v2/{before}/manifests/v1"))
        .await;
    let delay = Duration::from_secs(2);
    fleet.replica.set_apply_delay(delay).await;

    let waited = waits(app).await;
    let name = repository("layers");
    let config = Blob::new(r#"{"os":"linux","architecture":"amd64"}"#);
    let layers: Vec<Blob> = (0..LAYERS).map(|seed| Blob::random(seed, 64)).collect();
    let began = Instant::now();
    for blob in layers.iter().chain([&config]) {
        push_blob(&client, &name, blob).await;
    }
    let layer = |blob: &Blob| blob.descriptor("application/vnd.oci.image.layer.v1.tar");
    let manifest = ManifestFile::of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    }));
    push_manifest(&client, &name, "v1", &manifest).await;
    let took = began.elapsed();
    let waited = waits(app).await - waited;
    assert!((waited - 1.0).abs() < f64::EPSILON, "{waited} waits");
    // Half a second each would be twenty.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(
        took >= Duration::from_millis(400),
        "nobody waited: {took:?}"
    );
    fleet.replica.set_apply_delay(Duration::ZERO).await;
}
