//! Who may write to an upload, and what several at once do to each other.

use crate::staged::{Event, Script};
use crate::support::{
    Client, Kind, Site, body, budgets, bytes, name, sha256, stalled, streamed, unit,
};
use futures::future::join_all;
use portolan_registry::upload::UploadBody;
use portolan_registry::{Caller, Error};
use portolan_testkit::children::eventually;
use std::time::Duration;

#[tokio::test]
async fn an_upload_is_known_only_to_its_account_in_its_repository() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let owner = site.client(&registry, "a/b");
    let id = owner.start().await;
    owner.append(id, body(&bytes(1, 100))).await.unwrap();
    // Both may push everywhere.
    let stranger = Client {
        caller: &site.stranger,
        name: name("a/b"),
        ..owner
    };
    let elsewhere = site.client(&registry, "a/c");
    for client in [&stranger, &elsewhere] {
        let ends = [
            client.received(id).await.unwrap_err(),
            client.append(id, body(&bytes(1, 1))).await.unwrap_err(),
            client
                .finish(id, sha256(b""), UploadBody::empty())
                .await
                .unwrap_err(),
            registry
                .cancel_upload(client.caller, &client.name, id)
                .await
                .unwrap_err(),
        ];
        assert!(
            ends.iter().all(|end| matches!(end, Error::UploadUnknown)),
            "{ends:?}"
        );
    }
    let nobody = Client {
        caller: &Caller::anonymous(),
        name: name("a/b"),
        registry: &registry,
    };
    let ends = [
        nobody.received(id).await.unwrap_err(),
        nobody.append(id, body(&bytes(1, 1))).await.unwrap_err(),
        nobody
            .finish(id, sha256(b""), UploadBody::empty())
            .await
            .unwrap_err(),
        registry
            .start_upload(nobody.caller, &nobody.name, None)
            .await
            .unwrap_err(),
    ];
    assert!(
        ends.iter().all(|end| matches!(end, Error::Unauthenticated)),
        "{ends:?}"
    );
    assert_eq!(owner.received(id).await.unwrap(), 100);
}

#[tokio::test]
async fn of_two_requests_at_once_one_writes_and_the_other_is_busy() {
    let site = Site::new(Kind::Directory).await;
    let (first, script) = site.process_with(Script::at(1, Event::StopAfter)).await;
    let second = site.process().await;
    let client = |registry| Client {
        registry,
        caller: &site.caller,
        name: name("a/b"),
    };
    let (first, second) = (client(&first), client(&second));
    let content = bytes(2, 1_000);
    let id = first.start().await;
    let writing = first.append(id, body(&content));
    let other = async {
        script.reached().await;
        let busy = [
            second.append(id, body(&content)).await.unwrap_err(),
            second
                .finish(id, sha256(&content), body(&content))
                .await
                .unwrap_err(),
        ];
        for busy in busy {
            assert!(
                matches!(busy, Error::UploadBusy { received: 0, .. }),
                "{busy:?}"
            );
        }
        // Reading disturbs nobody.
        assert_eq!(second.received(id).await.unwrap(), 0);
    };
    tokio::select! {
        outcome = writing => panic!("{outcome:?}"),
        () = other => {}
    }
}

