//! The switch: who is refused, and who has to be waited for.

use crate::support::{Db, path};
use portolan_metadata::{Error, Principal, read_only, repositories, sessions};

impl Db {
    async fn switch_on(&self, message: Option<&str>) {
        self.write(async |tx| read_only::switch_on(tx, message).await)
            .await;
    }

    async fn since(&self) -> std::time::SystemTime {
        let reader = self.router.read_primary().await.unwrap();
        read_only::current(&reader).await.unwrap().unwrap().since
    }
}

#[tokio::test]
async fn a_write_that_begins_while_the_mode_is_on_is_refused_with_the_operators_words() {
    let db = Db::new().await;
    let name = path("acme/app");
    for (given, told) in [(None, None), (Some("moving house"), Some("moving house"))] {
        db.switch_on(given).await;
        for first in 0..2 {
            let tx = db.begin().await;
            let refused = match first {
                0 => read_only::refuse_writes(&tx).await,
                _ => repositories::lock(&tx, &name, &Principal::Anonymous)
                    .await
                    .map(drop),
            };
            match refused {
                Err(Error::ReadOnly { message }) => assert_eq!(message.as_deref(), told),
                other => panic!("{other:?}"),
            }
            tx.rollback().await.unwrap();
        }
    }
    db.write(async |tx| read_only::switch_off(tx).await).await;
    db.write(async |tx| read_only::refuse_writes(tx).await)
        .await;
    let reader = db.router.read_primary().await.unwrap();
    assert_eq!(read_only::current(&reader).await.unwrap(), None);
}

#[tokio::test]
async fn another_message_does_not_begin_the_time_of_quiet_anew() {
    let db = Db::new().await;
    db.switch_on(None).await;
    let since = db.since().await;
    db.switch_on(Some("it takes longer")).await;
    assert_eq!(db.since().await, since);
    db.write(async |tx| read_only::switch_off(tx).await).await;
    db.switch_on(None).await;
    assert!(db.since().await > since);
}

#[tokio::test]
async fn a_transaction_that_has_asked_and_not_yet_written_is_waited_for() {
    let db = Db::new().await;
    let reader = db.router.read_primary().await.unwrap();
    assert_eq!(sessions::open_transactions(&reader).await.unwrap(), []);
    // The first push to a repository: there is no row to lock, so nothing of this transaction is in any snapshot.
    let tx = db.begin().await;
    let name = path("acme/new");
    repositories::lock(&tx, &name, &Principal::Anonymous)
        .await
        .unwrap();
    db.switch_on(None).await;
    let in_snapshots = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database()";
    assert_eq!(db.number(in_snapshots).await, 0);
    let open = sessions::open_transactions(&reader).await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0].application, "portolan");
    assert!(open[0].age.is_some());

    // It still is the same one when it writes, and another one follows it on the same connection.
    repositories::create(&tx, &name, &Principal::Anonymous)
        .await
        .unwrap();
    let now = sessions::open_transactions(&reader).await.unwrap();
    assert!(now.len() == 1 && now[0].is(&open[0]), "{now:?}");
    crate::support::commit(tx).await;
    assert_eq!(sessions::open_transactions(&reader).await.unwrap(), []);
    let next = db.begin().await;
    let now = sessions::open_transactions(&reader).await.unwrap();
    assert!(now.len() == 1 && !now[0].is(&open[0]), "{now:?}");
    next.rollback().await.unwrap();
}

#[tokio::test]
async fn transactions_that_cannot_be_ours_are_not_waited_for() {
    let db = Db::new().await;
    db.run("CREATE ROLE backup LOGIN").await;
    let url = db.database.url().replace("postgres@", "backup@");
    let backup = portolan_testkit::pg_cluster::Session::open(&url)
        .await
        .unwrap();
    backup
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .await
        .unwrap();
    let reader = db.router.read_primary().await.unwrap();
    assert_eq!(sessions::open_transactions(&reader).await.unwrap(), []);
    // By another role, but by our name; and by our role, whatever it is called.
    backup
        .batch_execute("SET application_name = 'portolan/registry'")
        .await
        .unwrap();
    db.sql
        .batch_execute("BEGIN; SET application_name = 'psql'")
        .await
        .unwrap();
    let open = sessions::open_transactions(&reader).await.unwrap();
    let mut names: Vec<&str> = open.iter().map(|one| one.application.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["portolan/registry", "psql"]);
}
