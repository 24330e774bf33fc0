//! The same question to every statement that contains the decision.

use super::world::{BLOBS, MANIFEST, World};
use crate::support::{Db, digest, path, tag};
use futures::future::join_all;
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::blobs::{self, BlobKey, ResolveBlob};
use portolan_metadata::manifests::{DigestKey, ResolveDigest, ResolveDigestHead};
use portolan_metadata::tags::{ResolveTag, TagKey};
use portolan_metadata::{Access, Error, Principal, PrincipalState, Role, catalog, repositories};
use portolan_pg::PointRead;
use std::fmt::Debug;

/// A question, and what the model answers.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) path: String,
    pub(crate) principal: Principal,
    pub(crate) expected: Access,
}

/// Everybody about everything; whose credentials are void, about a third of it.
pub(crate) fn cases(world: &World) -> Vec<Case> {
    let paths = world.paths();
    let mut cases = Vec::new();
    for (nth, principal) in world.principals().into_iter().enumerate() {
        for (place, path) in paths.iter().enumerate() {
            let expected = world.decide(&principal, path);
            if expected.principal == PrincipalState::Ended && (nth + place) % 3 != 0 {
                continue;
            }
            cases.push(Case {
                path: path.clone(),
                principal,
                expected,
            });
        }
    }
    cases
}

/// Keys that travel together, less than a queue of reads holds.
const AT_ONCE: usize = 256;

async fn read<R: PointRead>(db: &Db, cases: &[Case], key: impl Fn(&Case) -> R::Key) -> Vec<R::Row> {
    let mut rows = Vec::with_capacity(cases.len());
    for some in cases.chunks(AT_ONCE) {
        let reads = some.iter().map(|case| db.router.read_fresh::<R>(key(case)));
        for served in join_all(reads).await {
            rows.push(served.unwrap().value.unwrap());
        }
    }
    rows
}

/// Panics where a statement decides otherwise than the model.
#[track_caller]
fn hold(world: &World, statement: &str, case: &Case, decided: &Access) {
    assert_eq!(
        *decided, case.expected,
        "seed {}: `{statement}` of `{}` for {:?}\n{world:#?}",
        world.seed, case.path, case.principal
    );
}

#[track_caller]
fn same<T: PartialEq + Debug>(
    world: &World,
    statement: &str,
    principal: &Principal,
    found: &T,
    expected: &T,
) {
    assert_eq!(
        found, expected,
        "seed {}: `{statement}` for {principal:?}\n{world:#?}",
        world.seed
    );
}

/// Every point read about every case, and whether what they find is shown to whom may read it and to nobody else.
pub(crate) async fn point_reads(db: &Db, world: &World, cases: &[Case]) {
    let access = read::<ResolveAccess>(db, cases, |case| AccessKey {
        path: path(&case.path),
        principal: case.principal,
    });
    let tags = read::<ResolveTag>(db, cases, |case| TagKey {
        path: path(&case.path),
        tag: tag("latest"),
        principal: case.principal,
    });
    let by_digest = |case: &Case| DigestKey {
        path: path(&case.path),
        digest: digest(MANIFEST.as_bytes()),
        principal: case.principal,
    };
    let gets = read::<ResolveDigest>(db, cases, by_digest);
    let heads = read::<ResolveDigestHead>(db, cases, by_digest);
    let blobs = read::<ResolveBlob>(db, cases, |case| BlobKey {
        path: path(&case.path),
        digest: digest(BLOBS[0].as_bytes()),
        principal: case.principal,
        for_seconds: 0,
    });
    let (access, tags, gets, heads, blobs) = futures::join!(access, tags, gets, heads, blobs);
    for (place, case) in cases.iter().enumerate() {
        hold(world, "access.resolve", case, &access[place]);
        hold(world, "tags.resolve", case, &tags[place].0);
        hold(world, "manifests.resolve_digest", case, &gets[place].0);
        hold(
            world,
            "manifests.resolve_digest_head",
            case,
            &heads[place].0,
        );
        hold(world, "blobs.resolve", case, &blobs[place].0);
        let shown = case.expected.repository.is_some() && case.expected.role >= Role::Read;
        let has_blob = world.repositories.iter().any(|repository| {
            repository.active && repository.path == case.path && repository.blobs.contains(&0)
        });
        let found = (
            tags[place].1.is_some(),
            gets[place].1.is_some(),
            heads[place].1.is_some(),
            blobs[place].1.is_some(),
        );
        same(
            world,
            "what is found",
            &case.principal,
            &found,
            &(shown, shown, shown, shown && has_blob),
        );
    }
}

/// The first statement of every write, about some of the cases: each is a round trip of its own.
pub(crate) async fn locks(db: &Db, world: &World, cases: &[Case]) {
    let tx = db.begin().await;
    // A step that shares no factor with the number of paths, so that all of them come.
    for case in cases.iter().step_by(11) {
        let decided = repositories::lock(&tx, &path(&case.path), &case.principal)
            .await
            .unwrap();
        hold(world, "repositories.lock", case, &decided);
    }
    tx.rollback().await.unwrap();
}

/// The lists, for everybody: whole, page by page, and by a part of the name.
pub(crate) async fn lists(db: &Db, world: &World) {
    for principal in &world.principals() {
        let reader = db.router.read_list();
        let expected: Vec<String> = world
            .readable(principal)
            .iter()
            .map(|repository| repository.path.clone())
            .collect();
        let ended = world.decide(principal, "nowhere/missing").principal == PrincipalState::Ended;
        let mut listed = Vec::new();
        loop {
            let last = listed.last().cloned();
            match catalog::list(&reader, principal, last.as_deref(), 2).await {
                Err(Error::PrincipalEnded) => {
                    assert!(
                        ended && listed.is_empty(),
                        "seed {}: {principal:?} has not ended",
                        world.seed
                    );
                    break;
                }
                page => {
                    assert!(!ended, "seed {}: {principal:?} has ended", world.seed);
                    let page = page.unwrap();
                    listed.extend(page.iter().map(|name| name.as_str().to_owned()));
                    if page.len() < 2 {
                        break;
                    }
                }
            }
        }
        same(world, "catalog.list", principal, &listed, &expected);
        if ended {
            continue;
        }
        let found = catalog::search(&reader, principal, "/app1", 100)
            .await
            .unwrap();
        let found: Vec<String> = found
            .iter()
            .map(|row| row.name.as_str().to_owned())
            .collect();
        let expected: Vec<String> = expected
            .into_iter()
            .filter(|name| name.contains("/app1"))
            .collect();
        same(world, "catalog.search", principal, &found, &expected);
    }
}

/// More repositories than any world has.
const HOLDERS: usize = 16;

/// A mount that names no source finds a blob exactly where its principal may read one of those that have it.
pub(crate) async fn mounts(db: &Db, world: &World) {
    // Each costs as many steps as repositories are looked at: another third of them in each world.
    let first = usize::try_from(world.seed % 3).unwrap();
    for principal in world.principals().iter().skip(first).step_by(3) {
        let reader = db.router.read_list();
        let readable = world.readable(principal);
        for (place, content) in BLOBS.iter().enumerate() {
            let found =
                blobs::find_readable(&reader, &digest(content.as_bytes()), principal, HOLDERS)
                    .await
                    .unwrap();
            let expected = readable
                .iter()
                .any(|repository| repository.blobs.contains(&place));
            same(
                world,
                "blobs.find_readable",
                principal,
                &found.is_some(),
                &expected,
            );
        }
    }
}
