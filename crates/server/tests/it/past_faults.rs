//! What has gone wrong in other registries, tried here: one test for each class of fault, named by what an attacker does.
//!
//! Some are elsewhere, beside what they are about:
//!
//! | fault | where |
//! |---|---|
//! | a key that the token brings along (CVE-2025-24976), `alg` none and HMAC by the public key | `token_attacks` |
//! | a list of a billion (CVE-2023-2253) | `v2_bad_inputs::lists_do_not_believe_what_they_are_asked` |
//! | a manifest too large for memory (CVE-2017-11468) | `v2_push::manifests_are_taken_up_to_the_limit`, `v2_bad_manifests` |
//! | requests sent on to where a manifest's `urls` lead (CVE-2020-13788) | `v2_bad_inputs::foreign_urls_in_a_manifest_are_never_fetched` |
//! | somebody else's upload (CVE-2026-32589) | `v2_uploads::an_upload_belongs_to_who_began_it_and_where` |
//! | the catalog without a login (CVE-2020-29662) | `matrix`, with every other right that is not looked at |
//!
//! There is nothing to try yet for: rights over robots, retention and webhooks (CVE-2022-31666 to 31671), metadata that a maintainer
//! edits (CVE-2024-22278), tags that must not move (a delete by digest went around that), requests of ours that follow
//! redirects (CVE-2026-2376), and stored objects of a programming language (CVE-2026-32590; nothing here is read as such).

use crate::app::{
    ADMIN, PASSWORD, Store, TestApp, push, push_blob, push_manifest, put_manifest, repository,
    template, unique,
};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use portolan_oci::Digest;
use portolan_testkit::client::Client;
use portolan_testkit::image::{Blob, Image, ManifestFile};
use portolan_testkit::pg_cluster::PgCluster;
use serde_json::json;

/// An organization with a repository that a team of one may write to, and that one with a token for it.
struct Team<'a> {
    app: &'a TestApp,
    /// The organization, and its namespace.
    name: String,
    repository: String,
    user: String,
    token: Client,
}

impl<'a> Team<'a> {
    async fn of(app: &'a TestApp) -> Self {
        let (name, user) = (format!("org{}", unique()), format!("mate{}", unique()));
        let repository = format!("{name}/app");
        push(&app.admin(), &repository, "latest", &Image::random(920)).await;
        let team = Self {
            app,
            name,
            repository,
            user,
            token: app.anonymous(),
        };
        team.change(&format!(
            "INSERT INTO account (kind, name, password_hash)
                 SELECT 'user', '{1}', password_hash FROM account WHERE name = '{ADMIN}';
             INSERT INTO team (organization_id, role, name) SELECT id, 'member', 'devs' FROM account WHERE name = '{0}';
             INSERT INTO membership (account_id, team_id)
                 SELECT a.id, t.id FROM account a, team t JOIN account o ON o.id = t.organization_id
                 WHERE a.name = '{1}' AND o.name = '{0}';
             INSERT INTO permission (repository_id, team_id, role)
                 SELECT r.id, t.id, 2 FROM repository r, team t JOIN account o ON o.id = t.organization_id
                 WHERE r.path = '{2}' AND o.name = '{0}'",
            team.name, team.user, team.repository,
        ))
        .await;
        let scope = format!("repository:{}:pull,push,delete", team.repository);
        let by_password = app.anonymous().basic(&team.user, PASSWORD);
        let token = app
            .anonymous()
            .bearer(&app.token(&by_password, &[&scope]).await);
        Self { token, ..team }
    }

    async fn change(&self, sql: &str) {
        let session = self.app.database().session().await;
        session
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("`{sql}`: {error:?}"));
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }
}

