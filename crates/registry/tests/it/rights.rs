//! Who may do what, and what the others can tell from a refusal: nothing.

use crate::support::{Client, Kind, Site, body, name};
use crate::support_images::{request, with_token};
use portolan_auth::{Actions, Grant};
use portolan_metadata::Principal;
use portolan_metadata::accounts::{self, StoredPassword};
use portolan_oci::{Digest, RepositoryName, UploadId};
use portolan_registry::{Caller, Error, Purpose, Registry};
use portolan_testkit::image::Image;

/// How every function answers a caller, in words.
async fn answers(registry: &Registry, caller: &Caller, repository: &str) -> Vec<String> {
    let image = Image::random(1);
    let digest = image.config.digest;
    let client = Client {
        registry,
        caller,
        name: name(repository),
    };
    let repository = &client.name;
    let tag = "v1".parse().unwrap();
    let upload = UploadId::from_random([7; 16]);
    let by_digest = image.manifest.digest.to_string().parse().unwrap();
    let (reads, writes): ([Option<Error>; 8], [Option<Error>; 11]) = (
        [
            client.get("v1").await.err(),
            client.get(&image.manifest.digest.to_string()).await.err(),
            registry
                .manifest(caller, repository, &by_digest, Purpose::Head)
                .await
                .err(),
            registry
                .blob(caller, repository, digest, Purpose::Get)
                .await
                .err(),
            registry
                .blob(caller, repository, digest, Purpose::Head)
                .await
                .err(),
            registry.tags(caller, repository, None, None).await.err(),
            registry.tags(caller, repository, None, Some(0)).await.err(),
            registry
                .referrers(caller, repository, &digest, None, None, None)
                .await
                .err(),
        ],
        [
            registry.authorize_push(caller, repository).await.err(),
            client.put(&image.manifest, "v2").await.err(),
            registry
                .delete_tag(caller, repository, &tag, None)
                .await
                .err(),
            client.delete_manifest(&image.manifest).await.err(),
            client.delete_blob(digest).await.err(),
            registry.mount(caller, repository, digest, None).await.err(),
            registry.start_upload(caller, repository, None).await.err(),
            registry
                .upload_status(caller, repository, upload)
                .await
                .err(),
            registry
                .cancel_upload(caller, repository, upload)
                .await
                .err(),
            client
                .append(upload, body(&image.config.content))
                .await
                .err(),
            client
                .finish(upload, digest, body(&image.config.content))
                .await
                .err(),
        ],
    );
    reads
        .into_iter()
        .chain(writes)
        .map(|end| format!("{end:?}"))
        .collect()
}

#[tokio::test]
async fn what_is_private_and_what_is_missing_are_answered_alike() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    site.client(&registry, "acme/private")
        .push(&Image::random(1), "v1")
        .await;
    let mallory = site.user("mallory").await;
    let everything = [
        ("acme/private", Actions::ALL),
        ("acme/missing", Actions::ALL),
    ];
    let nothing = [("mallory/app", Actions::ALL)];
    let expected = |read: &str, write: &str| {
        let mut all = vec![format!("Some({read})"); 8];
        all.extend(vec![format!("Some({write})"); 11]);
        all
    };
    let denied =
        "Denied { reason: \"this account may not write to this repository, nor create it\" }";
    let anonymous = Caller::anonymous();
    for (caller, expected) in [
        (
            anonymous.clone(),
            expected("Unauthenticated", "Unauthenticated"),
        ),
        (mallory.clone(), expected("InsufficientScope", denied)),
        (
            with_token(&mallory, &everything),
            expected("InsufficientScope", denied),
        ),
        (
            with_token(&mallory, &nothing),
            expected("InsufficientScope", "InsufficientScope"),
        ),
        (
            with_token(&anonymous, &everything),
            expected("InsufficientScope", "InsufficientScope"),
        ),
    ] {
        let private = answers(&registry, &caller, "acme/private").await;
        assert_eq!(private, expected, "{caller:?}");
        for missing in ["acme/missing", "nobody/missing"] {
            if !matches!(caller.credentials, portolan_registry::Credentials::Token(_))
                || missing == "acme/missing"
            {
                assert_eq!(
                    answers(&registry, &caller, missing).await,
                    private,
                    "{caller:?}"
                );
            }
        }
    }
    assert_eq!(site.number("SELECT count(*) FROM repository").await, 1);
    assert_eq!(site.number("SELECT count(*) FROM upload").await, 0);
}

