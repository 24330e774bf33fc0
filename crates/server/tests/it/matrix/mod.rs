//! Every endpoint of the public listener × every kind of principal × every kind of repository, against the real server.
//!
//! What is expected is one table for people (`table.txt`). It is complete by force: a route in the source that it does not
//! have fails [`every_route_is_in_the_table`], a row that lacks a column cannot be read.

mod ask;
mod routes;
mod scene;
mod table;

use crate::app::{Store, TestApp};
use ask::{Visit, plain, word};
use futures::stream::{self, StreamExt as _};
use portolan_testkit::client::Answer;
use scene::{Casting, Principal};
use std::collections::{BTreeMap, BTreeSet};
use table::{Block, Route};

/// Rows side by side: enough that the server is never idle, and few enough that none waits for a connection in vain.
const AT_ONCE: usize = 4;

#[test]
fn every_route_is_in_the_table() {
    let listed: Vec<String> = table::blocks()
        .iter()
        .flat_map(|block| &block.routes)
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let listed: BTreeSet<String> = listed.into_iter().collect();
    let declared = routes::declared();
    assert!(declared.len() >= 20, "only {declared:?} were seen");
    let missing: Vec<_> = declared.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "no row of the table says who may use {missing:?}"
    );
    let gone: Vec<_> = listed
        .difference(&declared)
        .filter(|route| !route.starts_with("HEAD"))
        .collect();
    assert!(
        gone.is_empty(),
        "the table has routes that the server does not: {gone:?}"
    );
}

