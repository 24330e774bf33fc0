//! The decision against a model of it, over random worlds.
//!
//! Every statement that decides is asked everything about hundreds of small worlds and must say what [`model`] says, which
//! is the table of rules in plain words. That the worlds would show a fault is a test too: the statements with one thing
//! wrong ([`mutants`]), some fifty of them, are each found within a fraction of the worlds.
//!
//! ```text
//! PORTOLAN_WORLDS=5000 cargo test -p portolan-metadata --test it worlds     # so many
//! PORTOLAN_WORLD=642 cargo test -p portolan-metadata --test it worlds       # this one
//! ```

mod ask;
mod model;
mod mutants;
mod world;

use crate::support::{Db, digest, path};
use ask::Case;
use mutants::{MUTANTS, Mutant};
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::{Access, Principal, statements};
use portolan_pg::{PointRead as _, Statement};
use std::collections::BTreeMap;
use std::ops::Range;
use tokio_postgres::types::ToSql;
use world::{BLOBS, World};

/// Unless told: hundreds, in some twenty seconds.
const WORLDS: u64 = 200;

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test binary, not of the server"
)]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("`{variable}` is a whole number")),
    )
}

fn seeds() -> Range<u64> {
    match number("PORTOLAN_WORLD") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PORTOLAN_WORLDS").unwrap_or(WORLDS),
    }
}

async fn database() -> Db {
    let db = Db::new().await;
    db.sql.batch_execute(&world::contents()).await.unwrap();
    db
}

async fn load(db: &Db, seed: u64) -> World {
    let world = World::random(seed);
    let sql = world.sql();
    let loaded = db.sql.batch_execute(&sql).await;
    loaded.unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{sql}"));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_decides_as_the_rules_say_whatever_the_world() {
    let db = database().await;
    let (mut asked, mut roles) = (0, BTreeMap::<String, usize>::new());
    let seeds = seeds();
    eprintln!("worlds with seeds {seeds:?}");
    for seed in seeds.clone() {
        let world = load(&db, seed).await;
        let cases = ask::cases(&world);
        ask::point_reads(&db, &world, &cases).await;
        ask::locks(&db, &world, &cases).await;
        ask::lists(&db, &world).await;
        ask::mounts(&db, &world).await;
        asked += cases.len();
        for case in &cases {
            let Access {
                role,
                principal,
                writable,
                may_create,
                ..
            } = case.expected;
            *roles
                .entry(format!("{principal:?} {role:?} {writable:?} {may_create}"))
                .or_default() += 1;
        }
    }
    eprintln!("{asked} questions to each of six statements: {roles:#?}");
    if seeds.end - seeds.start >= WORLDS {
        // None of them stands for a case that never came.
        let common = roles.values().filter(|count| **count >= 20).count();
        assert!(common >= 20, "the worlds are poor: {roles:#?}");
    }
}

/// A statement of that name with other words in it.
fn mutated(mutant: &Mutant) -> (&'static Statement, String) {
    let (name, wrong, exchanged) = mutant;
    let statement = statements()
        .find(|statement| statement.name == *name)
        .expect(name);
    let mut sql = statement.sql.to_owned();
    for (from, to) in *exchanged {
        assert!(sql.contains(from), "`{wrong}`: `{from}` is not in `{name}`");
        sql = sql.replace(from, to);
    }
    (statement, sql)
}

