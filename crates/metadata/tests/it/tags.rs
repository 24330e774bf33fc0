//! Tags: moved by compare-and-swap, listed bytewise, every move in the history.

use crate::support::{Db, Push, aside, commit, digest, path, router, tag};
use portolan_metadata::tags::{self, Expect, ResolveTag, TagDelete, TagKey, TagMove};
use portolan_metadata::{Error, ManifestId, Principal, RepositoryId};
use portolan_oci::Digest;
use portolan_pg::Tx;

/// Of a move: where to, where from, by whom.
type Told = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>);

struct Scene {
    db: Db,
    repository: RepositoryId,
    one: (ManifestId, Digest),
    two: (ManifestId, Digest),
}

async fn scene() -> Scene {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let one = db.manifest(repository, &Push::of(b"one")).await;
    let two = db.manifest(repository, &Push::of(b"two")).await;
    Scene {
        db,
        repository,
        one,
        two,
    }
}

async fn set(
    tx: &Tx,
    repository: RepositoryId,
    name: &str,
    to: &(ManifestId, Digest),
    expect: Option<&Expect>,
) -> Result<tags::TagMoved, Error> {
    let name = tag(name);
    let actor = Principal::Account {
        id: 7.into(),
        generation: 1,
        credential: None,
    };
    let step = TagMove {
        repository,
        tag: &name,
        manifest: to.0,
        digest: &to.1,
        actor,
        expect,
    };
    tags::move_to(tx, &step).await
}

async fn remove(
    tx: &Tx,
    repository: RepositoryId,
    name: &str,
    expect: Option<&Expect>,
) -> Result<bool, Error> {
    let name = tag(name);
    let step = TagDelete {
        repository,
        tag: &name,
        actor: Principal::Anonymous,
        expect,
    };
    tags::delete(tx, &step).await
}

impl Scene {
    async fn points_at(&self, name: &str) -> Option<Digest> {
        let root = crate::access::user(&self.db, "reader", true);
        let principal = match self
            .db
            .sql
            .query_opt("SELECT id FROM account WHERE name = 'reader'", &[])
            .await
            .unwrap()
        {
            Some(row) => Principal::Account {
                id: row.get::<_, i64>(0).into(),
                generation: 1,
                credential: None,
            },
            None => root.await,
        };
        let key = TagKey {
            path: path("acme/app"),
            tag: tag(name),
            principal,
        };
        let (_, found) = self
            .db
            .router
            .read_fresh::<ResolveTag>(key)
            .await
            .unwrap()
            .value
            .unwrap();
        found.map(|row| row.digest)
    }
}

#[tokio::test]
async fn a_tag_is_made_moved_and_removed_and_the_history_tells_it() {
    let scene = scene().await;
    let Scene {
        db,
        repository,
        one,
        two,
    } = &scene;
    let made = db
        .write(async |tx| set(tx, *repository, "latest", one, None).await)
        .await;
    assert_eq!((made.previous, made.abandoned), (None, None));
    let again = db
        .write(async |tx| set(tx, *repository, "latest", one, None).await)
        .await;
    assert_eq!((again.previous, again.abandoned), (Some(one.1), None));
    let moved = db
        .write(async |tx| set(tx, *repository, "latest", two, None).await)
        .await;
    assert_eq!(
        (moved.previous, moved.abandoned),
        (Some(one.1), Some(one.0))
    );
    assert_eq!(scene.points_at("latest").await, Some(two.1));
    assert!(
        db.write(async |tx| remove(tx, *repository, "latest", None).await)
            .await
    );
    assert!(
        !db.write(async |tx| remove(tx, *repository, "latest", None).await)
            .await
    );
    assert_eq!(scene.points_at("latest").await, None);

    let rows = db
        .sql
        .query(
            "SELECT digest, previous_digest, actor_account_id FROM tag_history WHERE name = 'latest' ORDER BY version",
            &[],
        )
        .await
        .unwrap();
    let told: Vec<Told> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let bytes = |digest: Digest| Some(digest.as_bytes().to_vec());
    assert_eq!(
        told,
        [
            (bytes(one.1), None, Some(7)),
            (bytes(two.1), bytes(one.1), Some(7)),
            (None, bytes(two.1), None),
        ]
    );
}

