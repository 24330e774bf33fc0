//! Read-only mode, as clients notice it.

use crate::support::{Kind, Site, body, bytes, name, sha256, stalled, streamed, unit};
use portolan_metadata::read_only;
use portolan_registry::Error;
use portolan_testkit::children::eventually;
use portolan_testkit::image::Image;
use std::time::Duration;

impl Site {
    async fn read_only(&self, message: Option<&str>) {
        let tx = self.router().begin().await.unwrap();
        read_only::switch_on(&tx, message).await.unwrap();
        let _committed = tx.commit().await.unwrap();
    }

    async fn writable(&self) {
        let tx = self.router().begin().await.unwrap();
        read_only::switch_off(&tx).await.unwrap();
        let _committed = tx.commit().await.unwrap();
    }

    /// Every change of a row shows here.
    async fn rows(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let tables = self
            .sql
            .query(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'setting' ORDER BY 1",
                &[],
            )
            .await
            .unwrap();
        for table in tables {
            let table: String = table.get(0);
            let sql = format!(
                "SELECT coalesce(md5(string_agg(t.ctid || t.xmin::text || t::text, ',' ORDER BY t.ctid)), '') FROM \"{table}\" AS t"
            );
            let sum = self.sql.query_one(&sql, &[]).await.unwrap().get(0);
            found.push((table, sum));
        }
        found
    }
}

#[tokio::test]
async fn in_read_only_mode_nothing_is_written_and_everything_pulled() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    client.push(&image, "v1").await;
    let upload = client.start().await;
    client.append(upload, body(&bytes(1, 10))).await.unwrap();
    let expired = client.start().await;
    client.append(expired, body(&bytes(1, 10))).await.unwrap();
    site.run(&format!(
        "UPDATE upload SET expires_at = now() WHERE id = '{}'",
        expired.as_uuid()
    ))
    .await;
    site.read_only(Some("until noon")).await;
    let before = site.rows().await;

    let from = name("acme/app");
    let to = name("acme/other");
    let digest = image.config.digest;
    let ends = [
        client.put(&image.manifest, "v2").await.unwrap_err(),
        client.delete_tag("v1").await.unwrap_err(),
        client.delete_manifest(&image.manifest).await.unwrap_err(),
        client.delete_blob(digest).await.unwrap_err(),
        registry
            .mount(&site.caller, &to, digest, Some(&from))
            .await
            .unwrap_err(),
        registry
            .start_upload(&site.caller, &from, None)
            .await
            .unwrap_err(),
        registry
            .push_blob(&site.caller, &from, digest, body(&image.config.content))
            .await
            .unwrap_err(),
        client
            .append(upload, body(&bytes(1, 10)))
            .await
            .unwrap_err(),
        client
            .finish(upload, digest, body(&image.config.content))
            .await
            .unwrap_err(),
        registry
            .cancel_upload(&site.caller, &from, upload)
            .await
            .unwrap_err(),
        registry.sweep_uploads(10).await.unwrap_err(),
        registry.delete_objects(10).await.unwrap_err(),
    ];
    for end in &ends {
        let message = "the registry is in read-only mode: until noon";
        assert!(
            matches!(end, Error::ReadOnly { .. }) && end.to_string() == message,
            "{ends:?}"
        );
    }
    client.pulls("v1", &image.manifest).await;
    assert_eq!(client.tags().await, ["v1"]);
    assert_eq!(client.received(upload).await.unwrap(), 10);
    assert_eq!(site.rows().await, before);

    site.writable().await;
    client.put(&image.manifest, "v2").await.unwrap();
    client.append(upload, body(&bytes(2, 10))).await.unwrap();
    assert_eq!(client.received(upload).await.unwrap(), 20);
    assert_eq!(registry.sweep_uploads(10).await.unwrap(), 1);
}

/// What is under way when the mode begins stops by itself, writes nothing down, and can be gone on with afterwards.
#[tokio::test]
async fn an_upload_in_flight_ends_when_the_mode_begins_and_goes_on_after_it() {
    let mut site = Site::new(Kind::Directory).await;
    site.settings.claims.renew = Duration::from_millis(20);
    site.settings.claims.lease = Duration::from_millis(200);
    site.settings.claims.wait = Duration::from_secs(30);
    let registry = site.process().await;
    let client = site.client(&registry, "a/b");
    let content = bytes(3, unit(Kind::Directory) * 5 / 2);
    let id = client.start().await;
    let switch = async {
        // In the middle of its second part, the client pauses.
        eventually("a part is stored", async || {
            site.number("SELECT count(*) FROM upload_part").await > 0
                || site
                    .number("SELECT count(*) FROM upload WHERE multipart_key IS NOT NULL")
                    .await
                    > 0
        })
        .await;
        site.read_only(None).await;
        site.rows().await
    };
    let (end, _) = tokio::join!(client.append(id, stalled(&content)), switch);
    assert!(matches!(end, Err(Error::ReadOnly { .. })), "{end:?}");
    registry.drain_uploads().await;
    let before = site.rows().await;
    let received = client.received(id).await.unwrap();
    assert_eq!(site.rows().await, before);

    site.writable().await;
    let rest = content.slice(usize::try_from(received).unwrap()..);
    client.append(id, streamed(&rest)).await.unwrap();
    client
        .finish(id, sha256(&content), body(&bytes(0, 0)))
        .await
        .unwrap();
    assert!(client.pull(sha256(&content)).await == content);
    site.nothing_is_left_over(&registry).await;
}