#[tokio::test]
async fn who_may_create_a_repository_hears_that_it_is_missing() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let alice = site.user("alice").await;
    let client = Client {
        registry: &registry,
        caller: &alice,
        name: name("alice/app"),
    };
    for (caller, owned) in [(&alice, "alice/app"), (&site.caller, "acme/app")] {
        let client = Client {
            registry: &registry,
            caller,
            name: name(owned),
        };
        let gone = [
            client.get("v1").await.unwrap_err(),
            registry
                .tags(caller, &client.name, None, None)
                .await
                .unwrap_err(),
            client.delete_tag("v1").await.unwrap_err(),
        ];
        assert!(
            gone.iter().all(|end| matches!(end, Error::NameUnknown)),
            "{gone:?}"
        );
        client.push(&Image::random(1), "v1").await;
        assert_eq!(client.tags().await, ["v1"]);
    }
    assert_eq!(client.tags().await, ["v1"]);
    let sql = "SELECT count(*) FROM repository WHERE visibility = 'private'";
    assert_eq!(site.number(sql).await, 2);
    // The first path of one segment is the library's, which is nobody's yet.
    site.client(&registry, "alpine")
        .push(&Image::random(2), "v1")
        .await;
    site.client(&registry, "library/alpine")
        .pulls("v1", &Image::random(2).manifest)
        .await;
}

