//! Digests.

use portolan_oci::{Algorithm, Digest, Reference};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fuzz;
use crate::names::round_trips;

fn hashes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 32), vec(any::<u8>(), 64)]
}

#[test]
fn hashes_come_back() {
    fuzz::check(&hashes(), |hash| {
        let digest = Digest::from_bytes(&hash).unwrap();
        assert_eq!(digest.as_bytes(), hash);
        assert_eq!(digest.algorithm().len(), hash.len());
        assert_eq!(round_trips::<Digest>(&digest.to_string()), Some(digest));
        assert_eq!(
            round_trips::<Reference>(&digest.to_string()),
            Some(Reference::Digest(digest))
        );
    });
}

#[test]
fn order_is_that_of_the_bytes() {
    fuzz::check(&(hashes(), hashes()), |(left, right)| {
        let digests = [&left, &right].map(|hash| Digest::from_bytes(hash).unwrap());
        assert_eq!(digests[0].cmp(&digests[1]), left.cmp(&right));
    });
}

#[test]
fn another_spelling_is_never_the_same_digest() {
    let cases = (hashes(), any::<Index>(), any::<char>());
    fuzz::check(&cases, |(hash, index, character)| {
        let digest = Digest::from_bytes(&hash).unwrap();
        let text = digest.to_string();
        let at = index.index(text.len());
        let changed = format!("{}{character}{}", &text[..at], &text[at + 1..]);
        if changed != text {
            assert_ne!(round_trips::<Digest>(&changed), Some(digest));
        }
        assert_eq!(round_trips::<Digest>(&text[..at]), None);
        assert_eq!(round_trips::<Digest>(&format!("{text}{character}")), None);
    });
}

#[test]
fn no_bytes_and_no_text_upset_a_digest() {
    let texts = prop_oneof![
        any::<String>(),
        "(sha256|sha512|sha1|SHA256|blake3|)[:%+]?[0-9a-fA-F=]{0,130}"
    ];
    fuzz::check(&(texts, vec(any::<u8>(), 0..130)), |(text, bytes)| {
        round_trips::<Digest>(&text);
        round_trips::<Algorithm>(&text);
        assert_eq!(
            Digest::from_bytes(&bytes).is_ok(),
            matches!(bytes.len(), 32 | 64)
        );
        assert_eq!(Digest::of(Algorithm::Sha512, &bytes).as_bytes().len(), 64);
        assert_eq!(
            Digest::of(Algorithm::Sha256, &bytes),
            Digest::sha256(&bytes)
        );
    });
}
