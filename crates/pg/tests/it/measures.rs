//! What an operator sees on the metrics page.

use portolan_pg::{Endpoint, Metrics, Router};
use portolan_testkit::pg_cluster::PgCluster;
use prometheus_client::{encoding::text::encode, registry::Registry};
use secrecy::SecretString;

use crate::support::{World, count, insert, policy};

#[tokio::test]
async fn the_metrics_page_shows_use_waits_and_why_connections_closed() {
    let mut registry = Registry::with_prefix("portolan");
    let metrics = Metrics::register(&mut registry);
    metrics.register_for_dashboards(registry.sub_registry_with_prefix("registry_database"));
    let world = World::new(policy()).await;
    let endpoint = Endpoint::parse(&SecretString::from(world.database.url())).unwrap();
    let router = Router::connect(policy(), endpoint, Vec::new(), metrics, 1);
    router.register_replicas(registry.sub_registry_with_prefix("registry_database"));
    router.register_outage(registry.sub_registry_with_prefix("pg"));
    insert(&router, "a", 1).await.unwrap();
    drop(router.begin().await.unwrap());
    assert_eq!(count(&router).await, 1);
    let tx = router.begin().await.unwrap();
    let page = |registry: &Registry| {
        let mut page = String::new();
        encode(&mut page, registry).unwrap();
        page
    };
    let during = page(&registry);
    for line in [
        r#"portolan_pg_connections_open{server="primary"} 1"#,
        r#"portolan_pg_connections_idle{server="primary"} 0"#,
        r#"portolan_pg_connections_in_use{server="primary",share="writes"} 1"#,
        r#"portolan_pg_connections_in_use{server="primary",share="lanes"} 0"#,
        r#"portolan_pg_acquire_waiting{server="primary",share="writes"} 0"#,
        r#"portolan_pg_acquires_total{server="primary",share="writes",outcome="acquired"} 3"#,
        r#"portolan_pg_acquire_seconds_count{server="primary",share="writes"} 3"#,
        r#"portolan_pg_dials_total{server="primary",outcome="connected"} 1"#,
        r#"portolan_pg_dials_in_flight{server="primary"} 0"#,
        r#"portolan_pg_statement_seconds_count{server="primary",statement="test.insert"} 1"#,
        r#"portolan_pg_transactions_total{outcome="committed"} 1"#,
        r#"portolan_pg_transactions_total{outcome="dropped"} 1"#,
        r#"portolan_pg_reads_total{need="list",server="primary",reason="no_replica"} 1"#,
        "portolan_pg_primary_failing_seconds 0",
        "portolan_pg_stale_seconds 0",
        r#"portolan_registry_database_lb_targets_total{target_type="primary",fallback="true",reason="no_replica"} 1"#,
        r#"portolan_registry_database_lb_targets_total{target_type="primary",fallback="false",reason="selected"} 3"#,
        r#"portolan_registry_database_queries_total{name="test.insert"} 1"#,
        r#"portolan_registry_database_query_duration_seconds_count{name="test.insert"} 1"#,
        "portolan_registry_database_lb_pool_size 0",
    ] {
        assert!(during.contains(line), "`{line}` is not in\n{during}");
    }
    tx.rollback().await.unwrap();
    router.close().await;
    let after = page(&registry);
    for line in [
        r#"portolan_pg_connections_open{server="primary"} 0"#,
        r#"portolan_pg_connections_closed_total{server="primary",reason="shutdown"} 1"#,
        r#"portolan_pg_connection_age_seconds_count{server="primary",reason="shutdown"} 1"#,
    ] {
        assert!(after.contains(line), "`{line}` is not in\n{after}");
    }
    world.end().await;
}

#[tokio::test]
async fn the_sessions_of_a_process_carry_its_roles() {
    let database = PgCluster::shared().create_database().await;
    let endpoint = Endpoint::parse(&SecretString::from(database.url())).unwrap();
    let policy = policy().with_roles("registry,api");
    let router = Router::connect(policy, endpoint, Vec::new(), Metrics::unregistered(), 1);
    router.ping_primary().await.unwrap();
    let session = database.session().await;
    let sql = "SELECT application_name FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let row = session.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "portolan/registry,api");
    router.close().await;
}
