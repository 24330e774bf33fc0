//! Manifests as real clients push them, odd ones above all. Digests are shortened to a placeholder.

use portolan_oci::{Digest, Manifest, ManifestKind, MediaType, media_type};

fn parse(template: &str, content_type: &str) -> Manifest {
    let mut payload = String::new();
    for (number, part) in template.split("DIGEST").enumerate() {
        if number > 0 {
            payload.push_str(&Digest::sha256(&[u8::try_from(number).unwrap()]).to_string());
        }
        payload.push_str(part);
    }
    let content_type: MediaType = content_type.parse().unwrap();
    Manifest::parse(payload.as_bytes(), Some(&content_type)).unwrap()
}

#[test]
fn docker_pushes_an_image() {
    let manifest = parse(
        r#"{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
   "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1457, "digest": "DIGEST"},
   "layers": [
      {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 2811478, "digest": "DIGEST"}
   ]
}
"#,
        media_type::DOCKER_IMAGE,
    );
    assert_eq!(manifest.kind(), ManifestKind::DockerImage);
    assert_eq!(
        (manifest.required_blobs().len(), manifest.size_total()),
        (2, 2_812_935)
    );
}

#[test]
fn docker_pushes_windows_whose_base_is_fetched_elsewhere() {
    let manifest = parse(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
            "config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":1,"digest":"DIGEST"},
            "layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":2,
                       "digest":"DIGEST","urls":["https://mcr.microsoft.com/v2/x"]},
                      {"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":3,"digest":"DIGEST"}]}"#,
        media_type::DOCKER_IMAGE,
    );
    assert_eq!(
        (manifest.layers().len(), manifest.required_blobs().len()),
        (3 - 1, 2)
    );
}

#[test]
fn docker_pushes_a_list() {
    let manifest = parse(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json",
            "manifests":[{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":528,
                          "digest":"DIGEST","platform":{"architecture":"arm","os":"linux","variant":"v7"}},
                         {"mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":528,
                          "digest":"DIGEST","platform":{"architecture":"amd64","os":"windows",
                          "os.version":"10.0.14393.1066","os.features":["win32k"]}}]}"#,
        media_type::DOCKER_LIST,
    );
    assert_eq!(manifest.kind(), ManifestKind::DockerList);
    assert_eq!(manifest.children().len(), 2);
}

/// A subject is a member of OCI's forms only. go-containerregistry puts one into Docker's as well, and
/// falls back to the referrers tag where nobody answers with `OCI-Subject`.
#[test]
fn subject_of_a_docker_image_is_an_unknown_member() {
    let manifest = parse(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
            "config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":1,"digest":"DIGEST"},
            "layers":[],"subject":"nonsense","artifactType":5,"annotations":{"a":"b"}}"#,
        media_type::DOCKER_IMAGE,
    );
    assert_eq!((manifest.subject(), manifest.artifact_type()), (None, None));
    assert_eq!(manifest.annotations()["a"], "b");
}

/// <https://github.com/moby/buildkit/issues/2251>
#[test]
fn buildkit_exports_its_cache_as_an_index_of_blobs() {
    let template = r#"{"schemaVersion":2,"mediaType":"TYPE","manifests":[
        {"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"DIGEST","size":2789742,
         "annotations":{"buildkit/createdat":"2019-08-14T17:52:26Z","containerd.io/uncompressed":"x"}},
        {"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"DIGEST","size":216},
        {"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"DIGEST","size":565}]}"#;
    for media_type in [media_type::OCI_INDEX, media_type::DOCKER_LIST] {
        let manifest = parse(&template.replace("TYPE", media_type), media_type);
        assert_eq!((manifest.children().len(), manifest.layers().len()), (0, 3));
        assert_eq!(manifest.required_blobs().len(), 3);
        assert_eq!(manifest.size_total(), 2_789_742 + 216 + 565);
    }
}

#[test]
fn buildkit_attaches_attestations_of_an_unknown_platform() {
    let manifest = parse(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
            {"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"DIGEST","size":566,
             "annotations":{"vnd.docker.reference.type":"attestation-manifest"},
             "platform":{"architecture":"unknown","os":"unknown"}}]}"#,
        media_type::OCI_INDEX,
    );
    assert_eq!(
        manifest.children()[0].platform.as_ref().unwrap().os,
        "unknown"
    );
}

/// <https://github.com/sigstore/protobuf-specs/issues/165>
#[test]
fn sigstore_bundles_have_a_parameter_in_their_type() {
    let manifest = parse(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "artifactType":"application/vnd.dev.sigstore.bundle+json;version=0.2",
            "config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"DIGEST","size":2},
            "layers":[{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.2","digest":"DIGEST","size":4967}],
            "subject":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"DIGEST","size":523}}"#,
        media_type::OCI_IMAGE,
    );
    let declared = manifest.referrer_artifact_type().unwrap();
    assert_eq!(
        declared.as_str(),
        "application/vnd.dev.sigstore.bundle+json;version=0.2"
    );
}

/// As Go writes a struct whose slices and maps were never made and whose texts were never set.
#[test]
fn go_writes_null_and_empty_text_for_absent() {
    let manifest = parse(
        r#"{"schemaVersion":2,"mediaType":"","artifactType":"","config":{"mediaType":"a/b","digest":"DIGEST","size":0,
            "urls":null,"annotations":null,"platform":null,"artifactType":""},
            "layers":null,"manifests":null,"subject":null,"annotations":null}"#,
        media_type::OCI_IMAGE,
    );
    assert_eq!(manifest.layers(), []);
    assert_eq!((manifest.artifact_type(), manifest.subject()), (None, None));
    let index = parse(
        r#"{"schemaVersion":2,"manifests":null,"config":null}"#,
        media_type::OCI_INDEX,
    );
    assert_eq!(index.children(), []);
}

#[test]
fn helm_pushes_a_chart() {
    let manifest = parse(
        r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"DIGEST",
            "size":117},"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "digest":"DIGEST","size":2487}],"annotations":{"org.opencontainers.image.title":"c"}}"#,
        media_type::OCI_IMAGE,
    );
    let kind = manifest.referrer_artifact_type().unwrap();
    assert_eq!(kind.as_str(), "application/vnd.cncf.helm.config.v1+json");
}