/// An answer, and what it is to be called.
struct Seen {
    route: Route,
    column: String,
    word: String,
    answer: Answer,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_may_exactly_what_the_table_says() {
    // One machine is wrong hundreds of times here, and is to be told so each time.
    let app = TestApp::options(Store::Directory)
        .with("LOGIN__LOCKOUT_AFTER", 0)
        .with("LOGIN__FAILURES_PER_NETWORK", 0)
        .with("LOGIN__FAILURES_PER_ACCOUNT", 0)
        .start()
        .await;
    let blocks = table::blocks();
    let everybody: Vec<String> = blocks[0].rows.iter().map(|row| row.who.clone()).collect();
    for block in &blocks {
        let rows: Vec<&String> = block.rows.iter().map(|row| &row.who).collect();
        assert!(
            rows.iter().copied().eq(&everybody),
            "`{}` has other rows than the first block",
            block.name
        );
    }
    scene::build(&app, everybody.len()).await;
    let casting = Casting::of(&app).await;
    let mut cast = Vec::new();
    for (number, who) in everybody.iter().enumerate() {
        cast.push((number, who.as_str(), casting.find(who, number).await));
    }
    let work = cast.iter().map(|(number, who, principal)| async {
        let mut faults = Vec::new();
        for block in &blocks {
            let sees = blocks[0].cell(who, "foreign") == Some("ok");
            faults.extend(row(block, *number, who, principal, sees).await);
        }
        faults.extend(catalog(&blocks, who, principal).await);
        faults
    });
    let faults: Vec<String> = stream::iter(work)
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await
        .concat();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    app.settled().await;
}

/// One row of a block: what was otherwise than it says. Who does not see what is foreign must not be able to tell it from
/// what is missing.
async fn row(
    block: &Block,
    number: usize,
    who: &str,
    principal: &Principal,
    sees_foreign: bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = Vec::new();
    for column in &block.columns {
        let expected = block.cell(who, column).expect("every row has every column");
        let answers = ask(block, number, principal, column).await;
        if (expected == "-") != answers.is_empty() {
            faults.push(format!(
                "{}: {who}: {column}: `{expected}`, and {} answers",
                block.name,
                answers.len()
            ));
        }
        for one in answers {
            let expected = one.route.expected(expected);
            if one.word != expected {
                let Route { method, path, .. } = &one.route;
                faults.push(format!(
                    "{}: {who}: {column}: {method} {path}: {} instead of {expected} ({})",
                    block.name,
                    one.word,
                    one.answer.asked()
                ));
            }
            seen.push(one);
        }
    }
    if !sees_foreign {
        faults.extend(told_apart(&block.name, who, principal, &seen));
    }
    faults
}

async fn ask(block: &Block, number: usize, principal: &Principal, column: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    let saw = |route: &Route, answer: Answer| Seen {
        route: route.clone(),
        column: column.to_owned(),
        word: word(&answer, route),
        answer,
    };
    if block.routes.iter().any(|route| route.column.is_some()) {
        for route in block
            .routes
            .iter()
            .filter(|route| route.column.as_deref() == Some(column))
        {
            // Who shows a token has no form to fill in.
            if route.path == "/v2/auth" && route.method == "POST" && principal.login.is_none() {
                continue;
            }
            seen.push(saw(route, plain(principal, route).await));
        }
        return seen;
    }
    let Some(repository) = principal.repository(column) else {
        return seen;
    };
    let mut visit = Visit {
        principal,
        row: number,
        repository,
        upload: None,
    };
    for route in &block.routes {
        let answer = visit.ask(route).await;
        seen.push(saw(route, answer));
    }
    seen
}

/// Where a repository that one may not see is refused otherwise than one that is not there: in its status, a header or a
/// byte of the body, but for its name, which is as long.
fn told_apart(block: &str, who: &str, principal: &Principal, seen: &[Seen]) -> Vec<String> {
    let mut faults = Vec::new();
    let of = |column: &str| {
        seen.iter()
            .filter(|one| one.column == column)
            .collect::<Vec<_>>()
    };
    for (foreign, missing) in of("foreign").into_iter().zip(of("missing")) {
        let nameless = |one: &Seen| {
            let name = principal
                .repository(&one.column)
                .expect("both are somewhere");
            let mut lines: Vec<String> = one
                .answer
                .headers
                .iter()
                // The time and the number of the request are each request's own.
                .filter(|(header, _)| !["date", "x-request-id"].contains(&header.as_str()))
                .map(|(header, value)| {
                    format!("{header}: {}", String::from_utf8_lossy(value.as_bytes()))
                })
                .collect();
            lines.push(format!(
                "{} {}",
                one.answer.status,
                String::from_utf8_lossy(&one.answer.body)
            ));
            lines.join("\n").replace(&name, "NAME")
        };
        let (theirs, nobodys) = (nameless(foreign), nameless(missing));
        if theirs != nobodys {
            let Route { method, path, .. } = &foreign.route;
            faults.push(format!(
                "{block}: {who}: {method} {path} tells them apart:\n{theirs}\n---\n{nobodys}"
            ));
        }
    }
    faults
}

/// The list must show just those of the columns that may be read.
async fn catalog(blocks: &[Block], who: &str, principal: &Principal) -> Vec<String> {
    let read = &blocks[0];
    let plain = blocks.iter().find(|block| block.name == "plain");
    if plain.expect("it has the catalog").cell(who, "catalog") != Some("ok") {
        return Vec::new();
    }
    let answer = principal
        .client
        .get("/v2/_catalog?n=1000")
        .await
        .expect(200)
        .json();
    let listed: BTreeSet<&str> = answer["repositories"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| name.as_str().expect("a name"))
        .collect();
    let mut by_column = BTreeMap::new();
    for column in &read.columns {
        // What may be made has been, meanwhile.
        if !["new", "missing"].contains(&column.as_str())
            && let Some(name) = principal.repository(column)
        {
            by_column.insert(column, name);
        }
    }
    by_column
        .iter()
        .filter(|(column, name)| {
            (read.cell(who, column) == Some("ok")) != listed.contains(name.as_str())
        })
        .map(|(column, name)| {
            format!("{who}: the catalog and the table do not agree about {column} (`{name}`)")
        })
        .collect()
}
