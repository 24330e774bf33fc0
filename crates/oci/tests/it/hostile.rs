//! Documents made to cost time, memory or a stack.

use std::fmt::Write as _;

use portolan_oci::{DescriptorError, Digest, Manifest, ManifestError, Place, media_type};

pub(crate) fn parse(payload: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(payload.as_bytes(), None)
}

/// `HEX` becomes a digest, `DESC` a descriptor, `IMAGE` and `INDEX` the members that each of them has.
pub(crate) fn filled(template: &str) -> String {
    template
        .replace("HEX", &Digest::sha256(b"").to_string())
        .replace(
            "DESC",
            &format!(
                r#"{{"mediaType":"a/b","digest":"{}","size":1}}"#,
                Digest::sha256(b"x")
            ),
        )
        .replace(
            "IMAGE",
            &format!(
                r#""schemaVersion":2,"mediaType":"{}""#,
                media_type::OCI_IMAGE
            ),
        )
        .replace(
            "INDEX",
            &format!(
                r#""schemaVersion":2,"mediaType":"{}""#,
                media_type::OCI_INDEX
            ),
        )
}

#[test]
fn invalid_utf_8_is_found_wherever_it_hides() {
    let valid = filled(r#"{IMAGE,"config":DESC,"layers":[],"x":"?"}"#).into_bytes();
    let at = valid.iter().position(|byte| *byte == b'?').unwrap();
    for bytes in [
        b"\xff".as_slice(),
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x82",
    ] {
        let payload = [&valid[..at], bytes, &valid[at + 1..]].concat();
        assert_eq!(
            Manifest::parse(&payload, None),
            Err(ManifestError::NotUtf8 { valid_up_to: at })
        );
    }
}

#[test]
fn depth_never_reaches_the_stack() {
    let deep = 100_000;
    let (open, close) = ("[".repeat(deep), "]".repeat(deep));
    for member in [
        "x",
        "layers",
        "config",
        "annotations",
        "schemaVersion",
        "mediaType",
    ] {
        let payload = filled(&format!(r#"{{IMAGE,"{member}":{open}{close}}}"#));
        assert_eq!(parse(&payload), Err(ManifestError::TooDeep), "{member}");
        let objects = filled(&format!(
            r#"{{IMAGE,"{member}":{}"#,
            r#"{"a":"#.repeat(deep)
        ));
        assert_eq!(parse(&objects), Err(ManifestError::TooDeep), "{member}");
    }
    let shallow = filled(&format!(
        r#"{{INDEX,"manifests":[],"x":{}{}}}"#,
        "[".repeat(60),
        "]".repeat(60)
    ));
    assert!(parse(&shallow).is_ok());
}

#[test]
fn length_is_bounded_before_anything_is_read() {
    let payload = vec![b' '; 100_000_000];
    assert_eq!(
        Manifest::parse(&payload, None),
        Err(ManifestError::TooLong {
            length: payload.len()
        })
    );
    let mut longest = filled(r#"{INDEX,"manifests":[]}"#);
    longest.extend(std::iter::repeat_n(
        ' ',
        Manifest::MAX_LENGTH - longest.len(),
    ));
    assert!(parse(&longest).is_ok());
    longest.push(' ');
    assert_eq!(
        parse(&longest),
        Err(ManifestError::TooLong {
            length: Manifest::MAX_LENGTH + 1
        })
    );
}

fn image_of(layers: usize) -> String {
    let mut list = String::new();
    for layer in 0..layers {
        let digest = Digest::sha256(&layer.to_le_bytes());
        let comma = if layer == 0 { "" } else { "," };
        write!(
            list,
            r#"{comma}{{"mediaType":"a/b","digest":"{digest}","size":1}}"#
        )
        .unwrap();
    }
    filled(&format!(r#"{{IMAGE,"config":DESC,"layers":[{list}]}}"#))
}

#[test]
fn entries_are_bounded() {
    let most = parse(&image_of(Manifest::MAX_ENTRIES)).unwrap();
    assert_eq!(most.required_blobs().len(), Manifest::MAX_ENTRIES + 1);
    let too_many = ManifestError::TooManyEntries { member: "layers" };
    assert_eq!(parse(&image_of(Manifest::MAX_ENTRIES + 1)), Err(too_many));
    // A million are stopped at the first that is none, or by the length.
    let million = filled(&format!(
        r#"{{INDEX,"manifests":[{}{{}}]}}"#,
        "{},".repeat(1_000_000)
    ));
    let reason = DescriptorError::Missing {
        member: "mediaType",
    };
    assert_eq!(
        parse(&million),
        Err(ManifestError::Descriptor {
            place: Place::Child(0),
            reason
        })
    );
    let long = filled(&format!(
        r#"{{INDEX,"manifests":[{}{{}}]}}"#,
        "{} ,".repeat(1_100_000)
    ));
    assert!(matches!(parse(&long), Err(ManifestError::TooLong { .. })));
}

#[test]
fn members_that_nobody_knows_are_only_slow() {
    let mut members = String::new();
    for number in 0..300_000 {
        write!(members, r#","{number}":0"#).unwrap();
    }
    assert!(parse(&filled(&format!(r#"{{INDEX,"manifests":[]{members}}}"#))).is_ok());
}

#[test]
fn huge_numbers_are_refused_even_where_nobody_looks() {
    for number in [
        "1e999",
        "-1e999",
        &"9".repeat(1_000_000),
        "1e9999999999999999999999",
    ] {
        let payload = filled(&format!(r#"{{INDEX,"manifests":[],"x":{number}}}"#));
        assert!(matches!(parse(&payload), Err(ManifestError::Syntax { .. })));
        let version = format!(r#"{{"schemaVersion":{number}}}"#);
        assert!(matches!(parse(&version), Err(ManifestError::Syntax { .. })));
    }
}
