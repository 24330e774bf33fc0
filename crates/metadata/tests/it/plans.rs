//! Every statement is prepared against the migrated schema, and none of them walks a whole table.

use crate::support::{Db, migrated};
use portolan_metadata::statements;
use portolan_pg::{PLANNER, Statement};
use portolan_testkit::pg_cluster::Session;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tokio_postgres::types::Type;

/// Statements that read a whole index in its order, and why they may.
const WHOLE_INDEX: &[(&str, &str)] = &[
    ("accounts.lock_superusers", "the index has superusers alone"),
    (
        "blobs.find_readable",
        "working tables of the recursion; no table of ours",
    ),
    (
        "jobs.claim",
        "in the order of due times up to its limit; there are as many jobs as kinds",
    ),
    ("jobs.next_due", "the first row in the order of due times"),
    ("migrate.newest_step", "the last row; one per migration"),
    (
        "rights.missing",
        "the server's own catalogue, when somebody asks what is wrong",
    ),
    ("signing_keys.insert_if_none", "a handful of rows"),
    ("signing_keys.all", "a handful of rows"),
    ("signing_keys.lock", "a handful of rows"),
    ("signing_keys.delete_ended", "a handful of rows"),
];

/// Statements that read a whole table, which table, and why they may.
const WHOLE_TABLE: &[(&str, &str, &str)] = &[
    (
        "signing_keys.list",
        "signing_key",
        "a handful of rows, nearly all of them wanted",
    ),
    (
        "signing_keys.delete_ended",
        "signing_key",
        "a handful of rows",
    ),
    (
        "rights.missing",
        "pg_class",
        "the server's own catalogue, when somebody asks what is wrong",
    ),
];

/// Tells the planner what the sessions of the registry tell it.
async fn as_ours(session: &Session) {
    for (name, value) in PLANNER {
        let set = format!("SET {name} = {value}");
        session.batch_execute(&set).await.unwrap();
    }
}

async fn plan(session: &Session, statement: &Statement) -> Value {
    let types: Vec<&str> = statement.types.iter().map(Type::name).collect();
    let nulls = vec!["NULL"; types.len()].join(", ");
    let (types, nulls) = match types.len() {
        0 => (String::new(), String::new()),
        _ => (format!("({})", types.join(", ")), format!("({nulls})")),
    };
    let prepare = format!("PREPARE subject {types} AS {}", statement.sql);
    session
        .batch_execute(&prepare)
        .await
        .unwrap_or_else(|error| panic!("`{}` cannot be prepared: {error:?}", statement.name));
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE subject {nulls}");
    let plan = explained(session, &explain).await;
    session.batch_execute("DEALLOCATE subject").await.unwrap();
    plan
}

/// What an EXPLAIN in JSON says.
async fn explained(session: &Session, explain: &str) -> Value {
    let messages = session.simple_query(explain).await.unwrap();
    let text: String = messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    serde_json::from_str(&text).unwrap()
}

