//! Tokens that have been changed, a little or beyond recognition.

use crate::fuzz::check;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_auth::{
    Actions, Clock, Grant, KeySource, Keyring, KeysFuture, LIFETIME, ManualClock, Method, SealKey,
    SigningKey, StoredKey, TokenHolder, TokenRequest, TokenSigner, TokenVerifier,
};
use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret as _, SecretBox};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Runtime};

#[derive(Debug)]
struct OneKey(StoredKey);

impl KeySource for OneKey {
    fn load(&self) -> KeysFuture<'_> {
        Box::pin(async { Ok(vec![self.0.clone()]) })
    }
}

/// A verifier, and tokens that it takes.
struct Fixture {
    runtime: Runtime,
    verifier: TokenVerifier,
    tokens: Vec<String>,
}

impl Fixture {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut rng = StdRng::seed_from_u64(6);
        let seal = Arc::new(SealKey::from_bytes(&SecretBox::new(Box::new([2; 32]))).unwrap());
        let (key, sealed) = SigningKey::generate(&seal, &mut rng).unwrap();
        let source = OneKey(StoredKey {
            id: key.id(),
            sealed,
            signs: true,
        });
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(
            SystemTime::UNIX_EPOCH + Duration::from_hours(24),
        ));
        let keyring = Arc::new(Keyring::new(seal, Box::new(source), Arc::clone(&clock)));
        let signer = TokenSigner::new(
            Arc::clone(&keyring),
            Arc::clone(&clock),
            "registry".into(),
            LIFETIME,
        );
        let verifier = TokenVerifier::new(keyring, clock, "registry".into());
        let grants = vec![
            Grant::Repository {
                name: "alice/app".parse().unwrap(),
                actions: Actions::PULL,
            },
            Grant::Catalog,
        ];
        let holder = |method, credential| TokenHolder {
            account: 7,
            generation: 3,
            name: "alice".parse().unwrap(),
            method,
            credential,
        };
        let requests = [
            TokenRequest {
                holder: None,
                grants: Vec::new(),
            },
            TokenRequest {
                holder: Some(holder(Method::Password, None)),
                grants: grants.clone(),
            },
            TokenRequest {
                holder: Some(holder(Method::Application, Some(5))),
                grants,
            },
        ];
        let tokens = requests.map(|request| {
            let made = runtime.block_on(signer.sign(request, &mut rng)).unwrap();
            made.text.expose_secret().to_owned()
        });
        Self {
            runtime,
            verifier,
            tokens: tokens.into(),
        }
    }

    fn takes(&self, text: &str) -> bool {
        self.runtime.block_on(self.verifier.verify(text)).is_ok()
    }
}

/// One change to a text.
#[derive(Debug, Clone)]
enum Change {
    Replace(prop::sample::Index, char),
    Insert(prop::sample::Index, char),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Append(String),
    Swap(usize, usize),
    Member {
        part: usize,
        name: &'static str,
        value: Value,
    },
}

fn letter() -> impl Strategy<Value = char> {
    prop_oneof![
        prop::char::range('A', 'Z'),
        prop::char::range('a', 'z'),
        prop::char::range('0', '9'),
        Just('-'),
        Just('_'),
        Just('.'),
        Just('='),
        any::<char>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("none")),
        Just(json!("HS256")),
        Just(json!([])),
        Just(
            json!([{ "type": "repository", "name": "bob/app", "actions": ["pull", "push", "delete"] }])
        ),
        Just(json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" })),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let names = prop::sample::select(vec![
        "alg", "typ", "kid", "jwk", "jku", "x5u", "x5c", "crit", "cty", "iss", "aud", "sub", "uid",
        "gen", "via", "cid", "iat", "nbf", "exp", "jti", "access", "other",
    ]);
    prop_oneof![
        (any::<prop::sample::Index>(), letter())
            .prop_map(|(at, letter)| Change::Replace(at, letter)),
        (any::<prop::sample::Index>(), letter())
            .prop_map(|(at, letter)| Change::Insert(at, letter)),
        any::<prop::sample::Index>().prop_map(Change::Remove),
        any::<prop::sample::Index>().prop_map(Change::Cut),
        "[A-Za-z0-9_.=-]{1,8}".prop_map(Change::Append),
        (0..3_usize, 0..3_usize).prop_map(|(one, other)| Change::Swap(one, other)),
        (0..2_usize, names, value()).prop_map(|(part, name, value)| Change::Member {
            part,
            name,
            value
        }),
    ]
}

impl Change {
    fn apply(&self, text: &str) -> String {
        let mut letters: Vec<char> = text.chars().collect();
        let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        match self {
            Self::Replace(at, letter) if !letters.is_empty() => {
                letters[at.index(text.chars().count())] = *letter;
            }
            Self::Remove(at) if !letters.is_empty() => {
                letters.remove(at.index(text.chars().count()));
            }
            Self::Insert(at, letter) => letters.insert(at.index(letters.len() + 1), *letter),
            Self::Cut(at) => letters.truncate(at.index(letters.len() + 1)),
            Self::Append(more) => letters.extend(more.chars()),
            Self::Swap(one, other) if parts.len() == 3 => {
                parts.swap(*one, *other);
                return parts.join(".");
            }
            Self::Member { part, name, value } => {
                let Some(decoded) = parts
                    .get(*part)
                    .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
                else {
                    return text.to_owned();
                };
                let Ok(Value::Object(mut members)) = serde_json::from_slice(&decoded) else {
                    return text.to_owned();
                };
                members.insert((*name).to_owned(), value.clone());
                parts[*part] = URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
                return parts.join(".");
            }
            Self::Replace(..) | Self::Remove(_) | Self::Swap(..) => {}
        }
        letters.into_iter().collect()
    }
}

#[test]
fn a_token_that_was_changed_is_never_taken() {
    let fixture = Fixture::new();
    for token in &fixture.tokens {
        assert!(fixture.takes(token));
    }
    check(
        &(0..fixture.tokens.len(), vec(change(), 1..5)),
        |(place, changes)| {
            let good = &fixture.tokens[place];
            let changed = changes
                .iter()
                .fold(good.clone(), |text, change| change.apply(&text));
            // Changes can undo each other, and two swaps make another token's order of nothing.
            if !fixture.tokens.contains(&changed) {
                assert!(!fixture.takes(&changed), "`{changed}` of `{good}`");
            }
        },
    );
    for token in &fixture.tokens {
        assert!(fixture.takes(token), "what was refused has spoilt nothing");
    }
}

#[test]
fn nothing_that_somebody_makes_up_is_a_token() {
    let fixture = Fixture::new();
    let header = r#"\{"alg":"(ES256|none|HS256|RS256)","typ":"JWT"(,"kid":"[0-9a-f]{0,20}")?\}"#;
    let claims = r#"\{("(iss|aud|sub)":"[a-z]{0,8}",){0,3}"exp":[0-9]{1,20}\}"#;
    let made_up =
        (header, claims, vec(any::<u8>(), 0..80)).prop_map(|(header, claims, signature)| {
            [header.as_bytes(), claims.as_bytes(), &signature]
                .map(|part| URL_SAFE_NO_PAD.encode(part))
                .join(".")
        });
    check(
        &prop_oneof![
            made_up,
            "\\PC{0,200}",
            "[A-Za-z0-9_-]{0,60}(\\.[A-Za-z0-9_-]{0,60}){0,4}"
        ],
        |text: String| {
            assert!(!fixture.takes(&text), "`{text}`");
        },
    );
}
