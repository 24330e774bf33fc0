//! An issuer's public keys (JWK Set, RFC 7517).
//!
//! Each key is good for certain algorithms, which follow from the key and never from a token: a public key is no
//! secret of an HMAC, and `none` is no algorithm. What is not understood is left out, as section 5 demands.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of one issuer; the large ones have about ten.
const KEYS_MAX: usize = 100;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct IssuerKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    verifying: DecodingKey,
}

#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl IssuerKey {
    /// The keys of a set that can be used; `None` where it is no set.
    pub(super) fn read(document: &[u8]) -> Option<Vec<Self>> {
        let document: Value = serde_json::from_slice(document).ok()?;
        let keys = document.get("keys")?.as_array()?.iter().take(KEYS_MAX);
        Some(
            keys.filter_map(|key| Self::of(Jwk::deserialize(key).ok()?))
                .collect(),
        )
    }

    fn of(jwk: Jwk) -> Option<Self> {
        if jwk.r#use.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let (fitting, verifying) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (RSA, DecodingKey::from_rsa_components(&jwk.n?, &jwk.e?)),
            ("EC", Some("P-256")) => (
                &[Algorithm::ES256][..],
                DecodingKey::from_ec_components(&jwk.x?, &jwk.y?),
            ),
            ("EC", Some("P-384")) => (
                &[Algorithm::ES384][..],
                DecodingKey::from_ec_components(&jwk.x?, &jwk.y?),
            ),
            ("OKP", Some("Ed25519")) => (
                &[Algorithm::EdDSA][..],
                DecodingKey::from_ed_components(&jwk.x?),
            ),
            _ => return None,
        };
        let algorithms = match jwk.alg {
            None => fitting.to_vec(),
            Some(alg) => {
                let alg: Algorithm = alg.parse().ok()?;
                fitting.contains(&alg).then(|| vec![alg])?
            }
        };
        Some(Self {
            id: jwk.kid,
            algorithms,
            verifying: verifying.ok()?,
        })
    }

    /// What verifies with it.
    pub(super) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}

/// The key for a token with this header. A token that names none must leave no choice (OpenID Connect Core 1.0
/// section 10.1).
pub(super) fn find<'a>(
    keys: &'a [IssuerKey],
    id: Option<&str>,
    algorithm: Algorithm,
) -> Option<&'a IssuerKey> {
    let mut fitting = keys
        .iter()
        .filter(|key| key.algorithms.contains(&algorithm))
        .filter(|key| id.is_none() || key.id.as_deref() == id);
    let found = fitting.next()?;
    match id {
        None if fitting.next().is_some() => None,
        _ => Some(found),
    }
}

#[cfg(test)]
mod tests {
    use super::{IssuerKey, find};
    use jsonwebtoken::Algorithm;
    use serde_json::json;

    #[test]
    fn a_key_is_for_its_own_algorithms_only_and_the_rest_is_left_out() {
        let document = json!({ "keys": [
            { "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "p", "alg": "PS256", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "oaep", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "mixed", "alg": "ES256", "n": "AQAB", "e": "AQAB" },
            { "kty": "oct", "kid": "secret", "k": "AQAB" },
            { "kty": "EC", "kid": "e", "crv": "P-256", "x": "AQAB", "y": "AQAB" },
            { "kty": "EC", "kid": "k", "crv": "secp256k1", "x": "AQAB", "y": "AQAB" },
            "nonsense",
        ] });
        let keys = IssuerKey::read(document.to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 3);
        let has = |id, algorithm| find(&keys, id, algorithm).is_some();
        assert!(has(Some("r"), Algorithm::RS256));
        assert!(has(Some("p"), Algorithm::PS256));
        assert!(has(Some("e"), Algorithm::ES256));
        assert!(!has(Some("p"), Algorithm::RS256));
        assert!(!has(Some("r"), Algorithm::HS256));
        assert!(!has(Some("secret"), Algorithm::HS256));
        assert!(!has(Some("e"), Algorithm::ES384));
        assert!(!has(Some("unknown"), Algorithm::ES256));
        // One key is left for ES256, several for PS256.
        assert!(has(None, Algorithm::ES256));
        assert!(!has(None, Algorithm::PS256));
        assert!(IssuerKey::read(b"{}").is_none());
        assert!(IssuerKey::read(b"no JSON").is_none());
    }
}
