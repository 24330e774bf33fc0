//! Jobs: what the role `worker` does by itself.

use crate::app::{TestApp, push, repository};
use portolan_testkit::children::{eventually, run};
use portolan_testkit::image::Image;

/// An upload that holds five bytes, as a target for more.
async fn upload(app: &TestApp) -> String {
    let name = repository("worker");
    let begun = app
        .admin()
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .expect(202);
    app.admin()
        .patch(begun.location(), "hello")
        .await
        .expect(202)
        .location()
        .to_owned()
}

/// Until every job has been run once; then they are not due for minutes.
pub(crate) async fn at_rest(app: &TestApp) {
    eventually("the first look is over", || async {
        app.count(&at_work("true")).await == 0
    })
    .await;
}

/// How many jobs of these are due or running; one, where nobody has made any yet.
fn at_work(filter: &str) -> String {
    format!(
        "SELECT CASE count(*) WHEN 0 THEN 1 ELSE count(*) FILTER (WHERE claimed_at IS NOT NULL OR due_at <= now()) END
         FROM job WHERE {filter}"
    )
}

async fn change(app: &TestApp, sql: &str) {
    app.database()
        .session()
        .await
        .batch_execute(sql)
        .await
        .expect("a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_uploads_that_have_expired() {
    let app = TestApp::start().await;
    let target = upload(&app).await;
    at_rest(&app).await;
    change(
        &app,
        "UPDATE upload SET expires_at = now() - interval '1 s'",
    )
    .await;
    change(&app, "UPDATE job SET due_at = now()").await;
    // A worker that is idle asks once a minute; one that starts asks at once.
    let another = app.another();
    eventually("the upload is gone", || async {
        app.count("SELECT count(*) FROM upload").await == 0
    })
    .await;
    assert_eq!(app.count("SELECT count(*) FROM object_delete").await, 1);
    eventually("the run is counted", || async {
        another
            .metric("portolan_job_items_total{kind=\"sweep-uploads\"}")
            .await
            >= 1.0
    })
    .await;
    app.admin().get(&target).await.expect(404);
    another.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_deletes_objects_whose_quarantine_is_over() {
    let app = TestApp::start().await;
    let target = upload(&app).await;
    app.admin().delete(&target).await.expect(204);
    at_rest(&app).await;
    let objects = app.objects().len();
    assert!(objects > 0, "the quarantine keeps what was uploaded");
    change(&app, "UPDATE object_delete SET not_before = now()").await;
    change(&app, "UPDATE job SET due_at = now()").await;
    let another = app.another();
    eventually("the objects are forgotten", || async {
        app.count("SELECT count(*) FROM object_delete").await == 0
    })
    .await;
    assert_eq!(app.objects(), Vec::<String>::new());
    another.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_removes_what_a_deleted_repository_left_a_day_ago() {
    let app = TestApp::start().await;
    for name in ["acme/gone", "acme/kept"] {
        push(&app.admin(), name, "v1", &Image::random(918)).await;
    }
    let delete = ["admin", "repository", "delete", "acme/gone"];
    run(app.command().args(delete));
    at_rest(&app).await;
    let repositories = "SELECT count(*) FROM repository";
    assert_eq!(app.count(repositories).await, 2, "it was deleted just now");
    let day = "UPDATE repository SET removed_at = removed_at - interval '25 hours' WHERE removed_at IS NOT NULL";
    change(&app, day).await;
    change(&app, "UPDATE job SET due_at = now()").await;
    let another = app.another();
    eventually("the repository is gone", || async {
        app.count(repositories).await == 1
    })
    .await;
    assert_eq!(app.count("SELECT count(*) FROM manifest").await, 1);
    assert_eq!(app.count("SELECT count(*) FROM tag").await, 1);
    app.admin()
        .get("/v2/acme/kept/manifests/v1")
        .await
        .expect(200);
    another.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_says_why_and_is_tried_again_later() {
    let app = TestApp::start().await;
    at_rest(&app).await;
    change(&app, "ALTER TABLE object_delete RENAME TO elsewhere").await;
    change(&app, "UPDATE job SET due_at = now()").await;
    let another = app.another();
    eventually("the failure is noted", || async {
        app.count("SELECT count(*) FROM job WHERE last_error IS NOT NULL AND due_at > now()")
            .await
            == 1
    })
    .await;
    let listed = run(app.command().args(["admin", "job", "list"]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed
        .lines()
        .find(|line| line.contains("delete-objects"))
        .unwrap();
    // On a busy machine it may have been tried again by now.
    assert!(
        line.contains("attempts ") && !line.contains("attempts 0"),
        "{line}"
    );
    assert!(line.contains("does not exist"), "{line}");
    eventually("the failure is counted", || async {
        another
            .metric("portolan_job_runs_total{kind=\"delete-objects\",outcome=\"failed\"}")
            .await
            >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_is_not_taken_up() {
    let app = TestApp::start().await;
    at_rest(&app).await;
    run(app
        .command()
        .args(["admin", "job", "pause", "sweep-uploads"]));
    let runs = "SELECT sum(lease)::bigint FROM job WHERE kind = 'sweep-uploads'";
    let before = app.count(runs).await;
    change(&app, "UPDATE job SET due_at = now()").await;
    let _another = app.another();
    at_rest_but_paused(&app).await;
    assert_eq!(app.count(runs).await, before);
    run(app
        .command()
        .args(["admin", "job", "resume", "sweep-uploads"]));
    let _third = app.another();
    at_rest(&app).await;
    assert_eq!(app.count(runs).await, before + 1);
}

async fn at_rest_but_paused(app: &TestApp) {
    eventually("the other jobs were run", || async {
        app.count(&at_work("NOT paused")).await == 0
    })
    .await;
}