#[tokio::test]
async fn what_is_public_is_everybodys_to_read_and_nobodys_to_write() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let image = Image::random(1);
    site.client(&registry, "acme/public")
        .push(&image, "v1")
        .await;
    site.publish("acme/public").await;
    let bob = site.user("bob").await;
    let pull = with_token(&bob, &[("acme/public", Actions::PULL)]);
    let all = with_token(&bob, &[("acme/public", Actions::ALL)]);
    for (caller, denied) in [
        (&Caller::anonymous(), "Unauthenticated"),
        (&bob, "Denied"),
        (&pull, "InsufficientScope"),
        (&all, "InsufficientScope"),
    ] {
        let client = Client {
            registry: &registry,
            caller,
            name: name("acme/public"),
        };
        client.pulls("v1", &image.manifest).await;
        assert!(client.pull(image.config.digest).await == image.config.content);
        for refused in [
            client
                .put_request(request(&image.manifest, "v2"))
                .await
                .unwrap_err(),
            client.delete_tag("v1").await.unwrap_err(),
            registry
                .start_upload(caller, &client.name, None)
                .await
                .unwrap_err(),
        ] {
            assert!(format!("{refused:?}").starts_with(denied), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_password_changed_ends_what_was_begun_with_the_old_one() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let alice = site.user("alice").await;
    let client = Client {
        registry: &registry,
        caller: &alice,
        name: name("alice/app"),
    };
    let image = Image::random(1);
    client.push(&image, "v1").await;
    site.client(&registry, "acme/public")
        .push(&image, "v1")
        .await;
    site.publish("acme/public").await;
    let upload = client.start().await;

    let router = site.router();
    let tx = router.begin().await.unwrap();
    let (account, password) = (
        "alice".parse().unwrap(),
        StoredPassword::new("$argon2id$new"),
    );
    assert!(
        accounts::set_password(&tx, &account, &password)
            .await
            .unwrap()
    );
    let _committed = tx.commit().await.unwrap();

    let all = [("alice/app", Actions::ALL), ("acme/public", Actions::ALL)];
    for caller in [&alice, &with_token(&alice, &all)] {
        // Not even what is public: the client shall notice.
        for repository in ["alice/app", "acme/public"] {
            let ends = answers(&registry, caller, repository).await;
            assert!(
                ends.iter().all(|end| end == "Some(CredentialsVoid)"),
                "{ends:?}"
            );
        }
        assert!(matches!(
            registry.catalog(caller, None, None).await,
            Err(Error::CredentialsVoid | Error::InsufficientScope)
        ));
    }
    let ended = client
        .finish(upload, Digest::sha256(b""), body(&"".into()))
        .await;
    assert!(matches!(ended, Err(Error::CredentialsVoid)), "{ended:?}");

    let Principal::Account { id, generation, .. } = alice.principal else {
        panic!("an account")
    };
    let renewed = Caller::with_password(Principal::Account {
        id,
        generation: generation + 1,
        credential: None,
    });
    let client = Client {
        caller: &renewed,
        ..client
    };
    client.pulls("v1", &image.manifest).await;
    client
        .finish(upload, Digest::sha256(b""), body(&"".into()))
        .await
        .unwrap();
}

#[tokio::test]
async fn lists_of_names_show_what_one_may_read_and_a_token_must_name_them() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let (alice, bob) = (site.user("alice").await, site.user("bob").await);
    for (caller, repository) in [
        (&site.caller, "acme/private"),
        (&site.caller, "acme/public"),
        (&alice, "alice/app"),
    ] {
        let client = Client {
            registry: &registry,
            caller,
            name: name(repository),
        };
        client.push(&Image::random(1), "v1").await;
    }
    site.publish("acme/public").await;
    let catalog = Caller::with_token(alice.principal, [Grant::Catalog].into());
    for (caller, expected) in [
        (
            &site.caller,
            vec!["acme/private", "acme/public", "alice/app"],
        ),
        (&alice, vec!["acme/public", "alice/app"]),
        (&catalog, vec!["acme/public", "alice/app"]),
        (&bob, vec!["acme/public"]),
        (&Caller::anonymous(), vec!["acme/public"]),
    ] {
        let page = registry.catalog(caller, None, None).await.unwrap();
        let names: Vec<&str> = page
            .repositories
            .iter()
            .map(RepositoryName::as_str)
            .collect();
        assert_eq!(names, expected);
        let found = registry.search(caller, "a", None).await.unwrap();
        let names: Vec<&str> = found.found.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, expected);
    }
    let narrow = with_token(&alice, &[("alice/app", Actions::ALL)]);
    assert!(matches!(
        registry.catalog(&narrow, None, None).await,
        Err(Error::InsufficientScope)
    ));
    assert!(matches!(
        registry.search(&narrow, "a", None).await,
        Err(Error::InsufficientScope)
    ));
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap() {
    let mut site = Site::new(Kind::Directory).await;
    site.limits.page_max = 3;
    site.limits.referrers_page = 2;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    client.push(&image, "t0").await;
    let names = ["A", "Z", "_", "a", "t0", "t1", "t10"];
    for name in names {
        client.put(&image.manifest, name).await.unwrap();
    }
    for (wanted, largest) in [(None, 3), (Some(2), 2), (Some(100), 3)] {
        let mut all = Vec::new();
        loop {
            let last = all.last().map(String::as_str);
            let page = registry
                .tags(&site.caller, &client.name, last, wanted)
                .await
                .unwrap();
            assert!(page.tags.len() <= largest);
            all.extend(page.tags.iter().map(|tag| tag.as_str().to_owned()));
            if !page.more {
                break;
            }
            assert_eq!(page.tags.len(), largest);
        }
        assert_eq!(all, names);
    }
    let none = registry
        .tags(&site.caller, &client.name, None, Some(0))
        .await
        .unwrap();
    assert!(none.tags.is_empty() && !none.more);

    let mut expected = Vec::new();
    for seed in 0..5 {
        let sbom = Image::artifact(
            "application/vnd.example.sbom",
            10 + seed,
            Some(&image.manifest),
        );
        expected.push(client.push(&sbom, "sbom").await.digest);
    }
    expected.sort();
    let mut all = Vec::new();
    loop {
        let (subject, after) = (image.manifest.digest, all.last().copied());
        let page = registry
            .referrers(
                &site.caller,
                &client.name,
                &subject,
                None,
                after.as_ref(),
                None,
            )
            .await
            .unwrap();
        all.extend(page.referrers.iter().map(|referrer| referrer.digest));
        if !page.more {
            break;
        }
    }
    assert_eq!(all, expected);
}
