//! What tokens and passwords cost: `cargo bench -p portolan-auth`.
//!
//! One thread, the best of five runs of each, in microseconds. As lines of a Markdown table.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program of its own, which prints figures or ends"
)]

use portolan_auth::{
    Actions, Clock, Grant, KeySource, Keyring, KeysFuture, LIFETIME, ManualClock, Method,
    PasswordLimits, Passwords, SealKey, SigningKey, StoredKey, TokenHolder, TokenRequest,
    TokenSigner, TokenVerifier,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const RUNS: usize = 5;
const TOKENS: u32 = 2_000;

#[derive(Debug)]
struct OneKey(StoredKey);

impl KeySource for OneKey {
    fn load(&self) -> KeysFuture<'_> {
        Box::pin(async { Ok(vec![self.0.clone()]) })
    }
}

struct Parts {
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    rng: StdRng,
}

impl Parts {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let seal = Arc::new(SealKey::from_bytes(&SecretBox::new(Box::new([1; 32]))).unwrap());
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
        Self {
            keyring,
            clock,
            rng,
        }
    }

    fn signer(&self) -> TokenSigner {
        let (keyring, clock) = (Arc::clone(&self.keyring), Arc::clone(&self.clock));
        TokenSigner::new(keyring, clock, "portolan".into(), LIFETIME)
    }

    /// One that has verified nothing yet.
    fn verifier(&self) -> TokenVerifier {
        let (keyring, clock) = (Arc::clone(&self.keyring), Arc::clone(&self.clock));
        TokenVerifier::new(keyring, clock, "portolan".into())
    }
}

fn request() -> TokenRequest {
    TokenRequest {
        holder: Some(TokenHolder {
            account: 7,
            generation: 3,
            name: "acme+deploy".parse().unwrap(),
            method: Method::Robot,
            credential: None,
        }),
        grants: vec![Grant::Repository {
            name: "acme/app".parse().unwrap(),
            actions: Actions::PULL_PUSH,
        }],
    }
}

/// Prints the least time of `times` for one of `count`.
fn line(what: &str, count: u32, times: &[Duration]) {
    let least = times.iter().min().unwrap().as_secs_f64() * 1e6 / f64::from(count);
    println!("| {what} | {least:.1} |");
}

/// Verifies every token once.
async fn verify_all(verifier: &TokenVerifier, tokens: &[String]) -> Duration {
    let begun = Instant::now();
    for token in tokens {
        black_box(verifier.verify(token).await.unwrap());
    }
    begun.elapsed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("| what | microseconds |");
    println!("|---|---|");
    let mut parts = Parts::new();
    let signer = parts.signer();
    let mut signing = Vec::new();
    let mut tokens = Vec::new();
    for _ in 0..RUNS {
        tokens.clear();
        let begun = Instant::now();
        for _ in 0..TOKENS {
            let made = signer.sign(request(), &mut parts.rng).await.unwrap();
            tokens.push(made.text.expose_secret().to_owned());
        }
        signing.push(begun.elapsed());
    }
    line("a token made and signed", TOKENS, &signing);

    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let verifier = parts.verifier();
        first.push(verify_all(&verifier, &tokens).await);
        again.push(verify_all(&verifier, &tokens).await);
    }
    line("a token verified for the first time", TOKENS, &first);
    line("a token verified again", TOKENS, &again);

    passwords(&mut parts.rng).await;
}

async fn passwords(rng: &mut StdRng) {
    const WRONG: u32 = 20;
    const RIGHT: u32 = 2_000;
    let passwords = Passwords::new(PasswordLimits::default(), rng).unwrap();
    let right = SecretString::from("correct horse battery staple");
    let stored = passwords.hash(right.clone(), rng).await.unwrap();
    let (mut wrong_times, mut right_times) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let begun = Instant::now();
        for number in 0..WRONG {
            let wrong = SecretString::from(format!("wrong {run} {number}"));
            assert!(!passwords.verify(wrong, Some(stored.clone())).await.unwrap());
        }
        wrong_times.push(begun.elapsed());
        assert!(
            passwords
                .verify(right.clone(), Some(stored.clone()))
                .await
                .unwrap()
        );
        let begun = Instant::now();
        for _ in 0..RIGHT {
            black_box(
                passwords
                    .verify(right.clone(), Some(stored.clone()))
                    .await
                    .unwrap(),
            );
        }
        right_times.push(begun.elapsed());
    }
    line("a wrong password (argon2id, 19 MiB)", WRONG, &wrong_times);
    line(
        "a right password that was right before",
        RIGHT,
        &right_times,
    );
}
