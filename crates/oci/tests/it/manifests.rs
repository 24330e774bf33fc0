//! Manifests that are nearly valid, and bytes that are nothing.

use portolan_oci::{Digest, Manifest, ManifestKind, MediaType, media_type};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::fuzz;

fn content_types() -> impl Strategy<Value = Option<MediaType>> {
    let known = select(vec![
        media_type::OCI_IMAGE,
        media_type::OCI_INDEX,
        media_type::DOCKER_IMAGE,
        media_type::DOCKER_LIST,
        media_type::DOCKER_SCHEMA1_SIGNED,
        "application/json",
    ]);
    option::of(known.prop_map(|text| text.parse().unwrap()))
}

/// A valid image and a valid index to start from.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    let descriptor = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": Digest::sha256(content), "size": content.len() });
    let image = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_IMAGE,
        "config": descriptor(media_type::OCI_CONFIG, b"config"),
        "layers": [descriptor(media_type::OCI_LAYER_GZIP, b"1"), descriptor("a/b", b"2")],
        "subject": descriptor(media_type::OCI_IMAGE, b"subject"),
        "annotations": { "key": "value" },
        "artifactType": "application/vnd.example",
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [descriptor(media_type::OCI_IMAGE, b"1"), descriptor(media_type::OCI_LAYER, b"2")],
    });
    select(vec![
        image.to_string().into_bytes(),
        index.to_string().into_bytes(),
    ])
}

/// What any reader must find in a document that ours takes, looked up by a reader that knows nothing of
/// manifests and lets the last of two equal names win, as most do.
fn assert_others_agree(payload: &[u8], manifest: &Manifest) {
    let document: Map<String, Value> = serde_json::from_slice(payload).unwrap();
    assert_eq!(document["schemaVersion"], 2);
    let is_absent = |member: &str| document.get(member).is_none_or(Value::is_null);
    let digests = |member: &str| -> Vec<String> {
        let list = document
            .get(member)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        list.map(|entry| entry["digest"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = |list: &[portolan_oci::Descriptor]| -> Vec<String> {
        list.iter().map(|entry| entry.digest.to_string()).collect()
    };
    if manifest.kind().is_index() {
        assert!(is_absent("layers") && is_absent("config"));
        let mut listed = digests("manifests");
        let mut ours = [found(manifest.children()), found(manifest.layers())].concat();
        listed.sort();
        ours.sort();
        assert_eq!(ours, listed);
    } else {
        assert!(is_absent("manifests"));
        assert_eq!(found(manifest.layers()), digests("layers"));
        assert_eq!(
            manifest.config().unwrap().digest.to_string(),
            document["config"]["digest"]
        );
    }
    if let Some(subject) = manifest.subject() {
        assert_eq!(subject.digest.to_string(), document["subject"]["digest"]);
    }
    if let Some(Value::String(own)) = document.get("mediaType").filter(|own| **own != "") {
        assert_eq!(*own, manifest.media_type().as_str());
    }
    let required = manifest.required_blobs();
    assert!(required.is_sorted_by(|left, right| left < right));
    assert!(manifest.size_total() <= i64::MAX.unsigned_abs());
}

fn parse(payload: &[u8], content_type: Option<&MediaType>) {
    match Manifest::parse(payload, content_type) {
        Ok(manifest) => {
            assert_others_agree(payload, &manifest);
            assert_eq!(
                ManifestKind::from_media_type(&manifest.media_type()),
                Some(manifest.kind())
            );
            if let Some(content_type) = content_type {
                assert_eq!(manifest.media_type(), *content_type);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn no_bytes_upset_the_reader() {
    fuzz::check(
        &(vec(any::<u8>(), 0..200), content_types()),
        |(payload, content_type)| {
            parse(&payload, content_type.as_ref());
        },
    );
}

/// One thing done to the bytes of a document.
#[derive(Clone, Debug)]
enum Change {
    Overwrite(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize, Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let snippets = select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "null",
            "true",
            "1e999",
            "-",
            "\\",
            "\\u0000",
            "\\ud800",
            " ",
            "\0",
            "\u{feff}",
            "\u{17f}",
            "\"layers\":[],",
            "\"manifests\":[],",
            "\"Layers\":[],",
            "\"schemaVersion\":1,",
            "\"size\":9223372036854775807,",
            "\"mediaType\":\"\",",
            "\"digest\":null,",
        ]);
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Overwrite(at, byte)),
            (any::<Index>(), snippets).prop_map(|(at, text)| Self::Insert(at, text.into())),
            (any::<Index>(), 0..20_usize).prop_map(|(at, length)| Self::Remove(at, length)),
            (any::<Index>(), 0..90_usize, any::<Index>())
                .prop_map(|(at, length, to)| Self::Repeat(at, length, to)),
        ]
    }

    fn apply(&self, payload: &mut Vec<u8>) {
        let total = payload.len();
        let span = |at: &Index, length: usize| {
            let start = at.index(total + 1);
            start..(start + length).min(total)
        };
        match self {
            Self::Overwrite(at, byte) => payload[span(at, 1)].fill(*byte),
            Self::Insert(at, bytes) => {
                payload.splice(span(at, 0), bytes.iter().copied());
            }
            Self::Remove(at, length) => {
                payload.drain(span(at, *length));
            }
            Self::Repeat(at, length, to) => {
                let copied = payload[span(at, *length)].to_vec();
                payload.splice(span(to, 0), copied);
            }
        }
    }
}

#[test]
fn changed_manifests_are_refused_or_read_as_others_read_them() {
    let cases = (valid(), vec(Change::any(), 0..4), content_types());
    fuzz::check(&cases, |(mut payload, changes, content_type)| {
        for change in changes {
            change.apply(&mut payload);
        }
        parse(&payload, content_type.as_ref());
        parse(&payload, None);
    });
}

/// Any JSON, with the names that mean something in a manifest.
fn documents() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![
        select(vec![
            media_type::OCI_IMAGE,
            media_type::OCI_INDEX,
            media_type::OCI_LAYER,
            "a/b",
            "",
            "x"
        ])
        .prop_map(str::to_owned),
        any::<u8>().prop_map(|seed| Digest::sha256(&[seed]).to_string()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        Just(Value::from(2)),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    let names = prop_oneof![
        9 => select(vec![
            "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations",
            "digest", "size", "urls", "platform", "os", "architecture", "data", "fsLayers",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((names.clone(), inner), 0..9)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn any_document_is_refused_or_read_as_others_read_it() {
    fuzz::check(
        &(documents(), content_types()),
        |(mut document, content_type)| {
            parse(document.to_string().as_bytes(), content_type.as_ref());
            // Past the first gates, so that what is behind them meets the nonsense as well.
            if let Value::Object(members) = &mut document {
                members.insert("schemaVersion".to_owned(), Value::from(2));
                members.remove("mediaType");
                members.remove("fsLayers");
                members.remove("manifests");
                parse(document.to_string().as_bytes(), content_type.as_ref());
            }
        },
    );
}