#[tokio::test]
async fn a_write_with_a_condition_changes_nothing_where_it_is_not_met() {
    let scene = scene().await;
    let Scene {
        db,
        repository,
        one,
        two,
    } = &scene;
    let absent = digest(b"neither");
    let table = [
        // (the tag points at, the condition, met)
        (None, Expect::Absent, true),
        (None, Expect::Exists, false),
        (None, Expect::AnyOf(vec![one.1]), false),
        (Some(one), Expect::Absent, false),
        (Some(one), Expect::Exists, true),
        (Some(one), Expect::AnyOf(vec![one.1]), true),
        (Some(one), Expect::AnyOf(vec![absent, one.1]), true),
        (Some(one), Expect::AnyOf(vec![absent]), false),
        (Some(one), Expect::AnyOf(vec![]), false),
    ];
    for (before, expect, met) in table {
        db.run("DELETE FROM tag").await;
        if let Some(before) = before {
            db.write(async |tx| set(tx, *repository, "latest", before, None).await)
                .await;
        }
        let history = db.number("SELECT count(*) FROM tag_history").await;
        let tx = db.begin().await;
        let outcome = set(&tx, *repository, "latest", two, Some(&expect)).await;
        commit(tx).await;
        let expected = if met {
            Some(two.1)
        } else {
            before.map(|before| before.1)
        };
        assert_eq!(scene.points_at("latest").await, expected, "{expect:?}");
        if !met {
            let Err(Error::TagChanged { current }) = outcome else {
                panic!("{expect:?}: {outcome:?}")
            };
            assert_eq!(current, expected);
            assert_eq!(db.number("SELECT count(*) FROM tag_history").await, history);
        }

        // The same for its removal.
        db.run("DELETE FROM tag").await;
        if let Some(before) = before {
            db.write(async |tx| set(tx, *repository, "latest", before, None).await)
                .await;
        }
        let tx = db.begin().await;
        let outcome = remove(&tx, *repository, "latest", Some(&expect)).await;
        commit(tx).await;
        match outcome {
            Ok(removed) => assert_eq!((met, removed), (true, before.is_some())),
            Err(Error::TagChanged { current }) => {
                assert!(!met);
                assert_eq!(current, scene.points_at("latest").await);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn of_two_that_swap_the_same_tag_one_wins() {
    let scene = scene().await;
    let Scene {
        db,
        repository,
        one,
        two,
    } = &scene;
    let three = db.manifest(*repository, &Push::of(b"three")).await;
    db.write(async |tx| set(tx, *repository, "latest", one, None).await)
        .await;
    let expect = Expect::AnyOf(vec![one.1]);

    let first = db.begin().await;
    set(&first, *repository, "latest", two, Some(&expect))
        .await
        .unwrap();
    let second = db.begin().await;
    let repository = *repository;
    let swap = aside(async move {
        let outcome = set(&second, repository, "latest", &three, Some(&expect)).await;
        second.rollback().await.unwrap();
        outcome
    });
    db.until_blocked().await;
    commit(first).await;
    let Err(Error::TagChanged { current }) = swap.await.unwrap() else {
        panic!("both won")
    };
    assert_eq!(current, Some(two.1));
    assert_eq!(scene.points_at("latest").await, Some(two.1));
}

#[tokio::test]
async fn of_two_that_make_the_same_tag_the_second_sees_the_first() {
    let scene = scene().await;
    let Scene {
        db,
        repository,
        one,
        two,
    } = &scene;
    for (second_expects, wins) in [(None, true), (Some(Expect::Absent), false)] {
        db.run("DELETE FROM tag").await;
        let first = db.begin().await;
        set(&first, *repository, "new", one, None).await.unwrap();
        let second = db.begin().await;
        let (repository, to) = (*repository, *two);
        let race = aside(async move {
            let outcome = set(&second, repository, "new", &to, second_expects.as_ref()).await;
            commit(second).await;
            outcome
        });
        db.until_blocked().await;
        commit(first).await;
        match race.await.unwrap() {
            Ok(moved) => assert!(wins && moved.previous == Some(one.1)),
            Err(Error::TagChanged { current }) => assert!(!wins && current == Some(one.1)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_hundred_swaps_of_a_counter_lose_none() {
    let scene = scene().await;
    let Scene { db, repository, .. } = &scene;
    let mut manifests = Vec::new();
    for number in 0..=20 {
        let payload = format!("value {number}");
        manifests.push(
            db.manifest(*repository, &Push::of(payload.as_bytes()))
                .await,
        );
    }
    db.write(async |tx| set(tx, *repository, "counter", &manifests[0], None).await)
        .await;
    let racers: Vec<_> = (0..4)
        .map(|_| {
            let (router, manifests, repository) =
                (router(&db.database, 1), manifests.clone(), *repository);
            aside(async move {
                let mut won = 0;
                for (at, next) in manifests.iter().zip(&manifests[1..]) {
                    let tx = router.begin().await.unwrap();
                    let expect = Expect::AnyOf(vec![at.1]);
                    match set(&tx, repository, "counter", next, Some(&expect)).await {
                        Ok(_) => {
                            won += 1;
                            commit(tx).await;
                        }
                        Err(Error::TagChanged { .. }) => tx.rollback().await.unwrap(),
                        Err(other) => panic!("{other:?}"),
                    }
                }
                won
            })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += racer.await.unwrap();
    }
    // Each step was made once or not at all; and the history says how often.
    let moves = db.number("SELECT count(*) FROM tag_history WHERE name = 'counter' AND previous_digest IS NOT NULL").await;
    assert_eq!(moves, won);
    assert!((1..=20).contains(&won));
}

#[tokio::test]
async fn tags_are_listed_bytewise_a_page_at_a_time() {
    let scene = scene().await;
    let Scene {
        db,
        repository,
        one,
        ..
    } = &scene;
    let mut names = [
        "b", "a", "Z", "_x", "1.0", "1.0-rc", "1.0.1", "v10", "v9", "ab",
    ]
    .map(str::to_owned);
    for name in &names {
        db.write(async |tx| set(tx, *repository, name, one, None).await)
            .await;
    }
    names.sort();
    let reader = db.router.read_list();
    let list = async |last: Option<&str>, rows| {
        let found = tags::list(&reader, *repository, last, rows).await.unwrap();
        found
            .iter()
            .map(|tag| tag.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, 100).await, names);
    let mut joined: Vec<String> = Vec::new();
    loop {
        let page = list(joined.last().map(String::as_str), 3).await;
        if page.is_empty() {
            break;
        }
        joined.extend(page);
    }
    assert_eq!(joined, names);
    for hostile in ["\0", "a\0b", "ä", "'", "zzzz"] {
        list(Some(hostile), 10).await;
    }
    assert_eq!(list(None, 0).await.len(), 0);
}

#[tokio::test]
async fn a_manifest_that_loses_its_tag_is_young_again() {
    let scene = scene().await;
    let Scene {
        db,
        repository,
        one,
        two,
    } = &scene;
    let is_young = async |manifest: ManifestId| {
        db.holds(&format!(
            "SELECT review_after > now() + interval '23 hours' FROM gc_queue WHERE kind = 'manifest' AND id = {manifest}"
        ))
        .await
    };
    db.write(async |tx| set(tx, *repository, "latest", one, None).await)
        .await;
    crate::collector::a_day_passes(db).await;
    assert!(!is_young(one.0).await);
    db.write(async |tx| remove(tx, *repository, "latest", None).await)
        .await;
    assert!(is_young(one.0).await);

    db.write(async |tx| set(tx, *repository, "latest", one, None).await)
        .await;
    crate::collector::a_day_passes(db).await;
    let push = Push {
        tag: Some("latest"),
        ..Push::of(b"two")
    };
    db.manifest(*repository, &push).await;
    assert!(
        is_young(one.0).await,
        "a push that moved the tag renews what lost it"
    );
    assert!(is_young(two.0).await);
}
