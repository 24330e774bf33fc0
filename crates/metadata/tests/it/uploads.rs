//! Uploads: claimed by one, taken by one, and whatever their rows named is deleted by nobody but phase 2.

use crate::access::user;
use crate::collector::a_day_passes;
use crate::support::{Db, aside, commit, fresh_key, path};
use portolan_metadata::uploads::{
    self, Claim, Held, NewUpload, Progress, StoredPart, Tail, Upload, UploadScope,
};
use portolan_metadata::{Error, StorageKey};
use portolan_oci::{Algorithm, UploadId};
use portolan_pg::Tx;
use std::time::Duration;

const LEASE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

async fn begun(db: &Db) -> UploadScope {
    let alice = user(db, "alice", false).await;
    let scope = UploadScope {
        id: UploadId::from_random([7; 16]),
        path: path("alice/app"),
        account: alice.account().unwrap(),
    };
    let new = NewUpload {
        scope: scope.clone(),
        algorithm: Algorithm::Sha512,
        store: db.store,
        time_to_live: DAY,
    };
    db.write(async |tx| uploads::create(tx, &new).await).await;
    scope
}

async fn claimed(db: &Db, scope: &UploadScope, key: &StorageKey) -> Claim {
    db.write(async |tx| uploads::claim(tx, scope, key, LEASE, DAY).await)
        .await
}

async fn held(db: &Db, scope: &UploadScope) -> (Held, Box<Upload>) {
    match claimed(db, scope, &fresh_key()).await {
        Claim::Held(upload) => (
            Held {
                id: scope.id,
                version: upload.version,
            },
            upload,
        ),
        other => panic!("{other:?}"),
    }
}

/// The objects to delete: key, whether a multipart, its id; in the order of keys.
async fn doomed(db: &Db) -> Vec<(String, bool, Option<String>)> {
    let sql = "SELECT storage_key, multipart, multipart_id FROM object_delete ORDER BY storage_key";
    let rows = db.sql.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[tokio::test]
async fn an_upload_is_found_by_id_repository_and_account_together() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let mallory = user(&db, "mallory", true).await.account().unwrap();
    let others = [
        UploadScope {
            id: UploadId::from_random([8; 16]),
            ..scope.clone()
        },
        UploadScope {
            path: path("alice/other"),
            ..scope.clone()
        },
        UploadScope {
            account: mallory,
            ..scope.clone()
        },
    ];
    for other in &others {
        assert_eq!(
            db.write(async |tx| uploads::find(tx, other).await).await,
            None
        );
        assert!(matches!(
            claimed(&db, other, &fresh_key()).await,
            Claim::Unknown
        ));
        assert!(!db.write(async |tx| uploads::cancel(tx, other).await).await);
    }
    assert_eq!(
        db.write(async |tx| uploads::find(tx, &scope).await).await,
        Some(0)
    );
    let (_, upload) = held(&db, &scope).await;
    assert_eq!(
        (upload.algorithm, upload.store, upload.received),
        (Algorithm::Sha512, db.store, 0)
    );
    assert_eq!(
        (upload.part_count, upload.multipart, upload.tail),
        (0, None, None)
    );
}

#[tokio::test]
async fn one_claim_at_a_time_and_progress_is_what_the_next_one_finds() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let (mine, _) = held(&db, &scope).await;
    assert!(matches!(
        claimed(&db, &scope, &fresh_key()).await,
        Claim::Busy { received: 0 }
    ));
    assert!(
        db.write(async |tx| uploads::renew(tx, &mine, LEASE).await)
            .await
    );

    let (multipart, tail, old) = (fresh_key(), fresh_key(), fresh_key());
    assert!(
        db.write(async |tx| uploads::begin_multipart(tx, &mine, &multipart).await)
            .await
    );
    let progress = Progress {
        received: 21,
        hash_state: Some(vec![1, 2, 3]),
        multipart_id: Some("m-1".to_owned()),
        tail: Some(Tail {
            key: tail.clone(),
            size: 1,
        }),
        pending_key: None,
        parts: (1..=2)
            .map(|number| StoredPart {
                number,
                tag: format!("e{number}"),
                size: 10,
            })
            .collect(),
        discard: vec![old.clone()],
        lease: None,
        time_to_live: Duration::from_hours(24),
    };
    assert!(
        db.write(async |tx| uploads::progress(tx, &mine, &progress).await)
            .await
    );
    assert_eq!(
        db.write(async |tx| uploads::find(tx, &scope).await).await,
        Some(21)
    );
    assert_eq!(doomed(&db).await, [(old.to_string(), false, None)]);

    let (next, upload) = held(&db, &scope).await;
    assert!(next.version > mine.version);
    assert_eq!(upload.received, 21);
    assert_eq!(upload.hash_state.as_deref(), Some(&[1, 2, 3][..]));
    let found = upload.multipart.unwrap();
    assert_eq!((found.key, found.id.as_deref()), (multipart, Some("m-1")));
    assert_eq!(upload.part_count, 2);
    assert_eq!(upload.tail, Some(Tail { key: tail, size: 1 }));
    let parts = db.write(async |tx| uploads::parts(tx, &next).await).await;
    assert_eq!(parts, progress.parts);

    // Who has lost the claim writes nothing, whatever they try.
    let lost: [bool; 4] = [
        db.write(async |tx| uploads::renew(tx, &mine, LEASE).await)
            .await,
        db.write(async |tx| uploads::begin_multipart(tx, &mine, &fresh_key()).await)
            .await,
        db.write(async |tx| uploads::progress(tx, &mine, &Progress::default()).await)
            .await,
        db.write(async |tx| uploads::take_for_commit(tx, &mine).await)
            .await,
    ];
    assert_eq!(lost, [false; 4]);
    assert!(
        db.write(async |tx| uploads::parts(tx, &mine).await)
            .await
            .is_empty()
    );
    assert_eq!(
        db.write(async |tx| uploads::find(tx, &scope).await).await,
        Some(21)
    );
    assert!(
        db.write(async |tx| uploads::take_for_commit(tx, &next).await)
            .await
    );
    assert_eq!(db.number("SELECT count(*) FROM upload_part").await, 0);
}

