//! What is refused, and that it is refused for the right reason.

use portolan_oci::{
    DescriptorError, Manifest, ManifestError, ManifestKind, MediaType, MediaTypeError, Place,
    media_type,
};

use crate::hostile::{filled, parse};

fn content_type(text: &str) -> MediaType {
    text.parse().unwrap()
}

fn assert_refused(cases: &[(&str, ManifestError)]) {
    for (template, error) in cases {
        let payload = filled(template);
        assert_eq!(parse(&payload).as_ref(), Err(error), "{payload}");
    }
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    use ManifestError as E;
    assert_refused(&[
        ("", E::Syntax { line: 1, column: 0 }),
        ("[]", E::NotAnObject),
        ("null", E::NotAnObject),
        (r#""{}""#, E::NotAnObject),
        ("\u{feff}{}", E::ByteOrderMark),
        ("{} {}", E::Syntax { line: 1, column: 4 }),
        ("{}\n\nx", E::Syntax { line: 3, column: 1 }),
    ]);
}

#[test]
fn what_does_not_say_what_it_is_is_refused() {
    use ManifestError as E;
    let unknown = content_type("a/b");
    assert_refused(&[
        (
            "{}",
            E::Missing {
                member: "schemaVersion",
            },
        ),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, E::SchemaOne),
        (r#"{"schemaVersion":3}"#, E::SchemaVersion),
        (r#"{"schemaVersion":"2"}"#, E::SchemaVersion),
        (r#"{"schemaVersion":2.0}"#, E::SchemaVersion),
        (r#"{"schemaVersion":2}"#, E::NoMediaType),
        (r#"{"schemaVersion":2,"mediaType":""}"#, E::NoMediaType),
        (
            r#"{"schemaVersion":2,"config":DESC,"layers":[]}"#,
            E::NoMediaType,
        ),
        (
            r#"{"schemaVersion":2,"mediaType":["a/b"]}"#,
            E::WrongType {
                member: "mediaType",
            },
        ),
        (
            r#"{"schemaVersion":2,"mediaType":"a"}"#,
            E::MediaType(MediaTypeError::NoSlash),
        ),
        (
            r#"{"schemaVersion":2,"mediaType":"a/b"}"#,
            E::UnsupportedMediaType {
                media_type: unknown,
            },
        ),
        (
            r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}"#,
            E::SchemaOne,
        ),
    ]);
}

/// CVE-2021-41190: one document, read as an image by one client and as an index by another.
#[test]
fn two_forms_in_one_document_are_refused() {
    use ManifestError as E;
    let image = ManifestKind::OciImage;
    let index = ManifestKind::OciIndex;
    assert_refused(&[
        (
            r#"{IMAGE,"config":DESC,"layers":[],"manifests":[]}"#,
            E::Unexpected {
                kind: image,
                member: "manifests",
            },
        ),
        (
            r#"{IMAGE,"config":DESC,"layers":[],"fsLayers":[]}"#,
            E::Unexpected {
                kind: image,
                member: "fsLayers",
            },
        ),
        (
            r#"{INDEX,"manifests":[],"layers":[]}"#,
            E::Unexpected {
                kind: index,
                member: "layers",
            },
        ),
        (
            r#"{INDEX,"manifests":[],"config":{}}"#,
            E::Unexpected {
                kind: index,
                member: "config",
            },
        ),
        (
            r#"{INDEX,"manifests":[],"fsLayers":[]}"#,
            E::Unexpected {
                kind: index,
                member: "fsLayers",
            },
        ),
    ]);
}

#[test]
fn members_that_readers_tell_apart_differently_are_refused() {
    use ManifestError as E;
    assert_refused(&[
        (
            r#"{IMAGE,"config":DESC,"layers":[],"layers":[DESC]}"#,
            E::Duplicate { member: "layers" },
        ),
        (
            r#"{IMAGE,"config":DESC,"layers":[],"l\u0061yers":[]}"#,
            E::Duplicate { member: "layers" },
        ),
        (
            r#"{IMAGE,"schemaVersion":2}"#,
            E::Duplicate {
                member: "schemaVersion",
            },
        ),
        (
            r#"{IMAGE,"config":DESC,"layers":[],"Layers":[DESC]}"#,
            E::LookAlike { member: "layers" },
        ),
        (
            r#"{IMAGE,"config":DESC,"layers":[],"\u017fubject":1}"#,
            E::LookAlike { member: "subject" },
        ),
        (
            r#"{INDEX,"manifests":[],"annotations":{"a":"","a":""}}"#,
            E::Annotations,
        ),
    ]);
}

#[test]
fn members_that_are_missing_or_of_the_wrong_type_are_named() {
    use ManifestError as E;
    assert_refused(&[
        (r#"{IMAGE,"layers":[]}"#, E::Missing { member: "config" }),
        (
            r#"{IMAGE,"config":null,"layers":[]}"#,
            E::Missing { member: "config" },
        ),
        (r#"{IMAGE,"config":DESC}"#, E::Missing { member: "layers" }),
        (
            "{INDEX}",
            E::Missing {
                member: "manifests",
            },
        ),
        (
            r#"{IMAGE,"config":DESC,"layers":{}}"#,
            E::WrongType { member: "layers" },
        ),
        (
            r#"{INDEX,"manifests":"x"}"#,
            E::WrongType {
                member: "manifests",
            },
        ),
        (r#"{INDEX,"manifests":[],"annotations":[]}"#, E::Annotations),
        (
            r#"{INDEX,"manifests":[],"annotations":{"a":1}}"#,
            E::Annotations,
        ),
        (
            r#"{INDEX,"manifests":[],"artifactType":1}"#,
            E::WrongType {
                member: "artifactType",
            },
        ),
        (
            r#"{INDEX,"manifests":[],"artifactType":"x"}"#,
            E::ArtifactType(MediaTypeError::NoSlash),
        ),
    ]);
}

#[test]
fn descriptors_are_refused_with_their_place() {
    let refused = |place, reason| ManifestError::Descriptor { place, reason };
    assert_refused(&[
        (
            r#"{IMAGE,"config":[],"layers":[]}"#,
            refused(Place::Config, DescriptorError::NotAnObject),
        ),
        (
            r#"{IMAGE,"config":DESC,"layers":[DESC,null]}"#,
            refused(Place::Layer(1), DescriptorError::NotAnObject),
        ),
        (
            r#"{INDEX,"manifests":[{"mediaType":"a/b","digest":"HEX","size":-1}]}"#,
            refused(Place::Child(0), DescriptorError::Size),
        ),
        (
            r#"{INDEX,"manifests":[],"subject":{"mediaType":"a/b","size":1}}"#,
            refused(
                Place::Subject,
                DescriptorError::Missing { member: "digest" },
            ),
        ),
        (
            r#"{IMAGE,"config":{"mediaType":"a/b","digest":"HEX","size":1e3},"layers":[]}"#,
            refused(Place::Config, DescriptorError::Size),
        ),
        (
            r#"{IMAGE,"config":{"mediaType":"a/b","digest":"HEX","size":9223372036854775807},"layers":[DESC]}"#,
            ManifestError::TotalSize,
        ),
    ]);
}

/// What a client is told, the source's words after a colon as the server prints them.
#[test]
fn refusals_say_what_is_wrong_and_where() {
    let said = |template: &str| {
        let error = parse(&filled(template)).unwrap_err();
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    };
    assert_eq!(
        said("{,}"),
        "manifest is not valid JSON at line 1, column 2"
    );
    assert_eq!(
        said(r#"{INDEX,"manifests":[],"layers":[]}"#),
        "`layers` is not a member of `application/vnd.oci.image.index.v1+json`"
    );
    assert_eq!(
        said(r#"{INDEX,"manifests":[DESC,{"mediaType":"a/b","digest":"md5:0","size":1}]}"#),
        "`manifests[1]` is invalid: `digest` is invalid"
    );
    assert_eq!(
        said(r#"{INDEX,"manifests":[],"artifactType":"x"}"#),
        "`artifactType` is invalid: media type has no `/` between type and subtype"
    );
}

#[test]
fn the_request_and_the_document_must_agree() {
    let image = filled(r#"{IMAGE,"config":DESC,"layers":[]}"#);
    let silent = filled(r#"{"schemaVersion":2,"config":DESC,"layers":[]}"#);
    let parse =
        |payload: &str, text: &str| Manifest::parse(payload.as_bytes(), Some(&content_type(text)));

    assert_eq!(
        parse(&image, media_type::OCI_IMAGE).unwrap().kind(),
        ManifestKind::OciImage
    );
    assert_eq!(
        parse(&silent, media_type::OCI_IMAGE).unwrap().kind(),
        ManifestKind::OciImage
    );
    assert_eq!(
        parse(&image, media_type::OCI_INDEX),
        Err(ManifestError::MediaTypeMismatch {
            content_type: content_type(media_type::OCI_INDEX),
            member: content_type(media_type::OCI_IMAGE),
        })
    );
    assert_eq!(
        parse(&silent, media_type::OCI_INDEX),
        Err(ManifestError::Unexpected {
            kind: ManifestKind::OciIndex,
            member: "config"
        })
    );
    assert_eq!(
        parse(&silent, media_type::DOCKER_IMAGE),
        Err(ManifestError::Missing {
            member: "mediaType"
        })
    );
    assert_eq!(
        parse(&image, media_type::DOCKER_SCHEMA1_SIGNED),
        Err(ManifestError::SchemaOne)
    );
    for unsupported in [
        "application/json",
        "application/octet-stream",
        "application/vnd.oci.artifact.manifest.v1+json",
    ] {
        let media_type = content_type(unsupported);
        assert_eq!(
            parse(&image, unsupported),
            Err(ManifestError::UnsupportedMediaType { media_type })
        );
    }
}
