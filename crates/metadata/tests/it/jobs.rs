//! Jobs: claimed for a while, by one worker at a time, and never lost.

use crate::support::{Db, aside, commit};
use portolan_metadata::jobs::{self, ClaimedJob, NewJob};
use serde_json::{Value, json};
use std::time::Duration;

const LEASE: Duration = Duration::from_mins(1);

fn job<'a>(kind: &'a str, key: &'a str, payload: &'a Value) -> NewJob<'a> {
    NewJob {
        kind,
        key,
        payload,
        due_in: Duration::ZERO,
    }
}

async fn claim(db: &Db, kinds: &[&str]) -> Vec<ClaimedJob> {
    db.write(async |tx| jobs::claim(tx, kinds, LEASE, 10).await)
        .await
}

async fn enqueue(db: &Db, new: &NewJob<'_>) {
    db.write(async |tx| jobs::enqueue(tx, new).await).await;
}

#[tokio::test]
async fn a_job_is_claimed_once_done_and_gone() {
    let db = Db::new().await;
    let payload = json!({"of": "acme/app"});
    enqueue(&db, &job("remove", "7", &payload)).await;
    enqueue(&db, &job("other", "", &Value::Null)).await;
    let claimed = claim(&db, &["remove", "unknown"]).await;
    let [mine] = &claimed[..] else {
        panic!("{claimed:?}")
    };
    assert_eq!(
        (mine.kind.as_str(), mine.key.as_str(), mine.attempt),
        ("remove", "7", 1)
    );
    assert_eq!(mine.payload, payload);
    assert!(claim(&db, &["remove"]).await.is_empty());
    assert!(
        db.write(async |tx| jobs::complete(tx, &mine.lease, None).await)
            .await
    );
    assert!(
        !db.write(async |tx| jobs::complete(tx, &mine.lease, None).await)
            .await
    );
    assert_eq!(
        db.number("SELECT count(*) FROM job WHERE kind = 'remove'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_job_whose_worker_died_is_claimed_by_another_and_the_first_hears_so() {
    let db = Db::new().await;
    enqueue(&db, &job("remove", "", &Value::Null)).await;
    let first = claim(&db, &["remove"]).await.remove(0);
    assert!(
        db.write(async |tx| jobs::renew(tx, &first.lease, LEASE).await)
            .await
    );
    db.run("UPDATE job SET due_at = now() - interval '1 second'")
        .await;
    let second = claim(&db, &["remove"]).await.remove(0);
    assert_eq!(second.attempt, 2);
    assert!(
        !db.write(async |tx| jobs::renew(tx, &first.lease, LEASE).await)
            .await
    );
    assert!(
        !db.write(async |tx| jobs::fail(tx, &first.lease, "late", LEASE).await)
            .await
    );
    assert!(
        !db.write(async |tx| jobs::complete(tx, &first.lease, None).await)
            .await
    );
    assert!(
        db.write(async |tx| jobs::complete(tx, &second.lease, None).await)
            .await
    );
}

#[tokio::test]
async fn a_recurring_job_comes_back_and_a_failed_one_is_tried_again() {
    let db = Db::new().await;
    let sweep = job("sweep", "", &Value::Null);
    assert!(db.write(async |tx| jobs::ensure(tx, &sweep).await).await);
    assert!(!db.write(async |tx| jobs::ensure(tx, &sweep).await).await);
    let mine = claim(&db, &["sweep"]).await.remove(0);
    let minute = Duration::from_mins(1);
    assert!(
        db.write(async |tx| jobs::complete(tx, &mine.lease, Some(minute)).await)
            .await
    );
    assert!(claim(&db, &["sweep"]).await.is_empty());
    db.run("UPDATE job SET due_at = now()").await;
    let mine = claim(&db, &["sweep"]).await.remove(0);
    assert_eq!(mine.attempt, 1, "a success ends the count");
    let error = "ü".repeat(2_000) + "\0";
    assert!(
        db.write(async |tx| jobs::fail(tx, &mine.lease, &error, minute).await)
            .await
    );
    assert!(claim(&db, &["sweep"]).await.is_empty());
    db.run("UPDATE job SET due_at = now()").await;
    assert_eq!(claim(&db, &["sweep"]).await.remove(0).attempt, 2);
    let reader = db.router.read_list();
    let rows = jobs::list(&reader, None, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].last_error.as_ref().unwrap().starts_with("üü"));
    assert!(rows[0].claimed_at.is_some());
    assert!(
        jobs::list(&reader, Some(rows[0].id), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn what_is_asked_for_while_it_runs_runs_once_more() {
    let db = Db::new().await;
    enqueue(&db, &job("remove", "", &json!(1))).await;
    let mine = claim(&db, &["remove"]).await.remove(0);
    enqueue(&db, &job("remove", "", &json!(2))).await;
    assert!(
        claim(&db, &["remove"]).await.is_empty(),
        "not beside the one that runs"
    );
    assert!(
        db.write(async |tx| jobs::complete(tx, &mine.lease, None).await)
            .await
    );
    let again = claim(&db, &["remove"]).await.remove(0);
    assert_eq!(again.payload, json!(2));
    assert!(
        db.write(async |tx| jobs::complete(tx, &again.lease, None).await)
            .await
    );
    assert_eq!(db.number("SELECT count(*) FROM job").await, 0);
}

#[tokio::test]
async fn a_request_that_comes_as_the_job_ends_is_not_lost() {
    let db = Db::new().await;
    enqueue(&db, &job("remove", "", &json!(1))).await;
    let mine = claim(&db, &["remove"]).await.remove(0);
    let asking = db.begin().await;
    jobs::enqueue(&asking, &job("remove", "", &json!(2)))
        .await
        .unwrap();
    let ending = db.begin().await;
    let race = aside(async move {
        assert!(jobs::complete(&ending, &mine.lease, None).await.unwrap());
        commit(ending).await;
    });
    db.until_blocked().await;
    commit(asking).await;
    race.await.unwrap();
    assert_eq!(claim(&db, &["remove"]).await.remove(0).payload, json!(2));
}

#[tokio::test]
async fn a_job_waits_until_it_is_due_and_the_sooner_time_holds() {
    let db = Db::new().await;
    let reader = db.router.read_list();
    let next = async || jobs::next_due(&reader, &["remove"]).await.unwrap();
    assert_eq!(next().await, None);
    let hours = |hours| NewJob {
        due_in: Duration::from_hours(hours),
        ..job("remove", "", &Value::Null)
    };
    enqueue(&db, &hours(5)).await;
    enqueue(&db, &hours(3)).await;
    enqueue(&db, &hours(4)).await;
    let due = next().await.unwrap();
    assert!(
        Duration::from_mins(179) < due && due <= Duration::from_hours(3),
        "{due:?}"
    );
    assert!(claim(&db, &["remove"]).await.is_empty());
    assert_eq!(jobs::next_due(&reader, &["other"]).await.unwrap(), None);

    db.run("UPDATE job SET due_at = now() - interval '1 hour'")
        .await;
    assert_eq!(next().await, Some(Duration::ZERO));
    assert_eq!(
        db.write(async |tx| jobs::set_paused(tx, "remove", true).await)
            .await,
        1
    );
    assert_eq!(next().await, None);
    assert!(claim(&db, &["remove"]).await.is_empty());
    db.write(async |tx| jobs::set_paused(tx, "remove", false).await)
        .await;
    assert_eq!(claim(&db, &["remove"]).await.len(), 1);
}

#[tokio::test]
async fn two_workers_claim_different_jobs() {
    let db = Db::new().await;
    let keys: Vec<String> = (0..10).map(|number: u32| number.to_string()).collect();
    for key in &keys {
        enqueue(&db, &job("remove", key, &Value::Null)).await;
    }
    let (one, two) = (db.begin().await, db.begin().await);
    let first = jobs::claim(&one, &["remove"], LEASE, 6).await.unwrap();
    let second = jobs::claim(&two, &["remove"], LEASE, 6).await.unwrap();
    assert_eq!((first.len(), second.len()), (6, 4));
    assert!(
        first
            .iter()
            .all(|job| second.iter().all(|other| other.lease != job.lease))
    );
    commit(one).await;
    commit(two).await;
}