/// zot, CVE-2025-23208: who was taken out of a group kept its rights.
#[tokio::test]
async fn somebody_who_was_taken_out_of_a_team_goes_on_with_the_token_he_has() {
    let app = TestApp::start().await;
    let other = app.another();
    for taken_away in [
        "DELETE FROM membership WHERE account_id = (SELECT id FROM account WHERE name = '{user}')",
        "DELETE FROM permission WHERE team_id IN
             (SELECT t.id FROM team t JOIN account o ON o.id = t.organization_id WHERE o.name = '{name}')",
        "DELETE FROM team WHERE organization_id = (SELECT id FROM account WHERE name = '{name}')",
    ] {
        let team = Team::of(&app).await;
        let tag = team.path("manifests/latest");
        team.token.get(&tag).await.expect(200);
        let upload = team.token.post(&team.path("blobs/uploads/")).await.expect(202);
        team.change(&taken_away.replace("{user}", &team.user).replace("{name}", &team.name)).await;
        for client in [&team.token, &team.token.at(other.address())] {
            client.get(&tag).await.refused(401, "UNAUTHORIZED");
            client.delete(&tag).await.refused(403, "DENIED");
            client.post(&team.path("blobs/uploads/")).await.refused(403, "DENIED");
            // What he had begun when he still might.
            client.patch(upload.location(), "x").await.refused(403, "DENIED");
            let put = upload.location_with(&format!("digest={}", Digest::sha256(b"")));
            client.put(&put, "").await.refused(403, "DENIED");
        }
        app.admin().get(&tag).await.expect(200);
    }
    // Less of a right is less at once.
    let team = Team::of(&app).await;
    team.change("UPDATE permission SET role = 1").await;
    team.token
        .get(&team.path("manifests/latest"))
        .await
        .expect(200);
    team.token
        .delete(&team.path("manifests/latest"))
        .await
        .refused(401, "UNAUTHORIZED");
}

/// distribution, CVE-2026-41888, and Quay's delete by digest: of several ways to one effect one did not ask.
#[tokio::test]
async fn what_is_read_only_is_changed_by_another_way() {
    let app = TestApp::shared().await;
    for still in ["repository", "namespace"] {
        let team = Team::of(app).await;
        let image = Image::random(921);
        push(&team.token, &team.repository, "kept", &image).await;
        let loose = Blob::random(922, 50);
        push_blob(&team.token, &team.repository, &loose).await;
        let begun = team
            .token
            .post(&team.path("blobs/uploads/"))
            .await
            .expect(202);
        team.token.patch(begun.location(), "x").await.expect(202);
        let source = repository("source");
        let wanted = Blob::random(923, 50);
        push_blob(&app.admin(), &source, &wanted).await;
        app.publish(&source);
        team.change(&match still {
            "repository" => format!(
                "UPDATE repository SET mode = 'read_only' WHERE path = '{}'",
                team.repository
            ),
            _ => format!(
                "UPDATE namespace SET mode = 'read_only' WHERE name = '{}'",
                team.name
            ),
        })
        .await;
        let digest = image.manifest.digest;
        let another = Image::random(920);
        for client in [&team.token, &app.admin()] {
            for target in [
                "manifests/kept".to_owned(),
                format!("manifests/{digest}"),
                format!("blobs/{}", loose.digest),
            ] {
                client
                    .delete(&team.path(&target))
                    .await
                    .refused(403, "DENIED");
            }
            for target in [
                "manifests/kept".to_owned(),
                "manifests/new".to_owned(),
                format!("manifests/{}?tag=kept&tag=new", another.manifest.digest),
            ] {
                put_manifest(client, &team.path(&target), &another.manifest)
                    .await
                    .refused(403, "DENIED");
            }
            for target in [
                "blobs/uploads/".to_owned(),
                format!("blobs/uploads/?digest={}", wanted.digest),
                format!("blobs/uploads/?mount={}&from={source}", wanted.digest),
                format!("blobs/uploads/?mount={}", wanted.digest),
            ] {
                client
                    .post(&team.path(&target))
                    .await
                    .refused(403, "DENIED");
            }
        }
        let put = begun.location_with(&format!("digest={}", Digest::sha256(b"x")));
        team.token.put(&put, "").await.refused(403, "DENIED");
        // All is as it was.
        let tags = team
            .token
            .get(&team.path("tags/list"))
            .await
            .expect(200)
            .json();
        assert_eq!(tags["tags"], json!(["kept", "latest"]));
        assert_eq!(
            team.token
                .head(&team.path("manifests/kept"))
                .await
                .expect(200)
                .digest(),
            digest
        );
        team.token
            .get(&team.path(&format!("blobs/{}", loose.digest)))
            .await
            .expect(200);
        team.token
            .get(&team.path(&format!("blobs/{}", wanted.digest)))
            .await
            .refused(404, "BLOB_UNKNOWN");
    }
}

