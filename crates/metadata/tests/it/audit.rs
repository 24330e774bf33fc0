//! The audit log's months, its counts and its pages.

use crate::support::{Db, aside, until};
use portolan_metadata::audit::{self, Actor, Change, Cursor, Fate, Filter, Pull};
use portolan_metadata::{AccountId, CredentialId, RepositoryId};
use portolan_oci::Digest;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A row of the log at that moment.
async fn happened(db: &Db, at: &str) {
    let sql = format!(
        "INSERT INTO audit_log (at, credential, action, actor, target)
         VALUES ('{at}', 'system', 'test.make', 'test', 'x')"
    );
    db.run(&sql).await;
}

async fn in_partition(db: &Db, name: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM audit_log WHERE tableoid = to_regclass('{name}')");
    db.number(&sql).await
}

#[tokio::test]
async fn what_lies_in_the_default_partition_moves_when_its_month_is_made_whatever_the_zone() {
    let db = Db::new().await;
    for at in [
        "2026-10-31 23:59:59.999999+00",
        "2026-11-01 00:00+00",
        "2026-11-30 23:59:59.999999+00",
        "2026-12-01 00:00+00",
    ] {
        happened(&db, at).await;
    }
    db.run("INSERT INTO pull_count VALUES ('2026-11-30 23:00+00', 1, 0, 0, 5, '\\x00')")
        .await;
    db.sql
        .batch_execute("SET TimeZone = 'Pacific/Auckland'; SET DateStyle = 'German'")
        .await
        .unwrap();
    assert!(db.holds("SELECT audit_partition_make('2026-11-15')").await);
    assert!(!db.holds("SELECT audit_partition_make('2026-11-01')").await);
    assert_eq!(in_partition(&db, "audit_log_2026_11").await, 2);
    assert_eq!(in_partition(&db, "audit_log_default").await, 2);
    assert_eq!(
        db.number("SELECT count(*) FROM pull_count_2026_11").await,
        1
    );

    // What comes now goes there by itself, and the other months are made beside it.
    happened(&db, "2026-11-30 23:59:59+00").await;
    assert_eq!(in_partition(&db, "audit_log_2026_11").await, 3);
    assert!(db.holds("SELECT audit_partition_make('2026-12-31')").await);
    assert_eq!(in_partition(&db, "audit_log_2026_12").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM audit_log").await, 5);
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'audit_log_2026_11'::regclass";
    let of_default = "SELECT count(*) FROM pg_index WHERE indrelid = 'audit_log_default'::regclass";
    assert_eq!(db.number(indexes).await, db.number(of_default).await);
}

#[tokio::test]
async fn a_month_of_which_too_much_lies_there_stays_and_is_forgotten_row_by_row() {
    let db = Db::new().await;
    db.run(
        "INSERT INTO audit_log (at, credential, action, actor, target)
         SELECT '2020-01-15 00:00+00'::timestamptz + make_interval(secs => n), 'system', 'test.make', 'test', 'x'
         FROM generate_series(1, 50001) AS n",
    )
    .await;
    db.sql
        .query_one("SELECT audit_partition_make('2020-01-01')", &[])
        .await
        .unwrap();
    assert_eq!(in_partition(&db, "audit_log_default").await, 50_001);
    assert!(
        db.holds("SELECT to_regclass('audit_log_2020_01') IS NULL")
            .await
    );
    let year = Duration::from_hours(365 * 24);
    let mut gone = 0;
    loop {
        let rows = db
            .write(async |tx| audit::forget(tx, year, 30_000).await)
            .await;
        gone += rows;
        if rows < 30_000 {
            break;
        }
    }
    assert_eq!(gone, 50_001);
}

#[tokio::test]
async fn months_go_when_their_last_day_is_old_enough_and_no_sooner() {
    let db = Db::new().await;
    let months =
        "SELECT to_char(now() AT TIME ZONE 'UTC' - make_interval(months => $1), 'YYYY-MM-01')";
    let mut kept = Vec::new();
    for ago in [0, 1, 2, 13, 14, 30] {
        let row = db.sql.query_one(months, &[&ago]).await.unwrap();
        let month: String = row.get(0);
        let make = format!("SELECT audit_partition_make('{month}')");
        db.sql.query_one(&make, &[]).await.unwrap();
        kept.push(month);
    }
    // A month and a bit: what ended longer ago than that.
    let due = audit::due(
        &db.router.read_primary().await.unwrap(),
        Duration::from_hours(31 * 24),
    )
    .await
    .unwrap();
    let mut expected = kept[2..].to_vec();
    expected.sort();
    assert_eq!(due, expected);
    for month in &due {
        assert!(
            db.write(async |tx| audit::drop_month(tx, month).await)
                .await
        );
        assert!(
            !db.write(async |tx| audit::drop_month(tx, month).await)
                .await
        );
    }
    let left = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_log'::regclass";
    // This month's, the one before it, and the default one.
    assert_eq!(db.number(left).await, 3);
    db.write(async |tx| {
        audit::record(tx, &Actor::system("test"), &Change::of("test.make", "x")).await
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_does_not_end_makes_the_maker_give_up_and_nobody_waits_behind_it() {
    let db = Db::new().await;
    let change = Change::of("test.make", "x");
    let writer = db.begin().await;
    audit::record(&writer, &Actor::system("writer"), &change)
        .await
        .unwrap();
    let maker = db.begin().await;
    let refused = audit::make_month(&maker, 0).await.unwrap_err();
    assert!(refused.to_string().contains("failed"), "{refused:?}");
    drop(maker);
    // The one that came behind it has been let through.
    db.write(async |tx| audit::record(tx, &Actor::system("other"), &change).await)
        .await;
    let _committed = writer.commit().await.unwrap();
    assert!(db.write(async |tx| audit::make_month(tx, 0).await).await);
    let default = "SELECT count(*) FROM audit_log WHERE tableoid = 'audit_log_default'::regclass";
    assert_eq!(db.number(default).await, 0);
    assert_eq!(db.number("SELECT count(*) FROM audit_log").await, 2);
}

#[tokio::test]
async fn changes_that_are_made_meanwhile_lose_nothing() {
    let db = Db::new().await;
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let router = db.router.clone();
            aside(async move {
                for _ in 0..50 {
                    let tx = router.begin().await.unwrap();
                    let actor = Actor::system(format!("writer {number}"));
                    audit::record(&tx, &actor, &Change::of("test.make", "x"))
                        .await
                        .unwrap();
                    let _committed = tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    until("the months are made", async || {
        let tx = db.begin().await;
        let made = audit::make_month(&tx, 0).await.is_ok();
        let ended = if made {
            tx.commit().await.is_ok()
        } else {
            false
        };
        made && ended
    })
    .await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(db.number("SELECT count(*) FROM audit_log").await, 200);
    assert_eq!(in_partition(&db, "audit_log_default").await, 0);
}

#[tokio::test]
async fn who_reads_meanwhile_misses_nothing_that_is_moved() {
    let db = Db::new().await;
    let change = Change::of("test.make", "x");
    db.write(async |tx| audit::record(tx, &Actor::system("test"), &change).await)
        .await;
    let maker = db.begin().await;
    assert!(audit::make_month(&maker, 0).await.unwrap());
    let router = db.router.clone();
    let reader = aside(async move {
        let reader = router.read_list();
        let all = Filter::default();
        audit::search(&reader, &all, None, 9).await.unwrap().len()
    });
    until("the reader waits", async || {
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        db.number(waits).await == 1
    })
    .await;
    let _committed = maker.commit().await.unwrap();
    assert_eq!(reader.await.unwrap(), 1);
}

#[tokio::test]
async fn a_role_that_owns_nothing_makes_and_drops_months_once_it_may() {
    let db = Db::new().await;
    let role = format!("serves_{}", db.database.name());
    db.sql
        .batch_execute(&format!(
            "CREATE ROLE {role};
             GRANT USAGE ON SCHEMA public TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
             SET ROLE {role}"
        ))
        .await
        .unwrap();
    let make = "SELECT audit_partition_make('2026-11-01')";
    let refused = db.sql.query_one(make, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("db error"), "{refused}");
    db.sql
        .batch_execute(&format!(
            "RESET ROLE; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}; SET ROLE {role}"
        ))
        .await
        .unwrap();
    // Nor does it make the owner run what it likes.
    db.sql
        .batch_execute(
            "CREATE FUNCTION pg_temp.mine() RETURNS boolean LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''ran as %'', current_user; END';
             CREATE TEMPORARY TABLE audit_log (at timestamptz CHECK (pg_temp.mine()));
             CREATE TEMPORARY TABLE audit_log_default (at timestamptz);
             INSERT INTO audit_log_default VALUES ('2026-11-02')",
        )
        .await
        .unwrap();
    assert!(db.holds(make).await);
    db.sql
        .batch_execute("DROP TABLE pg_temp.audit_log, pg_temp.audit_log_default")
        .await
        .unwrap();
    // It writes and reads through the table, and owns none of it.
    happened(&db, "2026-11-02 00:00+00").await;
    assert_eq!(in_partition(&db, "audit_log_2026_11").await, 1);
    assert!(
        db.sql
            .execute("DROP TABLE audit_log_2026_11", &[])
            .await
            .is_err()
    );
    assert!(db.holds("SELECT audit_partition_drop('2026-11-01')").await);
    db.sql
        .batch_execute(&format!(
            "RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await
        .unwrap();
}

fn pull(repository: i64, digest: u8, account: Option<i64>) -> Pull {
    Pull {
        hour: UNIX_EPOCH + Duration::from_hours(490_000),
        repository: RepositoryId::from(repository),
        digest: Digest::sha256(&[digest]),
        account: account.map(AccountId::from),
        credential: None,
    }
}

#[tokio::test]
async fn processes_that_count_the_same_in_other_orders_add_up_and_never_stand_in_each_others_way() {
    let db = Db::new().await;
    let writers: Vec<_> = (0..6)
        .map(|number| {
            let router = db.router.clone();
            aside(async move {
                let mut counts: Vec<(Pull, u64)> =
                    (0..200).map(|digest| (pull(1, digest, None), 3)).collect();
                if number % 2 == 1 {
                    counts.reverse();
                }
                for _ in 0..5 {
                    let tx = router.begin().await.unwrap();
                    audit::count(&tx, &counts, &[]).await.unwrap();
                    let _committed = tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(db.number("SELECT count(*) FROM pull_count").await, 200);
    let sum = "SELECT sum(pulls)::bigint FROM pull_count";
    assert_eq!(db.number(sum).await, 6 * 5 * 200 * 3);
}

#[tokio::test]
async fn a_credentials_last_use_only_goes_forward() {
    let db = Db::new().await;
    db.run("INSERT INTO account (kind, name) VALUES ('user', 'alice')")
        .await;
    db.run(
        "INSERT INTO credential (account_id, kind, secret_hash)
         SELECT id, 'application', sha256('x') FROM account",
    )
    .await;
    let id = CredentialId::from(db.number("SELECT id FROM credential").await);
    let used = "SELECT (extract(epoch FROM last_used_at) / 3600)::bigint FROM credential";
    for (hour, shown) in [(7, 7), (5, 7), (9, 9)] {
        let at = UNIX_EPOCH + Duration::from_hours(hour);
        db.write(async |tx| audit::count(tx, &[], &[(id, at)]).await)
            .await;
        assert_eq!(db.number(used).await, shown);
    }
    // One that is gone is nobody's business.
    let gone = CredentialId::from(id.get() + 1);
    db.write(async |tx| audit::count(tx, &[], &[(gone, UNIX_EPOCH)]).await)
        .await;
}

#[tokio::test]
async fn the_fate_of_a_transaction_is_known_to_who_kept_its_number() {
    let db = Db::new().await;
    let committed = db.write(async |tx| audit::transaction(tx).await).await;
    let tx = db.begin().await;
    let aborted = audit::transaction(&tx).await.unwrap();
    tx.rollback().await.unwrap();
    let open = db.begin().await;
    let still_open = audit::transaction(&open).await.unwrap();
    for (id, fate) in [
        (&committed, Fate::Committed),
        (&aborted, Fate::Aborted),
        (&still_open, Fate::Open),
    ] {
        let found = db.write(async |tx| audit::fate(tx, id).await).await;
        assert_eq!(found, fate, "{id:?}");
    }
    let _committed = open.commit().await.unwrap();
    let found = db
        .write(async |tx| audit::fate(tx, &still_open).await)
        .await;
    assert_eq!(found, Fate::Committed);
}

#[tokio::test]
async fn pages_of_counts_hold_each_once() {
    let db = Db::new().await;
    db.run("INSERT INTO account (kind, name) VALUES ('user', 'alice')")
        .await;
    let alice = db.number("SELECT id FROM account").await;
    let counts: Vec<(Pull, u64)> = (0..50)
        .flat_map(|digest| {
            [
                (pull(1, digest, None), 1),
                (pull(1, digest, Some(alice)), 2),
            ]
        })
        .chain([(pull(2, 0, None), 9)])
        .collect();
    db.write(async |tx| audit::count(tx, &counts, &[]).await)
        .await;
    let primary = db.router.read_primary().await.unwrap();
    let span = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_hours(500_000));
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = audit::pulls(&primary, RepositoryId::from(1), span, after.as_ref(), 7)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.pull);
        found.extend(page);
    }
    assert_eq!(found.len(), 100);
    assert_eq!(found.iter().map(|row| row.pulls).sum::<u64>(), 150);
    let named = found
        .iter()
        .filter(|row| row.account.as_deref() == Some("alice"));
    assert_eq!(named.count(), 50);
}

/// Three months of changes by ten people in a hundred repositories.
const MANY_CHANGES: &str = "
    SELECT audit_partition_make('2026-01-01'), audit_partition_make('2026-02-01'), audit_partition_make('2026-03-01');
    INSERT INTO audit_log (at, credential, action, actor, target, repository_id, namespace_id)
    SELECT '2026-01-01 00:00+00'::timestamptz + make_interval(secs => n / 10 * 2500), 'token',
        CASE WHEN n % 200 = 0 THEN 'tag.delete' ELSE 'tag.move' END,
        'user' || (n % 10), 'x', n % 100, n % 20
    FROM generate_series(0, 29999) AS n;
    ANALYZE audit_log";

#[tokio::test]
async fn a_search_finds_each_change_once_and_reads_little_else() {
    let db = Db::new().await;
    db.sql.batch_execute(MANY_CHANGES).await.unwrap();
    let primary = db.router.read_primary().await.unwrap();
    let filters = [
        (Filter::default(), 30_000),
        (
            Filter {
                repository: Some(RepositoryId::from(7)),
                ..Filter::default()
            },
            300,
        ),
        (
            Filter {
                actor: Some("user3".to_owned()),
                repository: Some(RepositoryId::from(13)),
                ..Filter::default()
            },
            300,
        ),
        (
            Filter {
                action: Some("tag.delete".to_owned()),
                ..Filter::default()
            },
            150,
        ),
    ];
    for (filter, expected) in filters {
        let mut seen = BTreeSet::new();
        let mut before: Option<Cursor> = None;
        loop {
            // Ten changes have each moment: pages end among them.
            let page = audit::search(&primary, &filter, before, 997).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.cursor);
            let mut newest: Option<SystemTime> = None;
            for entry in page {
                assert!(newest.is_none_or(|newest| entry.cursor.at <= newest));
                newest = Some(entry.cursor.at);
                assert!(seen.insert(entry.cursor.id), "{:?} twice", entry.cursor);
            }
        }
        assert_eq!(seen.len(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_search_walks_the_index_of_what_it_is_given_in_each_month() {
    let db = Db::new().await;
    db.sql.batch_execute(MANY_CHANGES).await.unwrap();
    let session = &db.sql;
    for (name, parameters) in [
        (
            "audit.search",
            "'-infinity', 'infinity', 0, 50, NULL, NULL, NULL, NULL",
        ),
        (
            "audit.search_repository",
            "'-infinity', 'infinity', 0, 50, 7, NULL, NULL, NULL",
        ),
        (
            "audit.search_namespace",
            "'-infinity', 'infinity', 0, 50, NULL, 7, NULL, NULL",
        ),
        (
            "audit.search_actor",
            "'-infinity', 'infinity', 0, 50, NULL, NULL, 'user3', NULL",
        ),
        (
            "audit.search_action",
            "'-infinity', 'infinity', 0, 50, NULL, NULL, NULL, 'tag.delete'",
        ),
        ("audit.export", "'-infinity', 0, 'infinity', 50"),
    ] {
        let statement = portolan_metadata::statements()
            .find(|statement| statement.name == name)
            .unwrap();
        let types: Vec<&str> = statement
            .types
            .iter()
            .map(tokio_postgres::types::Type::name)
            .collect();
        let prepare = format!("PREPARE search ({}) AS {}", types.join(", "), statement.sql);
        session.batch_execute(&prepare).await.unwrap();
        let explain =
            format!("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) EXECUTE search ({parameters})");
        let lines = session.simple_query(&explain).await.unwrap();
        let plan: Vec<String> = lines
            .iter()
            .filter_map(|line| match line {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect();
        let plan = plan.join("\n");
        assert!(
            !plan.contains("Seq Scan on audit_log_2026"),
            "{name}:\n{plan}"
        );
        for line in plan.lines().filter(|line| line.contains("actual rows=")) {
            let rows: f64 = line
                .split("actual rows=")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert!(rows <= 70.0, "{name} reads more than its page:\n{plan}");
        }
        session.batch_execute("DEALLOCATE search").await.unwrap();
    }
}