#[tokio::test]
async fn of_two_claims_at_once_one_is_busy() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let first = db.begin().await;
    let claim = uploads::claim(&first, &scope, &fresh_key(), LEASE, DAY)
        .await
        .unwrap();
    assert!(matches!(claim, Claim::Held(_)));
    let second = db.begin().await;
    let other = scope.clone();
    let race = aside(async move {
        let claim = uploads::claim(&second, &other, &fresh_key(), LEASE, DAY)
            .await
            .unwrap();
        commit(second).await;
        claim
    });
    db.until_blocked().await;
    commit(first).await;
    assert!(matches!(race.await.unwrap(), Claim::Busy { .. }));
    assert!(db.holds("SELECT version = 2 FROM upload").await);
}

#[tokio::test]
async fn a_claim_that_waited_for_a_release_gets_what_was_released() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let (mine, _) = held(&db, &scope).await;
    let first = db.begin().await;
    let progress = Progress {
        received: 5,
        ..Progress::default()
    };
    assert!(uploads::progress(&first, &mine, &progress).await.unwrap());
    let second = db.begin().await;
    let other = scope.clone();
    let race = aside(async move {
        let claim = uploads::claim(&second, &other, &fresh_key(), LEASE, DAY)
            .await
            .unwrap();
        commit(second).await;
        claim
    });
    // Its snapshot still shows the claim: it is busy at once, or waits and gets it. Never an older state.
    commit(first).await;
    match race.await.unwrap() {
        Claim::Held(upload) => assert_eq!((upload.received, upload.version), (5, mine.version + 1)),
        Claim::Busy { received } => assert!(received == 0 || received == 5),
        Claim::Unknown => panic!("the upload is there"),
    }
}

#[tokio::test]
async fn what_a_dead_claim_may_have_written_is_to_be_deleted() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let (dead, next) = (fresh_key(), fresh_key());
    assert!(matches!(claimed(&db, &scope, &dead).await, Claim::Held(_)));
    // Its process dies; its lease runs out.
    db.run("UPDATE upload SET lock_until = now() - interval '1 second'")
        .await;
    assert!(matches!(claimed(&db, &scope, &next).await, Claim::Held(_)));
    assert_eq!(doomed(&db).await, [(dead.to_string(), false, None)]);
    assert!(
        db.holds("SELECT not_before > now() + interval '23 hours' FROM object_delete")
            .await
    );
    assert!(
        db.holds(&format!("SELECT pending_key = '{next}' FROM upload"))
            .await,
        "the new claim's key is noted before it is written"
    );
}

