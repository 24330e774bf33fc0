//! The schema by itself: what it refuses, bypassing our code, and what it looks like.

use crate::support::{Db, migrated};
use portolan_testkit::pg_cluster::Session;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

async fn refused(session: &Session, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> SqlState {
    match session.execute(sql, parameters).await {
        Ok(_) => panic!("`{sql}` was accepted"),
        Err(error) => error
            .code()
            .unwrap_or_else(|| panic!("`{sql}`: {error:?}"))
            .clone(),
    }
}

const INSERT_CONTENT: &str = "INSERT INTO manifest_content (digest, payload) VALUES ($1, $2)";

#[tokio::test]
async fn a_manifest_that_does_not_hash_to_its_digest_cannot_be_stored() {
    let session = migrated().await.session().await;
    // A copy tool that cuts at 32 KiB, as the one that did.
    let whole = vec![b'm'; 64 * 1024];
    let digest = portolan_oci::Digest::sha256(&whole);
    let sha512 = portolan_oci::Digest::of(portolan_oci::Algorithm::Sha512, &whole);
    for of in [digest.as_bytes(), sha512.as_bytes()] {
        for cut in [0, 31 * 1024, 32 * 1024, 33 * 1024, 64 * 1024 - 1] {
            let state = refused(&session, INSERT_CONTENT, &[&of, &&whole[..cut]]).await;
            assert_eq!(state, SqlState::CHECK_VIOLATION, "cut at {cut}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        let state = refused(&session, INSERT_CONTENT, &[&of, &longer]).await;
        assert_eq!(state, SqlState::CHECK_VIOLATION);
        session
            .execute(INSERT_CONTENT, &[&of, &whole])
            .await
            .unwrap();
    }
    let change = "UPDATE manifest_content SET payload = substring(payload FOR 32768)";
    assert_eq!(
        refused(&session, change, &[]).await,
        SqlState::CHECK_VIOLATION
    );
    let swap = "UPDATE manifest_content SET digest = sha256('other')";
    assert_eq!(
        refused(&session, swap, &[]).await,
        SqlState::CHECK_VIOLATION
    );
}

#[tokio::test]
async fn a_manifest_without_payload_cannot_be_stored() {
    let session = migrated().await.session().await;
    let digest = portolan_oci::Digest::sha256(b"");
    let state = refused(
        &session,
        INSERT_CONTENT,
        &[&digest.as_bytes(), &None::<&[u8]>],
    )
    .await;
    assert_eq!(state, SqlState::NOT_NULL_VIOLATION);

    // Even without NOT NULL the CHECK stands by itself: that is what IS TRUE is for.
    session
        .batch_execute("ALTER TABLE manifest_content ALTER COLUMN payload DROP NOT NULL")
        .await
        .unwrap();
    let state = refused(
        &session,
        INSERT_CONTENT,
        &[&digest.as_bytes(), &None::<&[u8]>],
    )
    .await;
    assert_eq!(state, SqlState::CHECK_VIOLATION);
}

#[tokio::test]
async fn a_digest_has_32_or_64_bytes() {
    let session = migrated().await.session().await;
    let payload: &[u8] = b"{}";
    let hash = portolan_oci::Digest::of(portolan_oci::Algorithm::Sha512, payload);
    for length in [0, 2, 31, 33, 63] {
        let digest = &hash.as_bytes()[..length];
        let state = refused(&session, INSERT_CONTENT, &[&digest, &payload]).await;
        assert_eq!(state, SqlState::CHECK_VIOLATION, "{length} bytes");
    }
    let state = refused(&session, INSERT_CONTENT, &[&None::<&[u8]>, &payload]).await;
    assert_eq!(state, SqlState::NOT_NULL_VIOLATION);
    // 32 bytes of a sha512 are no sha256.
    let state = refused(
        &session,
        INSERT_CONTENT,
        &[&&hash.as_bytes()[..32], &payload],
    )
    .await;
    assert_eq!(state, SqlState::CHECK_VIOLATION);
}

#[tokio::test]
async fn a_small_blob_in_its_row_is_the_blob() {
    let db = Db::new().await;
    let insert = "INSERT INTO blob (store_id, storage_key, digest, size, content) VALUES ($1, $2, $3, $4, $5)";
    let content: &[u8] = b"{\"architecture\":\"amd64\"}";
    let digest = portolan_oci::Digest::sha256(content);
    let size = i64::try_from(content.len()).unwrap();
    let large = vec![0_u8; 2_049];
    let of_large = portolan_oci::Digest::sha256(&large);
    let wrong: [(&[u8], i64, &[u8]); 4] = [
        (digest.as_bytes(), size, &content[1..]),
        (digest.as_bytes(), size + 1, content),
        (of_large.as_bytes(), 2_049, &large),
        (&digest.as_bytes()[..31], size, content),
    ];
    for (digest, size, content) in wrong {
        let parameters: [&(dyn ToSql + Sync); 5] = [&db.store, &"b/1", &digest, &size, &content];
        assert_eq!(
            refused(&db.sql, insert, &parameters).await,
            SqlState::CHECK_VIOLATION
        );
    }
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&db.store, &"b/1", &digest.as_bytes(), &size, &content];
    db.sql.execute(insert, &parameters).await.unwrap();
    // The same key for another blob: never.
    let other = portolan_oci::Digest::sha256(b"other");
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&db.store, &"b/1", &other.as_bytes(), &5_i64, &None::<&[u8]>];
    assert_eq!(
        refused(&db.sql, insert, &parameters).await,
        SqlState::UNIQUE_VIOLATION
    );
}

#[tokio::test]
async fn nothing_of_an_adopted_store_is_deleted_or_written() {
    let db = Db::new().await;
    db.run("INSERT INTO store (name, kind, ownership, bucket) VALUES ('old', 's3', 'adopted', 'theirs')").await;
    let adopted = "(SELECT id FROM store WHERE name = 'old')";
    let delete = format!(
        "INSERT INTO object_delete (store_id, storage_key, reason, not_before) VALUES ({adopted}, 'k', 'upload', now())"
    );
    assert_eq!(
        refused(&db.sql, &delete, &[]).await,
        SqlState::FOREIGN_KEY_VIOLATION
    );
    let lie = format!(
        "INSERT INTO object_delete (store_id, store_ownership, storage_key, reason, not_before)
         VALUES ({adopted}, 'adopted', 'k', 'upload', now())"
    );
    assert_eq!(refused(&db.sql, &lie, &[]).await, SqlState::CHECK_VIOLATION);
    db.run("INSERT INTO account (kind, name) VALUES ('user', 'alice')")
        .await;
    let upload = format!(
        "INSERT INTO upload (id, account_id, store_id, expires_at, algorithm, repository_path)
         VALUES ('00000000-0000-4000-8000-000000000000', (SELECT id FROM account), {adopted}, now(), 'sha256', 'a/b')"
    );
    assert_eq!(
        refused(&db.sql, &upload, &[]).await,
        SqlState::FOREIGN_KEY_VIOLATION
    );

    // Handed over on purpose, it is like any other; and not given back while something of it is to be deleted.
    db.run("UPDATE store SET ownership = 'owned' WHERE name = 'old'")
        .await;
    db.run(&delete).await;
    let back = "UPDATE store SET ownership = 'adopted' WHERE name = 'old'";
    assert_eq!(
        refused(&db.sql, back, &[]).await,
        SqlState::FOREIGN_KEY_VIOLATION
    );
}

#[tokio::test]
async fn wrong_states_cannot_be_written() {
    let db = Db::new().await;
    let repository = db.repository("acme/app").await;
    let other = db.repository("acme/other").await;
    let (manifest, _) = db
        .manifest(repository, &crate::support::Push::of(b"one"))
        .await;
    db.run("INSERT INTO account (kind, name, password_hash) VALUES ('user', 'alice', 'h')")
        .await;
    let cases: &[(&str, SqlState)] = &[
        // A tag, a child or a reference of another repository's manifest.
        (
            &format!(
                "INSERT INTO tag (repository_id, manifest_id, name) VALUES ({other}, {manifest}, 'latest')"
            ),
            SqlState::FOREIGN_KEY_VIOLATION,
        ),
        (
            &format!(
                "INSERT INTO manifest_child (repository_id, parent_id, child_digest) VALUES ({other}, {manifest}, sha256('x'))"
            ),
            SqlState::FOREIGN_KEY_VIOLATION,
        ),
        (
            &format!(
                "INSERT INTO tag (repository_id, manifest_id, name) VALUES ({repository}, {manifest}, 'a b')"
            ),
            SqlState::CHECK_VIOLATION,
        ),
        // A repository half removed, or with a name that none can have.
        (
            "UPDATE repository SET state = 'removing'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE repository SET removed_at = now()",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE repository SET path = 'app' WHERE path = 'acme/app'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE repository SET path = 'acme/App' WHERE path = 'acme/app'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE repository SET path = '~1' WHERE path = 'acme/app'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE repository SET visibility = 'hidden'",
            SqlState::CHECK_VIOLATION,
        ),
        // Accounts that are two things at once.
        (
            "UPDATE account SET kind = 'robot' WHERE name = 'alice'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE account SET kind = 'organization' WHERE name = 'alice'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO account (kind, name) VALUES ('user', 'Alice')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO account (kind, name) VALUES ('robot', 'acme+ci')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE account SET superuser = true WHERE kind = 'organization'",
            SqlState::CHECK_VIOLATION,
        ),
        // What can be restored says what it was.
        (
            "INSERT INTO object_delete (store_id, storage_key, reason, not_before) VALUES (1, 'k', 'collected', now())",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO tag_history (repository_id, version, name, digest, previous_digest)
             VALUES (1, 1, 'latest', sha256('x'), sha256('x'))",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "INSERT INTO job (kind, key, payload, due_at, again_at) VALUES ('k', '', '{}', now(), now())",
            SqlState::CHECK_VIOLATION,
        ),
        ("DELETE FROM media_type", SqlState::FOREIGN_KEY_VIOLATION),
    ];
    for (sql, expected) in cases {
        assert_eq!(refused(&db.sql, sql, &[]).await, *expected, "{sql}");
    }
}

#[tokio::test]
async fn every_foreign_key_has_an_index_on_the_referencing_side() {
    let session = migrated().await.session().await;
    // An index serves where its leading columns are all of the key's; or where it begins with the id that a composite
    // key ends with, which alone finds few rows.
    let rows = session
        .query(
            "SELECT con.conrelid::regclass::text, con.conname::text
             FROM pg_constraint con
             WHERE con.contype = 'f' AND NOT EXISTS (
                 SELECT FROM pg_index ix
                 WHERE ix.indrelid = con.conrelid
                     AND (
                         ix.indpred IS NULL
                         OR pg_get_expr(ix.indpred, ix.indrelid) LIKE '%IS NOT NULL%'
                     )
                     AND (
                         (SELECT array_agg(key ORDER BY key) FROM unnest(con.conkey) AS key)
                             = (
                                 SELECT array_agg(key ORDER BY key)
                                 FROM unnest((ix.indkey::int2[])[0:cardinality(con.conkey) - 1]) AS key
                             )
                         OR (
                             ix.indkey[0] = con.conkey[cardinality(con.conkey)]
                             AND con.confkey[cardinality(con.conkey)] = (
                                 SELECT att.attnum FROM pg_attribute att
                                 WHERE att.attrelid = con.confrelid AND att.attname = 'id'
                             )
                         )
                         OR (
                             -- The ownership beside a store's id is a constant.
                             ix.indkey[0] = con.conkey[1] AND con.confrelid = 'store'::regclass
                         )
                     )
             )
             ORDER BY 1, 2",
            &[],
        )
        .await
        .unwrap();
    let bare: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(bare.is_empty(), "without an index: {bare:?}");
    let keys: i64 = session
        .query_one(
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert!(keys >= 18, "only {keys} foreign keys were looked at");
}

#[tokio::test]
async fn nothing_cascades_but_the_parts_of_an_upload_and_what_an_account_or_team_has() {
    let session = migrated().await.session().await;
    let rows = session
        .query(
            "SELECT conrelid::regclass::text FROM pg_constraint
             WHERE contype = 'f' AND confdeltype <> 'r'
                 AND confrelid NOT IN ('account'::regclass, 'team'::regclass, 'namespace'::regclass)
             UNION
             SELECT conrelid::regclass::text FROM pg_constraint
             WHERE contype = 'f' AND confdeltype <> 'r' AND conrelid = 'repository'::regclass",
            &[],
        )
        .await
        .unwrap();
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(tables, ["upload_part"]);
}

#[tokio::test]
async fn text_that_is_compared_is_compared_bytewise() {
    let session = migrated().await.session().await;
    let rows = session
        .query(
            "SELECT ix.indexrelid::regclass::text, att.attname::text
             FROM pg_index ix
             JOIN pg_attribute att ON att.attrelid = ix.indexrelid
             JOIN pg_class cls ON cls.oid = ix.indrelid AND cls.relnamespace = 'public'::regnamespace
             WHERE att.attcollation <> 0 AND att.attcollation <> '\"C\"'::regcollation",
            &[],
        )
        .await
        .unwrap();
    let loose: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(
        loose.is_empty(),
        "indexed in an order that a library may change: {loose:?}"
    );
}
