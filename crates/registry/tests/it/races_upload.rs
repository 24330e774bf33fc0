//! What befalls an upload in the middle of its last request.

use crate::races::through;
use crate::staged::{Event, Script};
use crate::support::{Kind, Site, body, bytes, unit};
use futures::future::join;
use portolan_oci::Digest;
use portolan_pg::Policy;
use portolan_registry::Error;
use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::eventually;
use portolan_testkit::image::Blob;
use portolan_testkit::pg_cluster::PgCluster;

/// What happens to an upload while its last object is on its way to the store.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Swept,
    Cancelled,
    Claimed,
}

async fn a_late_write_after(meanwhile: Meanwhile) {
    let site = Site::new(Kind::Directory).await;
    let (slow, script) = site.process_with(Script::at(1, Event::HoldBefore)).await;
    let other = site.process().await;
    let (late, client) = (
        site.client(&slow, "acme/app"),
        site.client(&other, "acme/app"),
    );
    let content = bytes(1, 3_000);
    let digest = Digest::sha256(&content);
    let id = client.start().await;
    let befalls = async {
        script.reached().await;
        match meanwhile {
            Meanwhile::Swept => {
                // The process was away for a day, or the database's clock was.
                site.run("UPDATE upload SET expires_at = now(), lock_until = now()")
                    .await;
                assert_eq!(other.sweep_uploads(10).await.unwrap(), 1);
            }
            Meanwhile::Cancelled => {
                other
                    .cancel_upload(&site.caller, &client.name, id)
                    .await
                    .unwrap();
            }
            Meanwhile::Claimed => {
                site.run("UPDATE upload SET lock_until = now()").await;
                client.finish(id, digest, body(&content)).await.unwrap();
            }
        }
        // Whoever may come looks for objects too early.
        assert_eq!(other.delete_objects(10).await.unwrap().total(), 0);
        script.release();
    };
    let (finished, ()) = join(late.finish(id, digest, body(&content)), befalls).await;
    assert!(
        matches!(finished, Err(Error::UploadUnknown)),
        "{meanwhile:?}: {finished:?}"
    );
    // The late object is there, and a row names it.
    let (rows, objects) = if matches!(meanwhile, Meanwhile::Claimed) {
        (1, 2)
    } else {
        (0, 1)
    };
    assert_eq!(site.number("SELECT count(*) FROM blob").await, rows);
    assert_eq!(site.objects().len(), objects);
    assert_eq!(client.has(digest).await, rows == 1);
    site.nothing_is_left_over(&other).await;
}

#[tokio::test]
async fn a_write_that_is_late_makes_no_blob_and_leaves_no_object() {
    for meanwhile in [Meanwhile::Swept, Meanwhile::Cancelled, Meanwhile::Claimed] {
        a_late_write_after(meanwhile).await;
    }
}

#[tokio::test]
async fn a_claim_that_waited_for_a_late_holder_counts_the_parts_he_stored() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let content = bytes(1, unit(Kind::Directory) * 7);
    let at = |units: u64| usize::try_from(unit(Kind::Directory) * units).unwrap();
    let id = client.start().await;
    let keep = async |suffix: &str| {
        site.run(&format!(
            "CREATE TABLE upload_{suffix} AS SELECT * FROM upload;
             CREATE TABLE part_{suffix} AS SELECT * FROM upload_part"
        ))
        .await;
    };
    client
        .append(id, body(&content.slice(..at(2))))
        .await
        .unwrap();
    keep("then").await;
    client
        .append(id, body(&content.slice(at(2)..at(5))))
        .await
        .unwrap();
    keep("now").await;
    let restore = |suffix: &str| {
        format!(
            "UPDATE upload SET (received, hash_state, tail_key, tail_len, multipart_key, multipart_id) =
                 (SELECT received, hash_state, tail_key, tail_len, multipart_key, multipart_id FROM upload_{suffix});
             DELETE FROM upload_part;
             INSERT INTO upload_part SELECT * FROM part_{suffix}"
        )
    };
    // The holder's lease has run out, and he writes down now what he stored.
    site.run(&restore("then")).await;
    let holder = site.session().await;
    holder
        .batch_execute(&format!("BEGIN; {}", restore("now")))
        .await
        .unwrap();
    let write_down = async {
        site.until_blocked(1).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let digest = Digest::sha256(&content);
    let rest = body(&content.slice(at(5)..));
    let (finished, ()) = join(client.finish(id, digest, rest), write_down).await;
    assert_eq!(finished.unwrap(), content.len() as u64);
    assert!(client.pull(digest).await == content);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_acknowledged_all_the_same() {
    let site = Site::new(Kind::Directory).await;
    let server = PgCluster::shared().primary().address();
    let proxy = ChaosProxy::start(server).await;
    let router = through(Policy::default(), &proxy.through(site.url()));
    let (registry, _) = site.process_over(router, Script::default()).await;
    let client = site.client(&registry, "acme/app");
    // Once the COMMIT has arrived, it waits.
    site.run(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON blob DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION wait()",
    )
    .await;
    let other = site.session().await;
    other
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7)")
        .await
        .unwrap();
    let blob = Blob::random(1, 3_000);
    let breaks = async {
        site.until_blocked(1).await;
        proxy.stall();
        other.batch_execute("COMMIT").await.unwrap();
        eventually("it is committed", async || {
            site.number("SELECT count(*) FROM blob").await == 1
        })
        .await;
        proxy.reset_connections();
        proxy.restore();
    };
    join(client.push_blob(&blob), breaks).await;
    assert!(client.pull(blob.digest).await == blob.content);
    site.nothing_is_left_over(&registry).await;
}
