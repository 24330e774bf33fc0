//! The schema's steps, and what a program says of a schema it cannot use.

use crate::support::{migrated, router};
use portolan_metadata::Error;
use portolan_metadata::migrate::{self, SCHEMA_NEWEST};
use portolan_testkit::pg_cluster::PgCluster;

#[tokio::test]
async fn up_applies_what_is_missing_once() {
    let database = PgCluster::shared().create_database().await;
    let steps = migrate::status(database.url()).await.unwrap();
    assert!(steps.iter().all(|step| !step.applied));
    assert_eq!(steps.last().unwrap().version, SCHEMA_NEWEST);

    let applied = migrate::up(database.url()).await.unwrap();
    assert_eq!(applied.len(), steps.len());
    assert!(applied.iter().all(|step| step.applied));
    assert!(migrate::up(database.url()).await.unwrap().is_empty());
    // The quickstart's Postgres has only a socket.
    let steps = migrate::status(database.socket_url()).await.unwrap();
    assert!(steps.iter().all(|step| step.applied));
}

#[tokio::test]
async fn the_time_limit_of_the_role_is_not_that_of_a_step() {
    let database = PgCluster::shared().create_database().await;
    let sql = database.session().await;
    let limit = format!(
        "ALTER DATABASE {} SET statement_timeout = '1ms'",
        database.name()
    );
    sql.batch_execute(&limit).await.unwrap();
    migrate::up(database.url()).await.unwrap();
}

#[tokio::test]
async fn two_that_migrate_at_once_wait_for_each_other() {
    let database = PgCluster::shared().create_database().await;
    let (one, other) = tokio::join!(migrate::up(database.url()), migrate::up(database.url()));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is_empty() != other.is_empty(), "one did it all");
    let steps = migrate::status(database.url()).await.unwrap();
    assert!(steps.iter().all(|step| step.applied));
}

#[tokio::test]
async fn a_program_starts_only_on_a_schema_it_knows() {
    let empty = PgCluster::shared().create_database().await;
    let reader = router(&empty, 1).read_primary().await.unwrap();
    assert!(matches!(
        migrate::check(&reader).await,
        Err(Error::SchemaMissing)
    ));

    let database = migrated().await;
    let sql = database.session().await;
    let router = router(&database, 1);
    let reader = router.read_primary().await.unwrap();
    assert_eq!(migrate::check(&reader).await.unwrap(), SCHEMA_NEWEST);

    sql.batch_execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', false, '', 0)",
    )
    .await
    .unwrap();
    let broken = migrate::check(&reader).await;
    assert!(
        matches!(broken, Err(Error::SchemaBroken { version: 9999 })),
        "{broken:?}"
    );
    sql.batch_execute("UPDATE _sqlx_migrations SET success = true")
        .await
        .unwrap();
    let newer = migrate::check(&reader).await;
    assert!(
        matches!(newer, Err(Error::SchemaTooNew { found: 9999, .. })),
        "{newer:?}"
    );
    sql.batch_execute("DELETE FROM _sqlx_migrations WHERE version > 1")
        .await
        .unwrap();
    let older = migrate::check(&reader).await;
    assert!(
        matches!(older, Err(Error::SchemaTooOld { found: 1, .. })),
        "{older:?}"
    );
    sql.batch_execute("DELETE FROM _sqlx_migrations")
        .await
        .unwrap();
    assert!(matches!(
        migrate::check(&reader).await,
        Err(Error::SchemaMissing)
    ));
}