/// zot, CVE-2026-31801: one who might make tags, and change none, changed `latest`.
#[tokio::test]
async fn somebody_who_may_make_repositories_moves_a_tag_of_one_that_is_there() {
    let app = TestApp::shared().await;
    let team = Team::of(app).await;
    let name = format!("maker{}", unique());
    let maker = app.user(&name);
    team.change(&format!(
        "INSERT INTO team (organization_id, role, name) SELECT id, 'creator', 'makers' FROM account WHERE name = '{}';
         INSERT INTO membership (account_id, team_id)
             SELECT a.id, t.id FROM account a, team t JOIN account o ON o.id = t.organization_id
             WHERE a.name = '{name}' AND o.name = '{}' AND t.role = 'creator'",
        team.name, team.name
    ))
    .await;
    let before = app
        .admin()
        .head(&team.path("manifests/latest"))
        .await
        .expect(200)
        .digest();
    let image = Image::random(924);
    for target in [
        "manifests/latest",
        "manifests/new",
        &format!("manifests/{}?tag=latest", image.manifest.digest),
    ] {
        put_manifest(&maker, &team.path(target), &image.manifest)
            .await
            .refused(403, "DENIED");
    }
    maker
        .delete(&team.path("manifests/latest"))
        .await
        .refused(403, "DENIED");
    assert_eq!(
        app.admin()
            .head(&team.path("manifests/latest"))
            .await
            .expect(200)
            .digest(),
        before
    );
    // What he makes is his, `latest` too, as often as he likes.
    let own = format!("{}/made", team.name);
    push(&maker, &own, "latest", &image).await;
    push(&maker, &own, "latest", &Image::random(925)).await;
}

/// Harbor, CVE-2022-31666 and those after it: an object was found by its own name, without a look at whose it is.
#[tokio::test]
async fn somebody_who_knows_a_digest_reaches_it_through_a_repository_of_his_own() {
    let app = TestApp::shared().await;
    let name = format!("thief{}", unique());
    let thief = app.user(&name);
    let secret = repository("secret");
    let image = Image::random(u64::MAX - unique());
    push(&app.admin(), &secret, "tag", &image).await;
    let own = format!("{name}/own");
    push(&thief, &own, "tag", &Image::random(926)).await;

    let layer = &image.layers[0];
    for target in [
        format!("blobs/{}", layer.digest),
        format!("manifests/{}", image.manifest.digest),
    ] {
        let path = format!("/v2/{own}/{target}");
        thief.get(&path).await.expect(404);
        thief.head(&path).await.expect(404);
        thief.delete(&path).await.expect(404);
    }
    // Naming a digest is no proof of having its bytes.
    put_manifest(
        &thief,
        &format!("/v2/{own}/manifests/stolen"),
        &image.manifest,
    )
    .await
    .refused(400, "MANIFEST_BLOB_UNKNOWN");
    let index = ManifestFile::index(std::slice::from_ref(&image.manifest));
    push_manifest(&thief, &own, "index", &index).await;
    thief
        .get(&format!("/v2/{own}/manifests/{}", image.manifest.digest))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    // What one refers to in his own repository shows in nobody else's.
    let config = Blob::new("{}");
    push_blob(&thief, &own, &config).await;
    let note = ManifestFile::of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.note",
        "config": config.descriptor("application/vnd.oci.empty.v1+json"),
        "layers": [],
        "subject": image.manifest.descriptor(),
    }));
    push_manifest(&thief, &own, "note", &note).await;
    let referrers = format!("/v2/{secret}/referrers/{}", image.manifest.digest);
    let listed = app.admin().get(&referrers).await.expect(200).json();
    assert_eq!(listed["manifests"], json!([]));
    // His delete of the same bytes takes them from nobody.
    push_blob(&thief, &own, layer).await;
    thief
        .delete(&format!("/v2/{own}/blobs/{}", layer.digest))
        .await
        .expect(202);
    app.admin()
        .get(&format!("/v2/{secret}/blobs/{}", layer.digest))
        .await
        .expect(200);
}

/// Harbor, CVE-2024-22261: a text of the request became a part of the statement.
#[tokio::test]
async fn somebody_writes_sql_where_a_text_is_asked_for() {
    let app = TestApp::shared().await;
    let name = format!("tables{}", unique());
    let user = app.user(&name);
    let own = format!("{name}/app");
    let image = Image::random(927);
    push(&user, &own, "tag", &image).await;
    let digest = image.manifest.digest;
    let accounts = "SELECT count(*) FROM account";
    let before = app.count(accounts).await;
    for text in [
        "'",
        "''",
        "' OR '1'='1",
        "'; DELETE FROM account; --",
        "$1",
        "%",
        "_",
        "\\",
        "app') UNION SELECT name, password_hash FROM account --",
        "zz\u{0}'",
        "\u{2019}",
    ] {
        let text = percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string();
        let found = user
            .get(&format!("/v1/search?q={text}"))
            .await
            .expect(200)
            .json();
        assert_eq!(found["results"], json!([]), "{text}");
        for (target, statuses) in [
            (format!("/v2/{own}/tags/list?last={text}&n=5"), &[200][..]),
            (format!("/v2/_catalog?last={text}&n=5"), &[200]),
            (
                format!("/v2/{own}/referrers/{digest}?artifactType={text}"),
                &[200, 400],
            ),
            (
                format!("/v2/auth?service={text}&scope={text}&account={text}"),
                &[200],
            ),
            (format!("/v2/{own}/manifests/{text}"), &[400]),
            (format!("/v2/{text}/tags/list"), &[400]),
        ] {
            let answer = user.get(&target).await;
            assert!(
                statuses.contains(&answer.status.as_u16()),
                "{target}: {}",
                answer.status
            );
        }
        let form = format!("grant_type=password&username={text}&password={text}&scope={text}");
        let asking = app.anonymous().request(Method::POST, "/v2/auth");
        let answer = asking
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await;
        answer.expect(401);
    }
    assert_eq!(app.count(accounts).await, before);
    user.get(&format!("/v2/{own}/manifests/tag"))
        .await
        .expect(200);
}

