//! What a forged, changed, old or foreign token meets.

use super::TokenVerifier;
use crate::token::{Claims, ISSUER, LIFETIME, seconds};
use crate::{
    Action, Actions, Clock, Error, Grant, KeyId, KeySource, Keyring, KeysFuture, ManualClock,
    Method, SealKey, SigningKey, StoredKey, TokenFault, TokenHolder, TokenRequest, TokenSigner,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret as _, SecretBox};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SERVICE: &str = "registry";

#[derive(Debug)]
struct OneKey(StoredKey);

impl KeySource for OneKey {
    fn load(&self) -> KeysFuture<'_> {
        Box::pin(async { Ok(vec![self.0.clone()]) })
    }
}

struct Fixture {
    key: SigningKey,
    clock: Arc<ManualClock>,
    signer: TokenSigner,
    verifier: TokenVerifier,
    rng: StdRng,
}

impl Fixture {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(5);
        let seal = Arc::new(SealKey::from_bytes(&SecretBox::new(Box::new([1; 32]))).unwrap());
        let (key, sealed) = SigningKey::generate(&seal, &mut rng).unwrap();
        let source = OneKey(StoredKey {
            id: key.id(),
            sealed,
            signs: true,
        });
        let clock = Arc::new(ManualClock::at(
            SystemTime::UNIX_EPOCH + Duration::from_hours(24),
        ));
        let dynamic = Arc::clone(&clock) as Arc<dyn Clock>;
        let keyring = Arc::new(Keyring::new(seal, Box::new(source), Arc::clone(&dynamic)));
        Self {
            key,
            clock,
            signer: TokenSigner::new(
                Arc::clone(&keyring),
                Arc::clone(&dynamic),
                SERVICE.into(),
                LIFETIME,
            ),
            verifier: TokenVerifier::new(keyring, dynamic, SERVICE.into()),
            rng,
        }
    }

    async fn token(&mut self) -> String {
        let request = TokenRequest {
            holder: Some(TokenHolder {
                account: 7,
                generation: 3,
                name: "alice".parse().unwrap(),
                method: Method::Application,
                credential: Some(5),
            }),
            grants: vec![Grant::Repository {
                name: "alice/app".parse().unwrap(),
                actions: Actions::PULL,
            }],
        };
        let signed = self.signer.sign(request, &mut self.rng).await.unwrap();
        signed.text.expose_secret().to_owned()
    }

    fn claims(&self) -> Claims {
        let now = seconds(self.clock.now());
        Claims {
            iss: ISSUER.into(),
            aud: SERVICE.into(),
            sub: Some("alice".into()),
            uid: Some(7),
            r#gen: Some(3),
            via: Some(Method::Password),
            cid: None,
            iat: now,
            nbf: now,
            exp: now + 300,
            jti: "x".into(),
            access: vec![],
        }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key.id().to_string());
        header
    }

    fn sign(&self, header: &Header, claims: &Claims) -> String {
        jsonwebtoken::encode(header, claims, self.key.signing()).unwrap()
    }

    async fn fault(&self, text: &str) -> TokenFault {
        match self.verifier.verify(text).await {
            Err(Error::Token(fault)) => fault,
            other => panic!("expected a refused token, got {other:?}"),
        }
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn a_token_says_who_and_how_far() {
    let mut fixture = Fixture::new();
    let text = fixture.token().await;
    for _ in 0..2 {
        let token = fixture.verifier.verify(&text).await.unwrap();
        let holder = token.holder.as_ref().unwrap();
        assert_eq!(
            (holder.account, holder.generation, holder.name.as_str()),
            (7, 3, "alice")
        );
        assert_eq!(
            (holder.method, holder.credential),
            (Method::Application, Some(5))
        );
        let name = "alice/app".parse().unwrap();
        assert!(token.grants[0].allows(&name, Action::Pull));
        assert!(!token.grants[0].allows(&name, Action::Push));
    }
    assert!(text.len() < 640, "a token is {} bytes", text.len());
}

#[tokio::test]
async fn the_longest_token_is_still_accepted() {
    let mut fixture = Fixture::new();
    let asked: Vec<String> = (0..100)
        .map(|i| format!("repository:a/{}{i:03}:pull,push,delete", "x".repeat(60)))
        .collect();
    let grants = crate::parse_scopes(asked.iter().map(String::as_str));
    let request = TokenRequest {
        holder: None,
        grants,
    };
    let signed = fixture
        .signer
        .sign(request, &mut fixture.rng)
        .await
        .unwrap();
    let text = signed.text.expose_secret();
    assert!(text.len() < 6 * 1024 + 512, "{} bytes", text.len());
    let token = fixture.verifier.verify(text).await.unwrap();
    assert_eq!(token.grants.len(), 31);
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let mut fixture = Fixture::new();
    let text = fixture.token().await;
    let claims = text.split('.').nth(1).unwrap();
    let kid = fixture.key.id().to_string();
    for alg in ["none", "None", "NONE"] {
        let header = part(&json!({"alg": alg, "typ": "JWT", "kid": kid}));
        assert_eq!(
            fixture.fault(&format!("{header}.{claims}.")).await,
            TokenFault::Malformed
        );
    }
    let header = text.split('.').next().unwrap();
    assert_eq!(
        fixture.fault(&format!("{header}.{claims}.")).await,
        TokenFault::WrongSignature
    );
}

#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    let fixture = Fixture::new();
    let public = fixture.key.verifying().try_get_as_bytes().unwrap();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let mut header = fixture.header();
        header.alg = algorithm;
        let secret = EncodingKey::from_secret(public);
        let forged = jsonwebtoken::encode(&header, &fixture.claims(), &secret).unwrap();
        assert_eq!(fixture.fault(&forged).await, TokenFault::WrongAlgorithm);
    }
}