/// Calls `visit` for every node of a plan.
fn walk<'a>(node: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    match node {
        Value::Object(members) => {
            if members.contains_key("Node Type") {
                visit(node);
            }
            members.values().for_each(|member| walk(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn no_statement_scans_a_table() {
    let database = migrated().await;
    let session = database.session().await;
    as_ours(&session).await;
    let mut faults = Vec::new();
    for statement in statements() {
        let plan = plan(&session, statement).await;
        walk(&plan, &mut |node| {
            let kind = node["Node Type"].as_str().unwrap();
            let table = node["Relation Name"].as_str().unwrap_or("?");
            let excused =
                |(name, of, _): &(&str, &str, &str)| *name == statement.name && *of == table;
            if kind == "Seq Scan" && !WHOLE_TABLE.iter().any(excused) {
                faults.push(format!("`{}` scans table `{table}`", statement.name));
            }
            let walks_index =
                matches!(kind, "Index Scan" | "Index Only Scan" | "Bitmap Index Scan")
                    && node.get("Index Cond").is_none();
            if walks_index && !WHOLE_INDEX.iter().any(|(name, _)| *name == statement.name) {
                let index = node["Index Name"].as_str().unwrap_or("?");
                faults.push(format!("`{}` walks all of index `{index}`", statement.name));
            }
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// How often each index is walked by a mount that names no source.
async fn index_walks(session: &Session, content: &str) -> BTreeMap<String, u64> {
    let explain = format!(
        "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE mount (1, 1, sha256('{content}'::bytea), 8, NULL)"
    );
    let plan = explained(session, &explain).await;
    let mut walks = BTreeMap::new();
    walk(&plan, &mut |node| {
        if let Some(index) = node["Index Name"].as_str() {
            *walks.entry(index.to_owned()).or_default() += node["Actual Loops"].as_u64().unwrap();
        }
    });
    walks
}

#[tokio::test]
async fn a_mount_without_source_takes_the_same_steps_however_many_strangers_hold_the_blob() {
    let db = Db::new().await;
    db.sql
        .batch_execute(
            "INSERT INTO account (kind, name) VALUES ('user', 'alice'), ('user', 'bob');
             INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account;
             INSERT INTO repository (namespace_id, path)
                 SELECT n.id, 'bob/app' || i FROM namespace n, generate_series(1, 100) i WHERE n.name = 'bob';
             INSERT INTO blob (store_id, size, digest, storage_key)
                 SELECT 1, 1, sha256(content::bytea), content FROM unnest(ARRAY['one', 'many']) AS content;
             INSERT INTO repository_blob (repository_id, blob_id, expires_at)
                 SELECT r.id, b.id, now() + interval '1 day' FROM repository r, blob b
                 WHERE b.storage_key = 'many' OR r.path = 'bob/app7';
             ANALYZE",
        )
        .await
        .unwrap();
    let mount = statements().find(|statement| statement.name == "blobs.find_readable");
    as_ours(&db.sql).await;
    // Without the planner's cache of look-ups, which saves a microsecond for each repository of one namespace.
    let prepare = format!(
        "SET enable_memoize = off;
         PREPARE mount (int8, int8, bytea, int8, int8) AS {}",
        mount.unwrap().sql
    );
    db.sql.batch_execute(&prepare).await.unwrap();
    let nowhere = index_walks(&db.sql, "nowhere").await;
    assert!(nowhere.len() >= 6, "{nowhere:?}");
    assert_eq!(index_walks(&db.sql, "one").await, nowhere);
    assert_eq!(index_walks(&db.sql, "many").await, nowhere);
}

#[tokio::test]
async fn names_of_statements_are_distinct_and_of_their_entity() {
    let mut names = HashSet::new();
    for statement in statements() {
        assert!(
            names.insert(statement.name),
            "two statements are called `{}`",
            statement.name
        );
        let (entity, verb) = statement.name.split_once('.').expect(statement.name);
        assert!(!entity.is_empty() && !verb.is_empty());
    }
    let excused = WHOLE_INDEX
        .iter()
        .map(|(name, _)| name)
        .chain(WHOLE_TABLE.iter().map(|(name, ..)| name));
    for name in excused {
        assert!(names.contains(name), "`{name}` is excused and gone");
    }
}

#[tokio::test]
async fn the_driver_prepares_every_statement_with_its_types() {
    let database = migrated().await;
    let session = database.session().await;
    for statement in statements() {
        session
            .prepare_typed(statement.sql, statement.types)
            .await
            .unwrap_or_else(|error| panic!("`{}`: {error:?}", statement.name));
    }
}

/// Rows enough that the planner would rather join whole tables, were it allowed to.
const MANY_ROWS: &str = "
    INSERT INTO account (kind, name, password_hash) SELECT 'user', 'user' || n, '$argon2id$' FROM generate_series(1, 2000) n;
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account;
    INSERT INTO repository (namespace_id, path)
        SELECT id, name || '/app' || n FROM namespace, generate_series(1, 3) n;
    INSERT INTO manifest_content (digest, payload)
        SELECT sha256(n::text::bytea), n::text::bytea FROM generate_series(1, 5000) n;
    INSERT INTO manifest (repository_id, size_total, payload_size, layer_count, media_type_id, digest)
        SELECT r.id, 0, 1, 1, 1, sha256(CASE WHEN r.path LIKE '%/app3' THEN '1' ELSE (r.id % 5000 + 1)::text END::bytea)
        FROM repository r;
    INSERT INTO tag (repository_id, manifest_id, name) SELECT repository_id, id, 'latest' FROM manifest;
    INSERT INTO blob (store_id, size, digest, storage_key)
        SELECT 1, 1, sha256(('b' || n)::bytea), 'b/' || n FROM generate_series(1, 5000) n;
    INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
        SELECT r.id, b.id, m.id FROM repository r JOIN manifest m ON m.repository_id = r.id
        JOIN blob b ON b.id = CASE WHEN r.path LIKE '%/app3' THEN 1 ELSE m.id % 5000 + 1 END;
    INSERT INTO manifest_child (repository_id, parent_id, child_id, child_digest)
        SELECT repository_id, id, id, sha256(('c' || id)::bytea) FROM manifest;
    INSERT INTO gc_queue (kind, id, review_after) SELECT 'manifest', id, now() FROM manifest;
    INSERT INTO repository_blob (repository_id, blob_id, expires_at)
        SELECT DISTINCT repository_id, CASE WHEN blob_id = 1 THEN 1 ELSE blob_id % 5000 + 1 END, now() + interval '1 day'
        FROM manifest_blob;
    INSERT INTO account (kind, name) SELECT 'organization', 'org' || n FROM generate_series(1, 200) n;
    INSERT INTO team (organization_id, role, name)
        SELECT id, 'member', 'team' || n FROM account, generate_series(1, 10) n WHERE kind = 'organization';
    INSERT INTO membership (account_id, team_id)
        SELECT a.id, t.id FROM account a JOIN team t ON t.id % 500 = a.id % 500 WHERE a.kind = 'user';
    INSERT INTO permission (repository_id, account_id, role) SELECT id, id % 2000 + 1, 1 FROM repository;
    INSERT INTO permission (repository_id, team_id, role) SELECT id, id % 2000 + 1, 2 FROM repository;
    INSERT INTO credential (account_id, kind, secret_hash)
        SELECT id, 'application', sha256(id::text::bytea) FROM account WHERE kind = 'user';
    INSERT INTO lockout (account_id, address, last_attempt)
        SELECT id, '203.0.113.9', '' FROM account WHERE kind = 'user';
    ANALYZE";

/// Tables that are filled and emptied again and again are looked at when they are empty, and a plan from then is used until
/// they are looked at again.
#[tokio::test]
async fn what_was_planned_for_an_empty_table_takes_few_steps_and_keeps_its_limit_when_it_is_full() {
    let db = Db::new().await;
    db.sql.batch_execute("VACUUM ANALYZE").await.unwrap();
    as_ours(&db.sql).await;
    let keys: Vec<String> = (1..=50).map(|n| format!("k{n}")).collect();
    let done = format!("'{{{}}}', '{{{}}}'", ["1"; 50].join(","), keys.join(","));
    let subjects = [
        ("object_delete.done", "object_delete", done.as_str()),
        ("browser_sessions.sweep_ended", "session", "50"),
        ("lockouts.sweep", "lockout", "60, 50"),
        ("recovery.sweep", "recovery", "50"),
    ];
    for (name, ..) in subjects {
        let subject = statements()
            .find(|statement| statement.name == name)
            .unwrap();
        let types: Vec<&str> = subject.types.iter().map(Type::name).collect();
        let nulls = vec!["NULL"; types.len()].join(", ");
        let prepare = format!(
            "PREPARE \"{name}\" ({}) AS {};
             EXPLAIN EXECUTE \"{name}\" ({nulls})",
            types.join(", "),
            subject.sql
        );
        db.sql.batch_execute(&prepare).await.unwrap();
    }
    db.sql
        .batch_execute(
            "INSERT INTO object_delete (store_id, storage_key, reason, not_before, claimed_at)
                 SELECT 1, 'k' || n, 'upload', now(), now() FROM generate_series(1, 300) n;
             INSERT INTO account (kind, name) SELECT 'user', 'user' || n FROM generate_series(1, 300) n;
             INSERT INTO lockout (account_id, address, last_attempt, failed_at)
                 SELECT id, '203.0.113.9', '', now() - interval '1 day' FROM account;
             INSERT INTO session (account_id, generation, expires_at, secret_hash)
                 SELECT id, 1, now() - interval '1 day', sha256(name::bytea) FROM account;
             INSERT INTO recovery (account_id, generation, expires_at, secret_hash)
                 SELECT id, 1, now() - interval '1 day', sha256(name::bytea) FROM account",
        )
        .await
        .unwrap();
    for (name, table, arguments) in subjects {
        let explain =
            format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE \"{name}\" ({arguments})");
        let mut steps = 0.0;
        walk(&explained(&db.sql, &explain).await, &mut |node| {
            let is_scan = node["Node Type"].as_str().unwrap().ends_with("Scan");
            if is_scan && node["Relation Name"] == table {
                let rows = ["Actual Rows", "Rows Removed by Filter"]
                    .map(|rows| node[rows].as_f64().unwrap_or_default());
                steps += node["Actual Loops"].as_f64().unwrap() * rows.iter().sum::<f64>();
            }
        });
        // Whoever finds rows in another order than that of their keys may read all of them, for each of them once.
        assert!(steps <= 50.0 * 301.0, "`{name}` reads {steps} rows");
        let left = format!("SELECT count(*) FROM {table}");
        let left: i64 = db.sql.query_one(&left, &[]).await.unwrap().get(0);
        assert_eq!(left, 250, "`{name}`");
    }
}

/// Every statement that takes arrays of keys.
fn batched() -> impl Iterator<Item = &'static Statement> {
    statements().filter(|statement| statement.sql.contains("WITH ORDINALITY AS k("))
}

/// About as many as have the server analyse a table for the first time by itself (`autovacuum_analyze_threshold`).
const FEW_ROWS: &str = "
    INSERT INTO account (kind, name) SELECT 'user', 'user' || n FROM generate_series(1, 60) n;
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account;
    INSERT INTO repository (namespace_id, path) SELECT id, name || '/app' FROM namespace;
    INSERT INTO manifest_content (digest, payload) VALUES (sha256('1'), '1');
    INSERT INTO manifest (repository_id, size_total, payload_size, layer_count, media_type_id, digest)
        SELECT id, 0, 1, 1, 1, sha256('1') FROM repository;
    INSERT INTO tag (repository_id, manifest_id, name) SELECT repository_id, id, 'latest' FROM manifest;
    INSERT INTO blob (store_id, size, digest, storage_key)
        SELECT 1, 1, sha256(('b' || n)::bytea), 'b/' || n FROM generate_series(1, 60) n;
    INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
        SELECT m.repository_id, b.id, m.id FROM manifest m, blob b WHERE b.id = m.id % 60 + 1;
    INSERT INTO account (kind, name) VALUES ('organization', 'acme');
    INSERT INTO team (organization_id, role, name)
        SELECT id, 'member', 'team' || n FROM account, generate_series(1, 60) n WHERE kind = 'organization';
    INSERT INTO membership (account_id, team_id)
        SELECT a.id, t.id FROM account a JOIN team t ON t.id % 60 = a.id % 60 WHERE a.kind = 'user';
    INSERT INTO permission (repository_id, account_id, role) SELECT r.id, a.id, 1
        FROM repository r JOIN account a ON a.id % 60 = r.id % 60 WHERE a.kind = 'user';
    INSERT INTO permission (repository_id, team_id, role) SELECT r.id, t.id, 2
        FROM repository r JOIN team t ON t.id % 60 = r.id % 60;
    ANALYZE account, namespace, repository, manifest, tag, blob, manifest_blob, team, membership, permission";

/// Ten thousand manifests of one repository, each with the same one blob: whoever looks for any reference to it in that
/// repository finds one in the first page of the table, and whoever looks for another finds none in all pages.
const ALL_ALIKE: &str = "
    INSERT INTO account (kind, name) VALUES ('user', 'alice');
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account;
    INSERT INTO repository (namespace_id, path) SELECT id, 'alice/app' FROM namespace;
    INSERT INTO blob (store_id, size, digest, storage_key) VALUES (1, 1, sha256('b1'), 'b/1');
    INSERT INTO manifest_content (digest, payload)
        SELECT sha256(('m' || n)::bytea), ('m' || n)::bytea FROM generate_series(1, 10000) n;
    INSERT INTO manifest (repository_id, size_total, payload_size, layer_count, media_type_id, digest)
        SELECT r.id, 0, 1, 1, 1, c.digest FROM repository r, manifest_content c;
    INSERT INTO tag (repository_id, manifest_id, name) SELECT repository_id, id, 't' || id FROM manifest;
    INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
        SELECT m.repository_id, b.id, m.id FROM manifest m, blob b;
    ANALYZE manifest, tag, manifest_blob";

/// A batch of keys walks the indexes once per key, whatever the tables look like when the plan is made: a plan is kept
/// while they grow, and a join over a whole table would be chosen by an estimate and paid by every pull.
#[tokio::test]
async fn point_reads_walk_indexes_whatever_the_statistics_say() {
    for (tables, rows) in [
        ("never looked at", ""),
        ("of few rows", FEW_ROWS),
        ("of rows that are all alike", ALL_ALIKE),
        ("of many rows", MANY_ROWS),
    ] {
        let db = Db::new().await;
        as_ours(&db.sql).await;
        db.sql.batch_execute(rows).await.unwrap();
        point_reads_walk_indexes(&db.sql, tables).await;
    }
}

async fn point_reads_walk_indexes(session: &Session, tables: &str) {
    let mut seen = 0;
    let mut faults = Vec::new();
    for statement in batched() {
        seen += 1;
        let mut fault = |what: &Value| {
            faults.push(format!("tables {tables}: `{}`: {what}", statement.name));
        };
        walk(&plan(session, statement).await, &mut |node| {
            let kind = node["Node Type"].as_str().unwrap();
            let walks_index =
                matches!(kind, "Index Scan" | "Index Only Scan" | "Bitmap Index Scan")
                    && node.get("Index Cond").is_none();
            if kind == "Seq Scan" || walks_index {
                fault(&node["Relation Name"]);
            }
            if matches!(kind, "Hash Join" | "Merge Join") {
                fault(&node["Node Type"]);
            }
        });
    }
    assert!(seen >= 7, "only {seen} point reads were looked at");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The one row of the epoch, which every point read carries, and a few rows of names.
const EVERYWHERE: [&str; 2] = ["cluster_epoch", "media_type"];

/// A point read, its parameters as columns of the rows that [`PULLS`] finds, and the tables whose indexes it walks.
type Pinned = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const PINNED: &[Pinned] = &[
    (
        "access.resolve",
        &["path", "namespace", "account", "generation", "credential"],
        &["account", "namespace", "repository"],
    ),
    (
        "blobs.resolve",
        &[
            "path",
            "namespace",
            "account",
            "generation",
            "credential",
            "blob",
            "seconds",
        ],
        &[
            "account",
            "blob",
            "manifest_blob",
            "namespace",
            "repository",
            "repository_blob",
        ],
    ),
    (
        "credentials.by_secret",
        &["secret"],
        &["account", "credential"],
    ),
    (
        "lockouts.password_by_name",
        &["name", "network"],
        &["account", "lockout"],
    ),
    (
        "manifest_contents.payload",
        &["manifest"],
        &["manifest_content"],
    ),
    (
        "manifests.resolve_digest",
        &[
            "path",
            "namespace",
            "account",
            "generation",
            "credential",
            "manifest",
        ],
        &["account", "manifest", "namespace", "repository"],
    ),
    (
        "manifests.resolve_digest_head",
        &[
            "path",
            "namespace",
            "account",
            "generation",
            "credential",
            "manifest",
        ],
        &[
            "account",
            "gc_queue",
            "manifest",
            "manifest_child",
            "namespace",
            "repository",
            "tag",
        ],
    ),
    (
        "tags.resolve",
        &[
            "path",
            "namespace",
            "account",
            "generation",
            "credential",
            "tag",
        ],
        &["account", "manifest", "namespace", "repository", "tag"],
    ),
];

/// What 256 clients of as many repositories ask for: of each the one manifest and the one blob that all of them have,
/// and 2,000 others too.
const PULLS: &str = "
    SELECT r.path, n.name AS namespace, a.id AS account, a.generation, 'latest' AS tag,
           m.digest AS manifest, b.digest AS blob, a.name, 0::bigint AS seconds, NULL::bigint AS credential,
           sha256(a.id::text::bytea) AS secret, '203.0.113.9'::inet AS network
    FROM account a
    JOIN namespace n ON n.owner_account_id = a.id
    JOIN repository r ON r.namespace_id = n.id AND r.path LIKE '%/app3'
    JOIN manifest m ON m.repository_id = r.id
    JOIN manifest_blob mb ON mb.manifest_id = m.id
    JOIN blob b ON b.id = mb.blob_id
    ORDER BY r.path
    LIMIT 256";

/// One column of `pulls` as arrays of one key and of all.
async fn keys(session: &Session, pulls: &str, column: &str, count: i64) -> String {
    let sql = format!(
        "SELECT format('%L::%s', array_agg({column})::text, pg_typeof(array_agg({column})))
         FROM (SELECT * FROM ({pulls}) AS pulls ORDER BY path LIMIT $1) AS pulls"
    );
    session.query_one(&sql, &[&count]).await.unwrap().get(0)
}

/// A plan is chosen once, for batches of any size: with one key and with as many as a batch has, each key costs one step
/// in an index of each of the same tables and finds its row, however many repositories have the same content.
#[tokio::test]
async fn every_point_read_takes_the_same_steps_for_each_of_its_keys() {
    let db = Db::new().await;
    as_ours(&db.sql).await;
    db.sql.batch_execute(MANY_ROWS).await.unwrap();
    for statement in batched() {
        let (_, columns, tables) = PINNED
            .iter()
            .find(|(name, ..)| *name == statement.name)
            .unwrap_or_else(|| panic!("the plan of `{}` is not pinned", statement.name));
        let types: Vec<&str> = statement.types.iter().map(Type::name).collect();
        let prepare = format!("PREPARE pinned ({}) AS {}", types.join(", "), statement.sql);
        db.sql.batch_execute(&prepare).await.unwrap();
        for count in [1_u64, 256] {
            let mut parameters = Vec::new();
            for column in *columns {
                parameters.push(keys(&db.sql, PULLS, column, count.try_into().unwrap()).await);
            }
            let explain = format!(
                "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE pinned ({})",
                parameters.join(", ")
            );
            let plan = explained(&db.sql, &explain).await;
            let found = plan[0]["Plan"]["Actual Rows"].as_f64().unwrap();
            assert!(
                (found - f64::from(u32::try_from(count).unwrap())).abs() < 0.5,
                "`{}` found {found} of {count}",
                statement.name
            );
            let mut walked = BTreeSet::new();
            walk(&plan, &mut |node| {
                let (name, loops) = (statement.name, node["Actual Loops"].as_u64().unwrap());
                assert!(
                    node["Node Type"] != "Seq Scan",
                    "`{name}` scans `{}`",
                    node["Relation Name"]
                );
                if node["Index Name"].is_null() {
                    return;
                }
                // An index that is read for a bitmap does not say of which table it is.
                let index = node["Index Name"].as_str().unwrap();
                let table = node["Relation Name"].as_str().unwrap_or(index);
                if EVERYWHERE.contains(&table) {
                    return;
                }
                // An owner's rights need no look into these.
                let of_rights = ["credential", "membership", "permission", "team"]
                    .iter()
                    .any(|right| table.starts_with(right));
                if of_rights && loops == 0 {
                    return;
                }
                walked.insert(table);
                assert!(
                    loops <= count,
                    "`{name}` looks {loops} times into `{table}` for {count} keys"
                );
                for rows in ["Actual Rows", "Rows Removed by Filter"] {
                    let each = node[rows].as_f64().unwrap_or_default();
                    assert!(
                        each <= 1.0,
                        "`{name}`, {rows} of `{table}`: {each} for each of {count} keys"
                    );
                }
            });
            assert!(
                walked.iter().eq(*tables),
                "`{}` with {count} keys walks indexes of {walked:?}",
                statement.name
            );
        }
        db.sql.batch_execute("DEALLOCATE pinned").await.unwrap();
    }
    assert_eq!(
        batched().count(),
        PINNED.len(),
        "a pinned plan is of no statement"
    );
}

/// Robots of organizations beside all that [`MANY_ROWS`] has, with a permission and a secret each.
const ROBOTS: &str = "
    INSERT INTO account (kind, name, owner_id) SELECT 'robot', name || '+bot', id FROM account WHERE kind = 'organization';
    INSERT INTO permission (repository_id, account_id, role)
        SELECT r.id, a.id, 1 FROM repository r
        JOIN account a ON a.kind = 'robot' AND a.id % 200 = r.id % 200
        WHERE r.path LIKE '%/app3';
    INSERT INTO credential (account_id, kind, max_role, secret_hash)
        SELECT id, 'robot', 2, sha256(name::bytea) FROM account WHERE kind = 'robot';
    ANALYZE";

/// As [`PULLS`], by those who own nothing: every other repository is asked for by a member of a team that has a permission
/// there, with an application token; the rest by robots. The first is a member.
const MEMBERS_PULLS: &str = "
    SELECT r.path, n.name AS namespace, a.id AS account, a.generation, 'latest' AS tag,
           m.digest AS manifest, b.digest AS blob, a.name, 0::bigint AS seconds, c.id AS credential
    FROM (
        SELECT r.*, row_number() OVER (ORDER BY r.path) AS nth FROM repository r WHERE r.path LIKE '%/app3'
    ) AS r
    JOIN namespace n ON n.id = r.namespace_id
    JOIN manifest m ON m.repository_id = r.id
    JOIN manifest_blob mb ON mb.manifest_id = m.id
    JOIN blob b ON b.id = mb.blob_id
    CROSS JOIN LATERAL (
        SELECT account.* FROM account
        WHERE CASE WHEN r.nth % 2 = 1
            THEN account.id IN (
                SELECT ms.account_id FROM membership ms JOIN permission p ON p.team_id = ms.team_id
                WHERE p.repository_id = r.id
            )
            ELSE account.kind = 'robot' AND account.id IN (
                SELECT p.account_id FROM permission p WHERE p.repository_id = r.id
            )
        END
        ORDER BY account.id
        LIMIT 1
    ) AS a
    JOIN credential c ON c.account_id = a.id
    ORDER BY r.path
    LIMIT 256";

/// How many teams each user of [`MANY_ROWS`] is in.
const TEAMS: u64 = 4;

/// The tables that are looked into for those who own nothing, whatever they ask for.
const OF_RIGHTS: [&str; 4] = ["credential", "membership", "permission", "team"];

/// What a team's member and a robot may costs steps for each of his teams, never for what others have: with one key and
/// with as many as a batch has, by indexes of the same tables.
#[tokio::test]
async fn the_rights_of_members_and_robots_cost_steps_for_their_own_teams_alone() {
    let db = Db::new().await;
    as_ours(&db.sql).await;
    db.sql.batch_execute(MANY_ROWS).await.unwrap();
    db.sql.batch_execute(ROBOTS).await.unwrap();
    let mut seen = 0;
    for statement in batched() {
        let (_, columns, tables) = PINNED
            .iter()
            .find(|(name, ..)| *name == statement.name)
            .unwrap_or_else(|| panic!("the plan of `{}` is not pinned", statement.name));
        if !columns.contains(&"credential") {
            continue;
        }
        seen += 1;
        let types: Vec<&str> = statement.types.iter().map(Type::name).collect();
        let prepare = format!("PREPARE pinned ({}) AS {}", types.join(", "), statement.sql);
        db.sql.batch_execute(&prepare).await.unwrap();
        for count in [1_u64, 256] {
            let mut parameters = Vec::new();
            for column in *columns {
                let count = count.try_into().unwrap();
                parameters.push(keys(&db.sql, MEMBERS_PULLS, column, count).await);
            }
            let parameters = parameters.join(", ");
            let name = statement.name;
            let roles = format!("EXECUTE pinned ({parameters})");
            let rows = db.sql.simple_query(&roles).await.unwrap();
            let readable = rows.iter().filter(|message| match message {
                // After the key's place and the repository.
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(2) != Some("0"),
                _ => false,
            });
            assert_eq!(
                readable.count() as u64,
                count,
                "`{name}`: all of them may read"
            );

            let explain =
                format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE pinned ({parameters})");
            let plan = explained(&db.sql, &explain).await;
            let mut walked = BTreeSet::new();
            walk(&plan, &mut |node| {
                assert!(
                    node["Node Type"] != "Seq Scan",
                    "`{name}` scans `{}`",
                    node["Relation Name"]
                );
                let loops = node["Actual Loops"].as_u64().unwrap();
                if node["Index Name"].is_null() {
                    return;
                }
                let index = node["Index Name"].as_str().unwrap();
                let table = node["Relation Name"].as_str().unwrap_or(index);
                if EVERYWHERE.contains(&table) {
                    return;
                }
                let of_rights = OF_RIGHTS.into_iter().find(|of| table.starts_with(of));
                if of_rights.is_some() && loops == 0 {
                    return;
                }
                walked.insert(of_rights.unwrap_or(table));
                let most = if of_rights.is_some() { TEAMS } else { 1 };
                assert!(
                    loops <= count * most,
                    "`{name}` looks {loops} times into `{table}` for {count} keys"
                );
                for rows in ["Actual Rows", "Rows Removed by Filter"] {
                    let each = node[rows].as_f64().unwrap_or_default();
                    let most = f64::from(u32::try_from(most).unwrap());
                    assert!(
                        each <= most,
                        "`{name}`, {rows} of `{table}`: {each} for each of {count} keys"
                    );
                }
            });
            let expected: BTreeSet<&str> = tables.iter().copied().chain(OF_RIGHTS).collect();
            assert_eq!(walked, expected, "`{name}` with {count} keys");
        }
        db.sql.batch_execute("DEALLOCATE pinned").await.unwrap();
    }
    assert!(seen >= 5, "only {seen} point reads decide");
}