/// Whether a mutant answers otherwise than it should, or not at all.
async fn differs(db: &Db, world: &World, cases: &[Case], mutant: &Mutant) -> bool {
    let (statement, sql) = mutated(mutant);
    let prepared = db.sql.prepare_typed(&sql, statement.types).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("`{}`: {error:?}\n{sql}", mutant.1));
    match statement.name {
        "access.resolve" => {
            let keys: Vec<AccessKey> = cases
                .iter()
                .map(|case| AccessKey {
                    path: path(&case.path),
                    principal: case.principal,
                })
                .collect();
            let columns = ResolveAccess::columns(&keys.iter().collect::<Vec<_>>());
            let parameters: Vec<&(dyn ToSql + Sync)> = columns
                .iter()
                .map(|column| &**column as &(dyn ToSql + Sync))
                .collect();
            let Ok(rows) = db.sql.query(&prepared, &parameters).await else {
                return true;
            };
            rows.iter().any(|row| {
                let place: i64 = row.get(0);
                let case = &cases[usize::try_from(place).unwrap() - 1];
                // An answer that cannot be read is another one too.
                ResolveAccess::decode(row).map_or(true, |decided| decided != case.expected)
            })
        }
        "catalog.list" => {
            for principal in world.principals() {
                let (account, generation, credential) = parts(&principal);
                let rows = db
                    .sql
                    .query(
                        &prepared,
                        &[&account, &generation, &"", &100_i64, &credential],
                    )
                    .await
                    .unwrap();
                let found: Vec<&str> = rows.iter().filter_map(|row| row.get(1)).collect();
                let readable = world.readable(&principal);
                let expected: Vec<&str> = readable
                    .iter()
                    .map(|repository| repository.path.as_str())
                    .collect();
                if found != expected {
                    return true;
                }
            }
            false
        }
        _ => {
            for principal in world.principals() {
                let readable = world.readable(&principal);
                for (place, content) in BLOBS.iter().enumerate() {
                    let (account, generation, credential) = parts(&principal);
                    let digest = digest(content.as_bytes());
                    let rows = db
                        .sql
                        .query(
                            &prepared,
                            &[
                                &account,
                                &generation,
                                &digest.as_bytes(),
                                &16_i64,
                                &credential,
                            ],
                        )
                        .await
                        .unwrap();
                    if rows.is_empty()
                        == readable
                            .iter()
                            .any(|repository| repository.blobs.contains(&place))
                    {
                        return true;
                    }
                }
            }
            false
        }
    }
}

fn parts(principal: &Principal) -> (Option<i64>, Option<i64>, Option<i64>) {
    match principal {
        Principal::Anonymous => (None, None, None),
        Principal::Account {
            id,
            generation,
            credential,
        } => (
            Some(id.get()),
            Some(*generation),
            credential.map(portolan_metadata::CredentialId::get),
        ),
    }
}

/// In how many worlds each must be found: a quarter of those that the statements themselves go through.
const FOUND_WITHIN: u64 = 50;

#[tokio::test]
async fn a_statement_with_any_one_thing_wrong_is_found() {
    let db = database().await;
    let mut left: Vec<&Mutant> = MUTANTS.iter().collect();
    let mut found = Vec::new();
    for seed in 0..FOUND_WITHIN {
        if left.is_empty() {
            break;
        }
        let world = load(&db, seed).await;
        let cases = ask::cases(&world);
        let mut survivors = Vec::new();
        for mutant in left {
            if differs(&db, &world, &cases, mutant).await {
                found.push((seed, mutant.1));
            } else {
                survivors.push(mutant);
            }
        }
        left = survivors;
    }
    eprintln!("found, and by which world: {found:#?}");
    let left: Vec<_> = left
        .iter()
        .map(|(statement, wrong, _)| format!("`{statement}`: {wrong}"))
        .collect();
    assert!(
        left.is_empty(),
        "not found in {FOUND_WITHIN} worlds:\n{}",
        left.join("\n")
    );
}

#[test]
fn worlds_hold_void_credentials_of_every_kind() {
    let mut kinds = BTreeMap::<String, usize>::new();
    for seed in 0..20 {
        let world = World::random(seed);
        for principal in world.principals() {
            let state = world.decide(&principal, "nowhere/missing").principal;
            *kinds.entry(format!("{state:?}")).or_default() += 1;
        }
    }
    assert!(
        kinds.len() == 3 && kinds.values().all(|count| *count >= 20),
        "{kinds:?}"
    );
}
