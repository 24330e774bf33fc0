//! An issuer that exists in memory: good tokens, bad ones, keys that come and go.

use super::{AGE_MAX, Issuer, LOOKUP_INTERVAL, STALE_MAX};
use crate::oidc::{Ask, Audience, Fetch, FetchFuture, HttpsUrl, IdToken, Told, Unanswered};
use crate::{Clock, Error, FederationRule, IdTokenFault, ManualClock, RuleMiss};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

const URL: &str = "https://id.example.com/realm";
const KEYS: &str = "https://id.example.com/keys";
const NOW: u64 = 1_000_000;

/// What the issuer answers; nothing while it is down.
#[derive(Debug, Clone, Default)]
struct Site {
    keys: Arc<Mutex<Option<Value>>>,
    configuration: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
    /// Goes on by a minute with each answer.
    slow: Arc<Mutex<Option<Arc<ManualClock>>>>,
}

impl Fetch for Site {
    fn fetch(&self, ask: Ask) -> FetchFuture<'_> {
        let found = match ask.url.as_str() {
            "https://id.example.com/realm/.well-known/openid-configuration" => {
                self.asked.fetch_add(1, Ordering::SeqCst);
                if let Some(clock) = &*self.slow.lock().unwrap() {
                    clock.advance(Duration::from_mins(1));
                }
                self.configuration.lock().unwrap().clone()
            }
            KEYS => self.keys.lock().unwrap().clone(),
            other => panic!("asked for {other}"),
        };
        Box::pin(async move {
            let body = found.ok_or(Unanswered)?.to_string().into_bytes();
            Ok(Told { status: 200, body })
        })
    }
}

/// A key pair and its name.
struct Pair {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Pair {
    fn new(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid, pair }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()))
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "kid": self.kid, "typ": "JWT" })
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

struct Fixture {
    site: Site,
    clock: Arc<ManualClock>,
    issuer: Issuer,
}

