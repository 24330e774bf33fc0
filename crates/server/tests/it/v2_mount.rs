//! Mounting blobs from other repositories.

use crate::app::{TestApp, push, push_blob, repository};
use portolan_oci::Digest;
use portolan_testkit::client::Answer;
use portolan_testkit::image::{Blob, Image};

/// A mount that did not come about is an upload that has begun.
#[track_caller]
fn declined(answer: Answer, repository: &str) -> Answer {
    let answer = answer.expect(202);
    assert!(
        answer
            .location()
            .starts_with(&format!("/v2/{repository}/blobs/uploads/"))
    );
    assert_eq!(answer.header("range"), "0-0");
    assert!(answer.has("docker-upload-uuid"));
    answer
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_named_repository() {
    let client = TestApp::shared().await.admin();
    let (from, to) = (repository("mount"), repository("mount"));
    let blob = Blob::random(500, 100);
    push_blob(&client, &from, &blob).await;
    let target = format!("/v2/{to}/blobs/uploads/?mount={}&from={from}", blob.digest);
    let mounted = client.post(&target).await.expect(201);
    assert_eq!(
        mounted.location(),
        format!("/v2/{to}/blobs/{}", blob.digest)
    );
    assert_eq!(mounted.digest(), blob.digest);
    assert_eq!(
        client.get(mounted.location()).await.expect(200).body,
        blob.content
    );
}

#[tokio::test]
async fn a_blob_is_found_where_no_repository_is_named() {
    let client = TestApp::shared().await.admin();
    let (from, to) = (repository("mount"), repository("mount"));
    let image = Image::random(501);
    push(&client, &from, "tag", &image).await;
    for blob in image.blobs() {
        let target = format!("/v2/{to}/blobs/uploads/?mount={}", blob.digest);
        let mounted = client.post(&target).await.expect(201);
        assert_eq!(
            mounted.location(),
            format!("/v2/{to}/blobs/{}", blob.digest)
        );
    }
    crate::app::push_manifest(&client, &to, "tag", &image.manifest).await;
}

#[tokio::test]
async fn what_cannot_be_mounted_is_uploaded_instead() {
    let client = TestApp::shared().await.admin();
    let (from, to) = (repository("mount"), repository("mount"));
    push_blob(&client, &from, &Blob::random(502, 100)).await;
    let blob = Blob::random(503, 100);
    let digest = blob.digest;
    for query in [
        format!("mount={digest}&from={from}"),
        format!("mount={digest}&from={from}-missing"),
        format!("mount={digest}&from=NO%20NAME"),
        format!("mount={digest}"),
    ] {
        let answer = client
            .post(&format!("/v2/{to}/blobs/uploads/?{query}"))
            .await;
        let answer = declined(answer, &to);
        let put = answer.location_with(&format!("digest={digest}"));
        client.put(&put, blob.content.clone()).await.expect(201);
        client
            .delete(&format!("/v2/{to}/blobs/{digest}"))
            .await
            .expect(202);
    }
    let answer = client
        .post(&format!(
            "/v2/{to}/blobs/uploads/?mount=sha256:x&from={from}"
        ))
        .await;
    answer.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_mount_tells_nothing_about_what_one_may_not_read() {
    let app = TestApp::shared().await;
    let name = format!("mallory{}", crate::app::unique());
    let (admin, mallory) = (app.admin(), app.user(&name));
    let secret = repository("secret");
    let blob = Blob::random(504, 100);
    push_blob(&admin, &secret, &blob).await;
    let to = format!("{name}/own");
    let unknown = Digest::sha256(b"unknown");
    for query in [
        format!("mount={}&from={secret}", blob.digest),
        format!("mount={unknown}&from={secret}"),
        format!("mount={}&from={secret}-missing", blob.digest),
        format!("mount={}", blob.digest),
        format!("mount={unknown}"),
    ] {
        declined(
            mallory
                .post(&format!("/v2/{to}/blobs/uploads/?{query}"))
                .await,
            &to,
        );
    }
}

#[tokio::test]
async fn a_token_for_the_target_alone_can_mount_what_its_account_may_read() {
    let app = TestApp::shared().await;
    let name = format!("mounter{}", crate::app::unique());
    let user = app.user(&name);
    let (from, to) = (format!("{name}/from"), format!("{name}/to"));
    let blob = Blob::random(506, 100);
    push_blob(&user, &from, &blob).await;
    // Clients that mount often hold no other.
    let token = app
        .token(&user, &[&format!("repository:{to}:pull,push")])
        .await;
    let narrow = app.anonymous().bearer(&token);
    let target = format!("/v2/{to}/blobs/uploads/?mount={}&from={from}", blob.digest);
    narrow.post(&target).await.expect(201);
    // It does not reach further than that.
    let reversed = format!("/v2/{from}/blobs/uploads/?mount={}&from={to}", blob.digest);
    narrow.post(&reversed).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_deleted_blob_is_not_mounted() {
    let client = TestApp::shared().await.admin();
    let (from, to) = (repository("mount"), repository("mount"));
    let blob = Blob::random(505, 100);
    push_blob(&client, &from, &blob).await;
    client
        .delete(&format!("/v2/{from}/blobs/{}", blob.digest))
        .await
        .expect(202);
    let target = format!("/v2/{to}/blobs/uploads/?mount={}&from={from}", blob.digest);
    declined(client.post(&target).await, &to);
}