#[tokio::test]
async fn a_request_waits_a_little_for_the_one_before_it() {
    let mut site = Site::new(Kind::Directory).await;
    site.settings.claims.wait = Duration::from_secs(30);
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(3, 200_000);
    let id = client.start().await;
    // All start at once, each with a chunk that belongs somewhere else; all but one find out where they are.
    let chunks = join_all((0..4).map(|number| {
        let piece = content.slice(number * 50_000..(number + 1) * 50_000);
        let client = &client;
        async move {
            loop {
                match client.append_at(id, number as u64 * 50_000, &piece).await {
                    Ok(_) => return,
                    Err(Error::RangeOutOfOrder { received, .. }) => {
                        assert!(received < number as u64 * 50_000);
                        tokio::task::yield_now().await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }));
    chunks.await;
    client
        .finish(id, sha256(&content), UploadBody::empty())
        .await
        .unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn a_claim_that_was_lost_writes_nothing_more() {
    let mut site = Site::new(Kind::Directory).await;
    site.settings.claims.renew = Duration::from_millis(50);
    let (first, script) = site.process_with(Script::at(1, Event::StopBefore)).await;
    let second = site.process().await;
    let client = |registry| Client {
        registry,
        caller: &site.caller,
        name: name("a/b"),
    };
    let (first, second) = (client(&first), client(&second));
    let id = first.start().await;
    let taken_over = async {
        script.reached().await;
        // A machine that slept through its lease.
        site.run("UPDATE upload SET lock_until = now()").await;
        second.append(id, body(&bytes(4, 10))).await.unwrap()
    };
    let (lost, received) = tokio::join!(first.append(id, body(&bytes(5, 1_000))), taken_over);
    assert!(matches!(lost, Err(Error::UploadBusy { .. })), "{lost:?}");
    assert_eq!((received, second.received(id).await.unwrap()), (10, 10));
    second
        .finish(id, sha256(&bytes(4, 10)), UploadBody::empty())
        .await
        .unwrap();
    site.nothing_is_left_over(second.registry).await;
}

#[tokio::test]
async fn a_claim_lasts_as_long_as_its_request() {
    let mut site = Site::new(Kind::Directory).await;
    site.settings.claims.renew = Duration::from_millis(50);
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let id = client.start().await;
    let writing = client.append(id, stalled(&bytes(6, 1_000)));
    let watching = async {
        let sql = "SELECT lock_until > now() FROM upload WHERE lock_until IS NOT NULL";
        eventually("the upload is claimed", async || {
            site.sql.query_opt(sql, &[]).await.unwrap().is_some()
        })
        .await;
        site.run("UPDATE upload SET lock_until = now() - interval '1 second'")
            .await;
        eventually("the claim is renewed", async || {
            site.sql
                .query_one(sql, &[])
                .await
                .unwrap()
                .get::<_, bool>(0)
        })
        .await;
    };
    tokio::select! {
        outcome = writing => panic!("{outcome:?}"),
        () = watching => {}
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_writes_down_what_it_has_and_lets_go() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(7, unit(Kind::Directory) * 5 / 2);
    let id = client.start().await;
    let parts = unit(Kind::Directory) * 2;
    {
        let writing = client.append(id, stalled(&content));
        let stored = eventually("two parts are stored", async || {
            site.objects().iter().any(|key| key.ends_with("part-2"))
        });
        tokio::select! {
            outcome = writing => panic!("{outcome:?}"),
            () = stored => {}
        }
    }
    eventually("it is written down", async || {
        client.received(id).await.unwrap() == parts
    })
    .await;
    let rest = content.slice(usize::try_from(parts).unwrap()..);
    client
        .finish(id, sha256(&content), body(&rest))
        .await
        .unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn a_cancelled_upload_ends_the_request_that_writes_to_it() {
    let mut site = Site::new(Kind::Directory).await;
    site.settings.claims.renew = Duration::from_millis(50);
    let (registry, script) = site.process_with(Script::at(2, Event::StopBefore)).await;
    let client = site.client(&registry, "a/b");
    let id = client.start().await;
    let cancel = async {
        script.reached().await;
        registry
            .cancel_upload(&site.caller, &client.name, id)
            .await
            .unwrap();
    };
    let content = bytes(8, unit(Kind::Directory) * 3);
    let (ended, ()) = tokio::join!(client.append(id, body(&content)), cancel);
    assert!(matches!(ended, Err(Error::UploadUnknown)), "{ended:?}");
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn a_body_that_is_too_slow_ends_and_keeps_whole_parts() {
    let mut site = Site::new(Kind::Directory).await;
    site.settings.pace.idle = Duration::from_millis(50);
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let id = client.start().await;
    let slow = client
        .append(id, stalled(&bytes(9, unit(Kind::Directory) + 1)))
        .await
        .unwrap_err();
    assert!(matches!(slow, Error::BodyInterrupted), "{slow:?}");
    assert_eq!(client.received(id).await.unwrap(), unit(Kind::Directory));
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn many_uploads_share_a_budget_for_two_parts_and_all_end() {
    let mut site = Site::new(Kind::Directory).await;
    let part = u32::try_from(unit(Kind::Directory) * 2).unwrap();
    let budget = budgets(&mut site.settings, part * 2);
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let pushes = (0..12).map(|seed| {
        let client = &client;
        async move {
            let content = bytes(100 + seed, unit(Kind::Directory) * 6);
            let id = client.start().await;
            client.append(id, streamed(&content)).await.unwrap();
            client
                .finish(id, sha256(&content), UploadBody::empty())
                .await
                .unwrap();
            assert!(client.pull(sha256(&content)).await == content);
        }
    });
    join_all(pushes).await;
    assert_eq!(budget.free(), u64::from(part * 2));
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn one_digest_pushed_many_times_at_once_is_one_blob() {
    let site = Site::new(Kind::Directory).await;
    let processes = [site.process().await, site.process().await];
    let content = bytes(10, 5_000);
    let pushes = (0..12).map(|number| {
        let (registry, caller, content) = (&processes[number % 2], &site.caller, &content);
        async move {
            let client = Client {
                registry,
                caller,
                name: name(&format!("a/{}", number % 3)),
            };
            let id = client.start().await;
            client.append(id, streamed(content)).await.unwrap();
            client
                .finish(id, sha256(content), UploadBody::empty())
                .await
                .unwrap();
            assert!(client.pull(sha256(content)).await == *content);
        }
    });
    join_all(pushes).await;
    assert_eq!(site.number("SELECT count(*) FROM blob").await, 1);
    assert_eq!(site.number("SELECT count(*) FROM repository_blob").await, 3);
    let duplicates = "SELECT count(*) FROM object_delete WHERE reason = 'duplicate'";
    assert_eq!(site.number(duplicates).await, 11);
    site.nothing_is_left_over(&processes[0]).await;
}