#[tokio::test]
async fn a_key_in_the_header_is_not_looked_at() {
    let mut fixture = Fixture::new();
    let seal = SealKey::from_bytes(&SecretBox::new(Box::new([9; 32]))).unwrap();
    let (attacker, _) = SigningKey::generate(&seal, &mut fixture.rng).unwrap();
    let point = attacker.verifying().try_get_as_bytes().unwrap();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": fixture.key.id().to_string(),
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
    });
    let mut header = fixture.header();
    header.jwk = Some(serde_json::from_value(jwk).unwrap());
    header.jku = Some("https://attacker.example/keys".into());
    header.x5u = Some("https://attacker.example/chain".into());
    header.x5c = Some(vec!["AAAA".into()]);
    let forged = jsonwebtoken::encode(&header, &fixture.claims(), attacker.signing()).unwrap();
    assert_eq!(fixture.fault(&forged).await, TokenFault::WrongSignature);
}

#[tokio::test]
async fn a_key_id_is_no_path_and_no_url() {
    let fixture = Fixture::new();
    let mut without = fixture.header();
    without.kid = None;
    assert_eq!(
        fixture
            .fault(&fixture.sign(&without, &fixture.claims()))
            .await,
        TokenFault::KeyIdMalformed
    );
    for kid in [
        "",
        "../../../../dev/null",
        "http://attacker.example/",
        "' OR 1=1 --",
        "0123456789ABCDEF",
    ] {
        let mut header = fixture.header();
        header.kid = Some(kid.into());
        let forged = fixture.sign(&header, &fixture.claims());
        assert_eq!(
            fixture.fault(&forged).await,
            TokenFault::KeyIdMalformed,
            "{kid}"
        );
    }
    let mut header = fixture.header();
    header.kid = Some(KeyId::random(&mut StdRng::seed_from_u64(99)).to_string());
    assert_eq!(
        fixture
            .fault(&fixture.sign(&header, &fixture.claims()))
            .await,
        TokenFault::UnknownKey
    );
}

#[tokio::test]
async fn a_widened_access_list_breaks_the_signature() {
    let mut fixture = Fixture::new();
    let text = fixture.token().await;
    let parts: Vec<&str> = text.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["access"][0]["actions"] = json!(["pull", "push", "delete"]);
    let widened = format!("{}.{}.{}", parts[0], part(&claims), parts[2]);
    assert_eq!(fixture.fault(&widened).await, TokenFault::WrongSignature);
}

#[tokio::test]
async fn a_token_ends_a_minute_after_its_expiry_even_if_remembered() {
    let mut fixture = Fixture::new();
    let text = fixture.token().await;
    assert!(fixture.verifier.verify(&text).await.is_ok());
    fixture.clock.advance(Duration::from_secs(359));
    assert!(fixture.verifier.verify(&text).await.is_ok());
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.fault(&text).await, TokenFault::Expired);
}

#[tokio::test]
async fn a_token_of_the_future_is_refused() {
    let fixture = Fixture::new();
    let mut claims = fixture.claims();
    claims.nbf += 60;
    assert!(
        fixture
            .verifier
            .verify(&fixture.sign(&fixture.header(), &claims))
            .await
            .is_ok()
    );
    claims.nbf += 1;
    let early = fixture.sign(&fixture.header(), &claims);
    assert_eq!(fixture.fault(&early).await, TokenFault::NotYetValid);
}

#[tokio::test]
async fn audience_and_issuer_must_be_ours() {
    let fixture = Fixture::new();
    let mut claims = fixture.claims();
    claims.aud = "other".into();
    let foreign = fixture.sign(&fixture.header(), &claims);
    assert_eq!(fixture.fault(&foreign).await, TokenFault::WrongAudience);
    let mut claims = fixture.claims();
    claims.iss = "other".into();
    let foreign = fixture.sign(&fixture.header(), &claims);
    assert_eq!(fixture.fault(&foreign).await, TokenFault::WrongIssuer);
}

#[tokio::test]
async fn half_a_holder_and_absurd_times_are_refused() {
    let fixture = Fixture::new();
    let mut claims = fixture.claims();
    claims.r#gen = None;
    let half = fixture.sign(&fixture.header(), &claims);
    assert_eq!(fixture.fault(&half).await, TokenFault::Malformed);
    let mut claims = fixture.claims();
    claims.exp = u64::MAX;
    let endless = fixture.sign(&fixture.header(), &claims);
    assert_eq!(fixture.fault(&endless).await, TokenFault::Malformed);
}

#[tokio::test]
async fn a_critical_header_is_refused() {
    let fixture = Fixture::new();
    let mut header = fixture.header();
    header.crit = Some(vec!["b64".into()]);
    let critical = fixture.sign(&header, &fixture.claims());
    assert_eq!(fixture.fault(&critical).await, TokenFault::Malformed);
}

#[tokio::test]
async fn an_endless_token_is_refused_unread() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.fault(&"a".repeat(1 << 20)).await,
        TokenFault::TooLong
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_changed_byte_is_refused(place: prop::sample::Index, mask in 1u8..128) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new();
            let mut bytes = fixture.token().await.into_bytes();
            let place = place.index(bytes.len());
            // The last character of the signature carries bits that base64 leaves unused.
            if place + 1 == bytes.len() {
                return Ok(());
            }
            bytes[place] ^= mask;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(fixture.verifier.verify(&text).await.is_err());
            }
            Ok(())
        })?;
    }

    #[test]
    fn verifying_never_panics(text in "[\\PC.]{0,200}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fixture = Fixture::new();
        prop_assert!(runtime.block_on(fixture.verifier.verify(&text)).is_err());
    }
}
