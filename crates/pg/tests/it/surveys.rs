//! What a process finds out about its database before it serves.

use std::num::NonZeroU32;

use portolan_pg::{Budget, Durability, Limit, PLANNER, Router, Survey, Tightness, Verdict};
use portolan_testkit::{
    children::eventually,
    pg_cluster::{PgCluster, TestDatabase},
};

use crate::support::{World, policy, router_to};

async fn survey(router: &Router, processes: u32) -> Survey {
    let processes = NonZeroU32::new(processes).unwrap();
    router.survey(processes).await.unwrap()
}

async fn budget(router: &Router, processes: u32) -> Budget {
    survey(router, processes).await.budget
}

/// The database's URL for another role, which is made by this.
async fn as_role(database: &TestDatabase, role: &str, options: &str) -> String {
    let session = database.session().await;
    let sql = format!("CREATE ROLE \"{role}\" LOGIN {options}");
    session.batch_execute(&sql).await.unwrap();
    database.url().replace("postgres@", &format!("{role}@"))
}

#[tokio::test]
async fn a_fleet_is_held_against_what_the_server_has_for_it() {
    // 26 without those that are reserved for superusers, and 23 without a tenth of these.
    let cluster = PgCluster::options().with("max_connections", "29").start();
    let world = World::on(&cluster, policy()).await;
    let fits = budget(&world.router, 2).await;
    assert_eq!((fits.wanted, fits.allowed, fits.live), (16, 23, 1));
    assert_eq!(fits.verdict, Verdict::Fits, "{fits}");
    let most = 26;
    let tight = budget(&world.router, 3).await;
    let little_left = Tightness::LittleLeft { most };
    assert_eq!(tight.verdict, Verdict::Tight(little_left), "{tight}");
    let exceeds = budget(&world.router, 4).await;
    let limit = Limit::Server;
    assert_eq!(
        exceeds.verdict,
        Verdict::Exceeds { limit, most },
        "{exceeds}"
    );

    // Ten more of others; one looks at the database already.
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(world.database.session().await);
    }
    let taken = budget(&world.router, 2).await;
    let by_others = Tightness::Others {
        limit,
        most,
        others: 11,
    };
    assert_eq!(taken.verdict, Verdict::Tight(by_others), "{taken}");
    drop(others);
    world.end().await;
}

#[tokio::test]
async fn a_fleet_is_held_against_the_limits_of_its_role_and_its_database() {
    let database = PgCluster::shared().create_database().await;
    let url = as_role(&database, "limited", "CONNECTION LIMIT 10").await;
    let (router, _) = router_to(&url, policy());
    assert_eq!(budget(&router, 1).await.verdict, Verdict::Fits);
    let exceeds = Verdict::Exceeds {
        limit: Limit::Role,
        most: 10,
    };
    assert_eq!(budget(&router, 2).await.verdict, exceeds);
    let narrow = format!("ALTER DATABASE {} CONNECTION LIMIT 9", database.name());
    let session = database.session().await;
    session.batch_execute(&narrow).await.unwrap();
    let exceeds = Verdict::Exceeds {
        limit: Limit::Database,
        most: 9,
    };
    assert_eq!(budget(&router, 2).await.verdict, exceeds);
    router.close().await;
    // Neither binds a superuser.
    let (router, _) = router_to(database.url(), policy());
    assert_eq!(budget(&router, 2).await.allowed, 267);
    router.close().await;
}

#[tokio::test]
async fn more_processes_than_configured_are_noticed_by_their_sessions() {
    let world = World::new(policy()).await;
    let mut others = Vec::new();
    for _ in 0..9 {
        let (router, _) = router_to(world.database.url(), policy());
        router.ping_primary().await.unwrap();
        others.push(router);
    }
    let found = budget(&world.router, 1).await;
    let more = Verdict::Tight(Tightness::MoreThanConfigured);
    assert_eq!((found.live, found.verdict), (10, more), "{found}");
    for router in others {
        router.close().await;
    }
    world.end().await;
}

#[tokio::test]
async fn behind_a_pooler_the_role_needs_settings_and_the_lines_that_are_shown_make_them() {
    let database = PgCluster::shared().create_database().await;
    let url = as_role(&database, "pooled-role", "").await;
    // Settings of ours come with each direct connection.
    let (direct, _) = router_to(&url, policy());
    assert_eq!(survey(&direct, 1).await.wrong_settings, []);
    direct.close().await;

    let (router, _) = router_to(&url, policy().with_pooler(true));
    let found = survey(&router, 1).await;
    router.close().await;
    assert_eq!(found.role, "pooled-role");
    assert_eq!(found.budget.verdict, Verdict::Pooled);
    let names: Vec<_> = found
        .wrong_settings
        .iter()
        .map(|wrong| wrong.name)
        .collect();
    let times = ["statement_timeout", "idle_in_transaction_session_timeout"];
    assert_eq!(names, [&PLANNER.map(|(name, _)| name)[..], &times].concat());

    let session = database.session().await;
    for wrong in &found.wrong_settings {
        session.batch_execute(&wrong.mend).await.unwrap();
    }
    let (router, _) = router_to(&url, policy().with_pooler(true));
    assert_eq!(survey(&router, 1).await.wrong_settings, []);
    router.close().await;
}

#[tokio::test]
async fn a_primary_that_was_made_read_only_is_seen_before_the_first_write() {
    let database = PgCluster::shared().create_database().await;
    let url = as_role(&database, "reader", "").await;
    let session = database.session().await;
    session
        .batch_execute("ALTER ROLE reader SET default_transaction_read_only = on")
        .await
        .unwrap();
    let (router, _) = router_to(&url, policy());
    let wrong = survey(&router, 1).await.wrong_settings;
    assert_eq!(wrong.len(), 1);
    session.batch_execute(&wrong[0].mend).await.unwrap();
    router.close().await;
    let (router, _) = router_to(&url, policy());
    assert_eq!(survey(&router, 1).await.wrong_settings, []);
    router.close().await;
}

#[tokio::test]
async fn a_server_without_a_synchronous_standby_is_known_as_such() {
    let cluster = PgCluster::start();
    let (router, _) = router_to(&cluster.primary().url("postgres"), policy());
    let durability = async || survey(&router, 1).await.durability;
    assert_eq!(durability().await, Durability::PrimaryAlone);
    let session = cluster.create_database().await.session().await;
    for sql in [
        "ALTER SYSTEM SET synchronous_standby_names = 'a_standby'",
        "SELECT pg_reload_conf()",
    ] {
        session.batch_execute(sql).await.unwrap();
    }
    eventually("the setting is read", async || {
        durability().await == Durability::SynchronousStandby
    })
    .await;
    router.close().await;
}