impl Fixture {
    fn new(keys: &[Value]) -> Self {
        let site = Site::default();
        let clock = Arc::new(ManualClock::at(UNIX_EPOCH + Duration::from_secs(NOW)));
        let url: HttpsUrl = URL.parse().unwrap();
        let issuer = Issuer::new(
            url,
            Arc::new(site.clone()),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        *site.configuration.lock().unwrap() = Some(json!({ "issuer": URL, "jwks_uri": KEYS }));
        let fixture = Self {
            site,
            clock,
            issuer,
        };
        fixture.publish(keys);
        fixture
    }

    fn publish(&self, keys: &[Value]) {
        *self.site.keys.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn goes_down(&self) {
        *self.site.keys.lock().unwrap() = None;
        *self.site.configuration.lock().unwrap() = None;
    }

    async fn verify(&self, token: &str) -> Result<IdToken, Error> {
        self.issuer.verify(token, Audience::OfRules).await
    }

    async fn fault(&self, token: &str) -> IdTokenFault {
        match self.verify(token).await {
            Err(Error::IdToken(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }
}

/// What a good token says.
fn claims() -> Value {
    json!({ "iss": URL, "sub": "repo:acme/app:ref:refs/heads/main", "aud": "portolan",
        "iat": NOW, "nbf": NOW, "exp": NOW + 300 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[tokio::test]
async fn a_good_token_says_who_it_is_of() {
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    let token = fixture.verify(&key.token(&claims())).await.unwrap();
    assert_eq!(token.subject(), "repo:acme/app:ref:refs/heads/main");
    // Numbers of time may have fractions, audiences may be several.
    let odd = with("exp", json!(300.5 + 1_000_000.0));
    assert!(fixture.verify(&key.token(&odd)).await.is_ok());
    let several = with("aud", json!(["x", "portolan"]));
    assert!(fixture.verify(&key.token(&several)).await.is_ok());
    assert_eq!(fixture.site.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn no_algorithm_but_the_keys_own_and_no_key_but_the_issuers() {
    let (key, foreign) = (Pair::new("a"), Pair::new("a"));
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let parts = PublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    let modulus = URL_SAFE_NO_PAD.encode(&parts.n);
    let rsa_jwk = json!({ "kty": "RSA", "kid": "r", "n": modulus, "e": "AQAB" });
    let fixture = Fixture::new(&[key.jwk(), rsa_jwk]);

    let claims = claims();
    let mut header = key.header();
    for alg in ["none", "None", "nOnE", ""] {
        header["alg"] = json!(alg);
        let bare = format!("{}.", message(&header, &claims));
        assert_eq!(fixture.fault(&bare).await, IdTokenFault::Malformed);
        let signed = key.sign(&header, &claims);
        assert_eq!(fixture.fault(&signed).await, IdTokenFault::Malformed);
    }
    // A public key is public: as the secret of an HMAC it must open nothing.
    let der = rsa.public_key().as_der().unwrap();
    let secrets: [&[u8]; 3] = [
        key.pair.public_key().as_ref(),
        der.as_ref(),
        modulus.as_bytes(),
    ];
    for (kid, secret) in ["a", "r", "r"].into_iter().zip(secrets) {
        let message = message(&json!({ "alg": "HS256", "kid": kid }), &claims);
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let signature = aws_lc_rs::hmac::sign(&hmac, message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(fixture.fault(&token).await, IdTokenFault::WrongAlgorithm);
    }
    // Another algorithm than the key's, and a key that the token brings along.
    header["alg"] = json!("RS256");
    let signed = key.sign(&header, &claims);
    assert_eq!(fixture.fault(&signed).await, IdTokenFault::UnknownKey);
    let mut brought = foreign.header();
    brought["jwk"] = foreign.jwk();
    brought["jku"] = json!("https://evil.example/keys");
    for header in [foreign.header(), brought] {
        let token = foreign.sign(&header, &claims);
        assert_eq!(fixture.fault(&token).await, IdTokenFault::WrongSignature);
    }
    let mut unknown = key.header();
    unknown["kid"] = json!("other");
    let token = key.sign(&unknown, &claims);
    assert_eq!(fixture.fault(&token).await, IdTokenFault::UnknownKey);

    // RSA by its own algorithm is good.
    let message = message(&json!({ "alg": "RS256", "kid": "r" }), &claims);
    let mut signature = vec![0; rsa.public_modulus_len()];
    let random = SystemRandom::new();
    rsa.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert!(fixture.verify(&token).await.is_ok());
}

#[tokio::test]
async fn what_a_token_must_say_is_checked() {
    use IdTokenFault as Fault;
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    for (claims, expected) in [
        (
            with("iss", json!("https://evil.example")),
            Fault::WrongIssuer,
        ),
        (with("iss", json!(format!("{URL}/"))), Fault::WrongIssuer),
        (with("exp", json!(NOW - 60)), Fault::Expired),
        (with("nbf", json!(NOW + 61)), Fault::NotYetValid),
        (with("iat", json!(NOW + 61)), Fault::NotYetValid),
        (without("exp"), Fault::ClaimMissing("exp")),
        (without("sub"), Fault::ClaimMissing("sub")),
        (without("iss"), Fault::ClaimMissing("iss")),
        (without("aud"), Fault::ClaimMissing("aud")),
        (with("sub", json!("")), Fault::ClaimMissing("sub")),
        (with("sub", json!(7)), Fault::ClaimMissing("sub")),
        (with("aud", json!([7])), Fault::ClaimMissing("aud")),
        (with("exp", json!("soon")), Fault::ClaimMissing("exp")),
        (with("exp", json!(-1)), Fault::ClaimMissing("exp")),
        (with("exp", json!(1e300)), Fault::ClaimMissing("exp")),
    ] {
        assert_eq!(
            fixture.fault(&key.token(&claims)).await,
            expected,
            "{claims}"
        );
    }
    // A minute's difference between clocks is allowed for.
    assert!(
        fixture
            .verify(&key.token(&with("exp", json!(NOW - 59))))
            .await
            .is_ok()
    );
    let mut header = key.header();
    header["crit"] = json!(["b64"]);
    let token = key.sign(&header, &claims());
    assert_eq!(fixture.fault(&token).await, Fault::Malformed);
    let mut header = key.header();
    header["typ"] = json!("at+jwt");
    let token = key.sign(&header, &claims());
    assert_eq!(fixture.fault(&token).await, Fault::WrongType);
    let access = key.token(&with("typ", json!("Bearer")));
    assert_eq!(fixture.fault(&access).await, Fault::WrongType);
    assert!(
        fixture
            .verify(&key.token(&with("typ", json!("ID"))))
            .await
            .is_ok()
    );
    let long = key.token(&with("x", json!("x".repeat(40_000))));
    assert_eq!(fixture.fault(&long).await, Fault::TooLong);
    for nonsense in [
        "",
        ".",
        "a.b",
        "a.b.c",
        "eyJ.eyJ.eyJ",
        "\u{e9}.\u{e9}.\u{e9}",
    ] {
        assert_eq!(
            fixture.fault(nonsense).await,
            Fault::Malformed,
            "{nonsense}"
        );
    }
}

#[tokio::test]
async fn a_persons_token_must_be_made_for_us() {
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    let clients = ["portolan".to_owned(), "cli".to_owned()];
    let judged = async |claims: &Value| {
        let token = key.token(claims);
        let verified = fixture.issuer.verify(&token, Audience::Clients(&clients));
        match verified.await {
            Ok(_) => None,
            Err(Error::IdToken(fault)) => Some(fault),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(judged(&claims()).await, None);
    let elsewhere = with("aud", json!("grafana"));
    assert_eq!(judged(&elsewhere).await, Some(IdTokenFault::WrongAudience));
    let mut several = with("aud", json!(["portolan", "grafana"]));
    assert_eq!(judged(&several).await, Some(IdTokenFault::WrongParty));
    several["azp"] = json!("grafana");
    assert_eq!(judged(&several).await, Some(IdTokenFault::WrongParty));
    several["azp"] = json!("cli");
    assert_eq!(judged(&several).await, None);
    let timeless = without("iat");
    let fault = judged(&timeless).await;
    assert_eq!(fault, Some(IdTokenFault::ClaimMissing("iat")));
    let token = fixture
        .verify(&key.token(&with("nonce", json!("n"))))
        .await
        .unwrap();
    assert!(token.answers("n").is_ok());
    assert!(token.answers("m").is_err());
    assert!(
        fixture
            .verify(&key.token(&claims()))
            .await
            .unwrap()
            .answers("")
            .is_err()
    );
}

#[tokio::test]
async fn a_new_key_is_found_and_an_invented_one_costs_one_look_in_five_seconds() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let fixture = Fixture::new(&[old.jwk()]);
    assert!(fixture.verify(&old.token(&claims())).await.is_ok());
    fixture.publish(&[new.jwk()]);
    for _ in 0..100 {
        let fault = fixture.fault(&new.token(&claims())).await;
        assert_eq!(fault, IdTokenFault::UnknownKey);
    }
    assert_eq!(fixture.site.asked.load(Ordering::SeqCst), 1);
    fixture.clock.advance(LOOKUP_INTERVAL);
    assert!(fixture.verify(&new.token(&claims())).await.is_ok());
    assert_eq!(fixture.site.asked.load(Ordering::SeqCst), 2);
    // The old one was taken back.
    let fault = fixture.fault(&old.token(&claims())).await;
    assert_eq!(fault, IdTokenFault::UnknownKey);
}

#[tokio::test]
async fn a_key_taken_back_stops_working_when_the_copy_is_old() {
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    let forever = key.token(&with("exp", json!(NOW + 1_000_000)));
    assert!(fixture.verify(&forever).await.is_ok());
    fixture.publish(&[]);
    assert!(fixture.verify(&forever).await.is_ok());
    fixture.clock.advance(AGE_MAX);
    assert_eq!(fixture.fault(&forever).await, IdTokenFault::UnknownKey);
}

#[tokio::test]
async fn known_keys_outlive_their_issuer_for_a_day() {
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    let forever = key.token(&with("exp", json!(NOW + 1_000_000)));
    assert!(fixture.verify(&forever).await.is_ok());
    fixture.goes_down();
    fixture.clock.advance(AGE_MAX);
    assert!(fixture.verify(&forever).await.is_ok());
    fixture.clock.advance(STALE_MAX);
    let lost = fixture.verify(&forever).await;
    assert!(matches!(lost, Err(Error::IssuerUnreachable(_))), "{lost:?}");
}

#[tokio::test]
async fn an_issuer_that_was_never_there_is_asked_once_in_five_seconds() {
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    fixture.goes_down();
    for _ in 0..10 {
        let lost = fixture.verify(&key.token(&claims())).await;
        assert!(matches!(lost, Err(Error::IssuerUnreachable(_))), "{lost:?}");
    }
    assert_eq!(fixture.site.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn those_who_waited_for_a_slow_issuer_do_not_each_ask_it_again() {
    let (key, invented) = (Pair::new("a"), Pair::new("invented"));
    let fixture = Fixture::new(&[key.jwk()]);
    let forever = with("exp", json!(NOW + 1_000_000));
    assert!(fixture.verify(&key.token(&forever)).await.is_ok());
    fixture.clock.advance(LOOKUP_INTERVAL);
    *fixture.site.slow.lock().unwrap() = Some(Arc::clone(&fixture.clock));
    for _ in 0..10 {
        let fault = fixture.fault(&invented.token(&forever)).await;
        assert_eq!(fault, IdTokenFault::UnknownKey);
    }
    assert_eq!(fixture.site.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_configuration_that_speaks_for_another_is_not_believed() {
    let key = Pair::new("a");
    for configuration in [
        json!({ "issuer": "https://other.example", "jwks_uri": KEYS }),
        json!({ "issuer": URL, "jwks_uri": "http://id.example.com/keys" }),
        json!({ "issuer": URL, "jwks_uri": "file:///etc/passwd" }),
        json!({ "issuer": URL, "jwks_uri": KEYS, "token_endpoint": "http://10.0.0.1/" }),
        json!({ "issuer": URL }),
        json!([]),
    ] {
        let fixture = Fixture::new(&[key.jwk()]);
        *fixture.site.configuration.lock().unwrap() = Some(configuration.clone());
        let refused = fixture.verify(&key.token(&claims())).await;
        let broken = matches!(refused, Err(Error::IssuerBroken { .. }));
        assert!(broken, "{configuration}: {refused:?}");
    }
}

type Change = fn(&mut FederationRule);
type Expected = fn(&RuleMiss) -> bool;

#[tokio::test]
async fn every_condition_of_a_rule_must_be_met() {
    let key = Pair::new("a");
    let fixture = Fixture::new(&[key.jwk()]);
    let mut claims = claims();
    claims["ref_protected"] = json!(true);
    claims["groups"] = json!(["a", "deployers"]);
    claims["nested"] = json!({ "name": "x" });
    let token = fixture.verify(&key.token(&claims)).await.unwrap();
    let rule = FederationRule {
        issuer: URL.to_owned(),
        audience: "portolan".to_owned(),
        subject: "repo:acme/*:ref:refs/heads/main".parse().unwrap(),
        claims: [
            ("ref_protected", "true"),
            ("groups", "deploy*"),
            ("nested.name", "x"),
        ]
        .map(|(name, pattern)| (name.to_owned(), pattern.parse().unwrap()))
        .into(),
    };
    assert_eq!(rule.judge(&token), Ok(()));
    let changes: [(Change, Expected); 5] = [
        (
            |rule| rule.issuer = "https://other.example".to_owned(),
            |miss| matches!(miss, RuleMiss::Issuer { .. }),
        ),
        (
            |rule| rule.audience = "other".to_owned(),
            |miss| matches!(miss, RuleMiss::Audience { .. }),
        ),
        (
            |rule| rule.subject = "repo:other/*".parse().unwrap(),
            |miss| matches!(miss, RuleMiss::Subject { .. }),
        ),
        (
            |rule| {
                rule.claims
                    .insert("groups".to_owned(), "admins".parse().unwrap());
            },
            |miss| matches!(miss, RuleMiss::Claim { .. }),
        ),
        (
            |rule| {
                rule.claims
                    .insert("nested".to_owned(), "x".parse().unwrap());
            },
            |miss| matches!(miss, RuleMiss::ClaimMissing { .. }),
        ),
    ];
    for (change, expected) in changes {
        let mut rule = rule.clone();
        change(&mut rule);
        let miss = rule.judge(&token).unwrap_err();
        assert!(expected(&miss), "{miss}");
    }
}
