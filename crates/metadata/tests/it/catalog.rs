//! The catalog and the search: what the principal may read, in bytewise order, a page at a time.

use crate::access::user;
use crate::support::{Db, path};
use portolan_metadata::{Error, Principal, Visibility, catalog, repositories};

async fn listed(db: &Db, principal: Principal, last: Option<&str>, rows: usize) -> Vec<String> {
    let reader = db.router.read_list();
    let found = catalog::list(&reader, &principal, last, rows)
        .await
        .unwrap();
    found.iter().map(|name| name.as_str().to_owned()).collect()
}

async fn world() -> (Db, Principal, Principal) {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    let root = user(&db, "root", true).await;
    for name in [
        "acme/open",
        "acme/secret",
        "alice/b",
        "alice/a",
        "alice/a-1",
        "alice/a/x",
        "zoo/open",
    ] {
        db.repository(name).await;
    }
    for name in ["acme/open", "zoo/open", "alice/a"] {
        let name = path(name);
        db.write(async |tx| repositories::set_visibility(tx, &name, Visibility::Public).await)
            .await;
    }
    db.repository("acme/gone").await;
    db.write(async |tx| repositories::mark_deleted(tx, &path("acme/gone")).await)
        .await;
    (db, alice, root)
}

#[tokio::test]
async fn everybody_sees_what_they_may_read() {
    let (db, alice, root) = world().await;
    let everything = [
        "acme/open",
        "acme/secret",
        "alice/a",
        "alice/a-1",
        "alice/a/x",
        "alice/b",
        "zoo/open",
    ];
    assert_eq!(
        listed(&db, Principal::Anonymous, None, 100).await,
        ["acme/open", "alice/a", "zoo/open"]
    );
    assert_eq!(
        listed(&db, alice, None, 100).await,
        [
            "acme/open",
            "alice/a",
            "alice/a-1",
            "alice/a/x",
            "alice/b",
            "zoo/open"
        ]
    );
    assert_eq!(listed(&db, root, None, 100).await, everything);
    assert_eq!(
        listed(&db, Principal::Anonymous, Some("zoo/open"), 100).await,
        [""; 0]
    );
}

#[tokio::test]
async fn pages_join_to_the_whole_for_everybody() {
    let (db, alice, root) = world().await;
    for principal in [Principal::Anonymous, alice, root] {
        let whole = listed(&db, principal, None, 100).await;
        for rows in 1..4 {
            let mut joined: Vec<String> = Vec::new();
            loop {
                let page = listed(&db, principal, joined.last().map(String::as_str), rows).await;
                assert!(page.len() <= rows);
                if page.is_empty() {
                    break;
                }
                joined.extend(page);
            }
            assert_eq!(joined, whole);
        }
    }
}

#[tokio::test]
async fn a_void_token_is_told_so_and_hostile_cursors_are_just_text() {
    let (db, _, _) = world().await;
    let reader = db.router.read_list();
    let ended = Principal::Account {
        id: 999.into(),
        generation: 1,
        credential: None,
    };
    let refused = catalog::list(&reader, &ended, None, 10).await;
    assert!(matches!(refused, Err(Error::PrincipalEnded)), "{refused:?}");
    let refused = catalog::search(&reader, &ended, "a", 10).await;
    assert!(matches!(refused, Err(Error::PrincipalEnded)), "{refused:?}");
    let long = "x".repeat(100_000);
    for last in [
        "\0",
        "acme/open\0junk",
        "%",
        "'; DROP TABLE repository; --",
        "ä",
        &long,
    ] {
        catalog::list(&reader, &Principal::Anonymous, Some(last), 10)
            .await
            .unwrap();
        catalog::search(&reader, &Principal::Anonymous, last, 10)
            .await
            .unwrap();
    }
    assert!(db.holds("SELECT count(*) > 0 FROM repository").await);
}

#[tokio::test]
async fn a_search_finds_parts_of_names_among_what_is_readable() {
    let (db, alice, root) = world().await;
    db.run("UPDATE repository SET description = 'what it is' WHERE path = 'zoo/open'")
        .await;
    let reader = db.router.read_list();
    let found = async |principal: Principal, query: &str| {
        let rows = catalog::search(&reader, &principal, query, 10)
            .await
            .unwrap();
        rows.into_iter()
            .map(|row| row.name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(Principal::Anonymous, "open").await,
        ["acme/open", "zoo/open"]
    );
    assert_eq!(found(Principal::Anonymous, "secret").await, [""; 0]);
    assert_eq!(found(root, "secret").await, ["acme/secret"]);
    assert_eq!(found(alice, "a/").await, ["alice/a/x"]);
    // What LIKE would make of it is nothing special here.
    assert_eq!(found(root, "%").await, [""; 0]);
    let rows = catalog::search(&reader, &root, "zoo", 1).await.unwrap();
    assert_eq!(rows[0].description, "what it is");
}

#[tokio::test]
async fn an_administrator_lists_every_repository_with_its_visibility() {
    let (db, _, _) = world().await;
    let reader = db.router.read_list();
    let rows = repositories::list(&reader, None, 100).await.unwrap();
    let public: Vec<&str> = rows
        .iter()
        .filter(|row| row.visibility == Visibility::Public)
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(public, ["acme/open", "alice/a", "zoo/open"]);
    assert_eq!(rows.len(), 7);
    let rest = repositories::list(&reader, Some("alice/b"), 100)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
}