#[tokio::test]
async fn a_cancelled_or_expired_upload_leaves_every_key_to_phase_two() {
    for ending in ["cancel", "sweep", "sweep without id"] {
        let db = Db::new().await;
        let scope = begun(&db).await;
        let pending = fresh_key();
        let Claim::Held(upload) = claimed(&db, &scope, &pending).await else {
            panic!()
        };
        let mine = Held {
            id: scope.id,
            version: upload.version,
        };
        let (multipart, tail) = (fresh_key(), fresh_key());
        db.write(async |tx| uploads::begin_multipart(tx, &mine, &multipart).await)
            .await;
        let id = (ending != "sweep without id").then(|| "m-1".to_owned());
        let progress = Progress {
            received: 11,
            multipart_id: id.clone(),
            tail: Some(Tail {
                key: tail.clone(),
                size: 1,
            }),
            pending_key: Some(pending.clone()),
            parts: vec![StoredPart {
                number: 1,
                tag: "e".to_owned(),
                size: 10,
            }],
            ..Progress::default()
        };
        db.write(async |tx| uploads::progress(tx, &mine, &progress).await)
            .await;
        if ending == "cancel" {
            assert!(db.write(async |tx| uploads::cancel(tx, &scope).await).await);
        } else {
            assert_eq!(
                db.write(async |tx| uploads::sweep(tx, 10).await).await,
                0,
                "not yet"
            );
            a_day_passes(&db).await;
            assert_eq!(
                db.write(async |tx| uploads::find(tx, &scope).await).await,
                None
            );
            assert!(matches!(
                claimed(&db, &scope, &fresh_key()).await,
                Claim::Unknown
            ));
            assert_eq!(db.write(async |tx| uploads::sweep(tx, 10).await).await, 1);
        }
        assert_eq!(db.number("SELECT count(*) FROM upload").await, 0);
        let mut expected = [
            (pending.to_string(), false, None),
            (multipart.to_string(), true, id),
            (tail.to_string(), false, None),
        ];
        expected.sort();
        assert_eq!(doomed(&db).await, expected, "{ending}");
        // The sweeper touches no object itself: a write still in flight is caught a day later, and it is no blob.
        assert!(
            db.holds("SELECT bool_and(not_before > now() + interval '23 hours' AND reason = 'upload') FROM object_delete")
                .await
        );
        assert_eq!(db.write(async |tx| uploads::sweep(tx, 10).await).await, 0);
    }
}

#[tokio::test]
async fn the_sweeper_passes_by_what_somebody_works_on() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let (mine, _) = held(&db, &scope).await;
    a_day_passes(&db).await;
    assert_eq!(db.write(async |tx| uploads::sweep(tx, 10).await).await, 0);
    db.run("UPDATE upload SET lock_until = NULL").await;
    // Being committed at this moment: neither waits for the other, and the commit wins.
    let commit_tx = db.begin().await;
    assert!(uploads::take_for_commit(&commit_tx, &mine).await.unwrap());
    assert_eq!(db.write(async |tx| uploads::sweep(tx, 10).await).await, 0);
    commit(commit_tx).await;
    assert_eq!(db.write(async |tx| uploads::sweep(tx, 10).await).await, 0);
    assert!(doomed(&db).await.is_empty());
}

#[tokio::test]
async fn a_commit_that_comes_after_the_sweeper_does_nothing() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let (mine, _) = held(&db, &scope).await;
    a_day_passes(&db).await;
    db.run("UPDATE upload SET lock_until = now() - interval '1 second'")
        .await;
    let sweeper = db.begin().await;
    assert_eq!(uploads::sweep(&sweeper, 10).await.unwrap(), 1);
    let committer = db.begin().await;
    let race = aside(async move {
        let taken = uploads::take_for_commit(&committer, &mine).await.unwrap();
        commit(committer).await;
        taken
    });
    db.until_blocked().await;
    commit(sweeper).await;
    assert!(
        !race.await.unwrap(),
        "its key is in quarantine: no blob may name it"
    );
    assert_eq!(doomed(&db).await.len(), 1);
}

#[tokio::test]
async fn a_commit_that_is_cancelled_meanwhile_does_nothing() {
    let db = Db::new().await;
    let scope = begun(&db).await;
    let (mine, _) = held(&db, &scope).await;
    assert!(db.write(async |tx| uploads::cancel(tx, &scope).await).await);
    let write =
        async |tx: &Tx| -> Result<bool, Error> { uploads::take_for_commit(tx, &mine).await };
    assert!(!db.write(write).await);
    let row = doomed(&db).await;
    assert_eq!(row.len(), 1);
}

#[tokio::test]
async fn a_sweep_takes_no_more_than_it_is_told() {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    for number in 0..5_u8 {
        let scope = UploadScope {
            id: UploadId::from_random([number; 16]),
            path: path("alice/app"),
            account: alice.account().unwrap(),
        };
        let new = NewUpload {
            scope,
            algorithm: Algorithm::Sha256,
            store: db.store,
            time_to_live: DAY,
        };
        db.write(async |tx| uploads::create(tx, &new).await).await;
    }
    a_day_passes(&db).await;
    for expected in [2, 2, 1, 0] {
        assert_eq!(
            db.write(async |tx| uploads::sweep(tx, 2).await).await,
            expected
        );
    }
}
