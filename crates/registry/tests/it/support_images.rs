//! Images as a client pushes and pulls them, and the callers who do.

use crate::support::{Client, Site, body, name};
use portolan_auth::{Actions, Grant};
use portolan_metadata::repositories::{self, Visibility};
use portolan_metadata::tags::Expect;
use portolan_oci::{Digest, MediaType, Reference, TagName};
use portolan_registry::{Caller, Error, ManifestAnswer, Purpose, Pushed, PutManifest, Registry};
use portolan_testkit::image::{Blob, Image, ManifestFile};

impl Site {
    /// The administrator at a process.
    pub(crate) fn client<'a>(&'a self, registry: &'a Registry, repository: &str) -> Client<'a> {
        Client {
            registry,
            caller: &self.caller,
            name: name(repository),
        }
    }

    pub(crate) async fn publish(&self, repository: &str) {
        let router = self.router();
        let tx = router.begin().await.unwrap();
        let done = repositories::set_visibility(&tx, &name(repository), Visibility::Public)
            .await
            .unwrap();
        assert!(done, "`{repository}` is not there");
        let _committed = tx.commit().await.unwrap();
        router.close().await;
    }
}

/// The bearer of a token that reaches so far.
pub(crate) fn with_token(caller: &Caller, grants: &[(&str, Actions)]) -> Caller {
    let grants = grants
        .iter()
        .map(|(repository, actions)| Grant::Repository {
            name: name(repository),
            actions: *actions,
        });
    Caller::with_token(caller.principal, grants.collect())
}

/// A PUT under a tag or a digest.
pub(crate) fn request(manifest: &ManifestFile, reference: &str) -> PutManifest {
    PutManifest {
        reference: reference.parse().unwrap(),
        tags: Vec::new(),
        content_type: Some(manifest.media_type.parse().unwrap()),
        payload: manifest.payload.clone(),
        expect: None,
    }
}

pub(crate) fn tag(text: &str) -> TagName {
    text.parse().unwrap()
}

impl Client<'_> {
    pub(crate) async fn push_blob(&self, blob: &Blob) {
        let pushed =
            self.registry
                .push_blob(self.caller, &self.name, blob.digest, body(&blob.content));
        assert_eq!(pushed.await.unwrap().digest, blob.digest);
    }

    pub(crate) async fn put_request(&self, request: PutManifest) -> Result<Pushed, Error> {
        self.registry
            .put_manifest(self.caller, &self.name, request)
            .await
    }

    pub(crate) async fn put(
        &self,
        manifest: &ManifestFile,
        reference: &str,
    ) -> Result<Pushed, Error> {
        self.put_request(request(manifest, reference)).await
    }

    pub(crate) async fn put_if(
        &self,
        manifest: &ManifestFile,
        reference: &str,
        expect: Expect,
    ) -> Result<Pushed, Error> {
        let expect = Some(expect);
        self.put_request(PutManifest {
            expect,
            ..request(manifest, reference)
        })
        .await
    }

    /// Everything of an image, and its manifest under a tag.
    pub(crate) async fn push(&self, image: &Image, tag: &str) -> Pushed {
        for blob in image.blobs() {
            self.push_blob(blob).await;
        }
        self.put(&image.manifest, tag).await.unwrap()
    }

    pub(crate) async fn get(&self, reference: &str) -> Result<ManifestAnswer, Error> {
        let reference: Reference = reference.parse().unwrap();
        self.registry
            .manifest(self.caller, &self.name, &reference, Purpose::Get)
            .await
    }

    /// What a reference points at; the bytes are those that were pushed.
    pub(crate) async fn pulls(&self, reference: &str, expected: &ManifestFile) {
        let found = self.get(reference).await.unwrap();
        assert_eq!(found.payload.as_ref(), Some(&expected.payload));
        assert_eq!(found.digest, expected.digest);
        assert_eq!(found.media_type.as_str(), expected.media_type);
        assert_eq!(found.size, expected.payload.len() as u64);
    }

    /// Whether a push may skip this blob.
    pub(crate) async fn has(&self, digest: Digest) -> bool {
        match self
            .registry
            .blob(self.caller, &self.name, digest, Purpose::Head)
            .await
        {
            Ok(_) => true,
            Err(Error::BlobUnknown | Error::NameUnknown) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    pub(crate) async fn delete_tag(&self, name: &str) -> Result<(), Error> {
        self.registry
            .delete_tag(self.caller, &self.name, &tag(name), None)
            .await
    }

    pub(crate) async fn delete_manifest(&self, manifest: &ManifestFile) -> Result<(), Error> {
        self.registry
            .delete_manifest(self.caller, &self.name, &manifest.digest)
            .await
    }

    pub(crate) async fn delete_blob(&self, digest: Digest) -> Result<(), Error> {
        self.registry
            .delete_blob(self.caller, &self.name, &digest)
            .await
    }

    pub(crate) async fn tags(&self) -> Vec<String> {
        let page = self
            .registry
            .tags(self.caller, &self.name, None, None)
            .await
            .unwrap();
        assert!(!page.more);
        page.tags
            .iter()
            .map(|tag| tag.as_str().to_owned())
            .collect()
    }

    pub(crate) async fn referrers(
        &self,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Vec<Digest> {
        let wanted: Option<MediaType> = artifact_type.map(|text| text.parse().unwrap());
        let page = self
            .registry
            .referrers(
                self.caller,
                &self.name,
                &subject,
                wanted.as_ref(),
                None,
                None,
            )
            .await
            .unwrap();
        page.referrers
            .iter()
            .map(|referrer| referrer.digest)
            .collect()
    }
}