/// Harbor, CVE-2024-22244: a link to the registry led to another site.
#[tokio::test]
async fn somebody_makes_a_link_that_leads_elsewhere() {
    let app = TestApp::shared().await;
    for target in [
        "//evil.example/v2/",
        "//evil.example/%2e%2e/v2/",
        "/%5cevil.example/v2",
        "/v2//evil.example/",
        "/v2/%2f%2fevil.example/",
        "/https://evil.example/",
        "/v2/auth?redirect_uri=https://evil.example&return_to=//evil.example&scope=repository:a/b:pull",
        "/v2/?next=https://evil.example",
        "/.//evil.example",
    ] {
        for client in [app.anonymous(), app.admin()] {
            let target = format!("http://{}{target}", app.address());
            let answer = client.get(&target).await;
            assert!(
                !answer.status.is_redirection(),
                "{target}: {}",
                answer.status
            );
            assert!(
                !answer.has("location") && !answer.has("refresh"),
                "{target}: {:#?}",
                answer.headers
            );
        }
    }
}

/// CVE-2026-4404: a password that every installation has.
#[tokio::test]
async fn somebody_tries_the_password_of_a_fresh_installation() {
    // A copy: whoever looks into the template keeps others from copying it.
    let fresh = PgCluster::shared()
        .create_database_from(template().await.name())
        .await;
    let session = fresh.session().await;
    let row = session
        .query_one("SELECT count(*) FROM account", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "a new database knows nobody");
    // Its own: others would be shut out with it.
    let app = TestApp::start().await;
    for (name, password) in [
        (ADMIN, "admin"),
        (ADMIN, "password"),
        (ADMIN, "Harbor12345"),
        (ADMIN, ""),
        (ADMIN, " "),
        ("root", "root"),
        ("portolan", "portolan"),
        ("", ""),
    ] {
        app.anonymous()
            .basic(name, password)
            .get("/v2/")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    app.anonymous()
        .basic(ADMIN, PASSWORD)
        .get("/v2/")
        .await
        .expect(200);
}

/// Harbor, CVE-2019-16097: who signed up said that he was an administrator, and was one.
#[tokio::test]
async fn somebody_signs_up_as_an_administrator() {
    let app = TestApp::options(Store::Directory)
        .with("ACCOUNTS__SIGN_UP", "open")
        .start()
        .await;
    let sign_up = async |document: serde_json::Value| {
        app.anonymous()
            .request(Method::POST, "/api/v1/user/")
            .header("content-type", "application/json")
            .body(document.to_string())
            .send()
            .await
    };
    let plain = json!({ "username": "mallory", "password": "long enough to choose" });
    for (name, value) in [
        ("superuser", json!(true)),
        ("read_only_superuser", json!(true)),
        ("has_admin_role", json!(true)),
        ("kind", json!("organization")),
        ("id", json!(1)),
    ] {
        let mut wanted = plain.clone();
        wanted[name] = value;
        sign_up(wanted).await.expect(400);
    }
    // Nor by the name of one that is there.
    let mut wanted = plain.clone();
    wanted["username"] = json!(ADMIN);
    sign_up(wanted).await.expect(409);
    sign_up(plain).await.expect(201);
    let superusers = "SELECT count(*) FROM account WHERE superuser OR read_only_superuser";
    assert_eq!(app.count(superusers).await, 1);
    let secret = repository("secret");
    push(&app.admin(), &secret, "tag", &Image::random(928)).await;
    let path = format!("/v2/{secret}/manifests/tag");
    let mallory = app.anonymous().basic("mallory", "long enough to choose");
    mallory.get("/v2/").await.expect(200);
    mallory.get(&path).await.refused(401, "UNAUTHORIZED");
}
