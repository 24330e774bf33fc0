//! An issuer of the test's own, which does what it is told: any token, any keys, or nothing.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_auth::{Clock as _, SystemClock};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

/// A key pair with a name.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: String,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(super) fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self {
            kid: kid.to_owned(),
            pair: pair.expect("a key"),
        }
    }

    /// The point that is public.
    pub(super) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        let point = self.public();
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) })
    }

    /// A token that says `claims`.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": "ES256", "kid": self.kid }), claims)
    }

    /// The same with another header.
    pub(super) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What is signed.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemClock.now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[derive(Debug, Default)]
struct State {
    keys: Vec<Value>,
    /// What the token endpoint answers.
    id_token: Option<String>,
    /// What it was last asked.
    form: String,
    user_info: Option<Value>,
    down: bool,
    /// Requests for keys.
    looks: u32,
}

/// A running issuer with one key.
#[derive(Debug)]
pub(super) struct TestIssuer {
    pub(super) key: Key,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TestIssuer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State::default()));
        let ends = Arc::new(AtomicBool::new(false));
        let key = Key::new("first");
        let thread = std::thread::spawn({
            let (state, ends) = (Arc::clone(&state), Arc::clone(&ends));
            move || {
                for stream in listener.incoming().flatten() {
                    if ends.load(Ordering::SeqCst) {
                        return;
                    }
                    // A broken connection is the client's to notice.
                    let _ = answer(stream, address, &state);
                }
            }
        });
        let issuer = Self {
            key,
            address,
            state,
            ends,
            thread: Some(thread),
        };
        issuer.publish(&[&issuer.key]);
        issuer
    }

    /// Its name.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its keys from now on.
    pub(super) fn publish(&self, keys: &[&Key]) {
        self.set(|state| state.keys = keys.iter().map(|key| key.jwk()).collect());
    }

    /// From now on every connection is closed without an answer.
    pub(super) fn goes_down(&self) {
        self.set(|state| state.down = true);
    }

    /// Every code is good for this token.
    pub(super) fn redeems(&self, id_token: &str) {
        self.set(|state| state.id_token = Some(id_token.to_owned()));
    }

    /// What it says of whoever has logged in.
    pub(super) fn user_info(&self, claims: Value) {
        self.set(|state| state.user_info = Some(claims));
    }

    /// The form that its token endpoint was last sent.
    pub(super) fn form(&self) -> String {
        self.state.lock().expect("no panic").form.clone()
    }

    /// How often its keys were asked for.
    pub(super) fn looks(&self) -> u32 {
        self.state.lock().expect("no panic").looks
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no panic"));
    }

    /// What a good token of `subject` for `audience` says.
    pub(super) fn claims(&self, subject: &str, audience: &str) -> Value {
        let now = now();
        json!({ "iss": self.url(), "sub": subject, "aud": audience, "iat": now, "nbf": now, "exp": now + 300 })
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut state = state.lock().expect("no panic");
    if state.down {
        return Ok(());
    }
    let url = format!("http://{address}");
    let path = line.split(' ').nth(1).unwrap_or_default();
    let found = match path {
        "/.well-known/openid-configuration" => Some(json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"), "authorization_endpoint": format!("{url}/auth"),
            "token_endpoint": format!("{url}/token"), "userinfo_endpoint": format!("{url}/userinfo"),
        })),
        "/keys" => {
            state.looks += 1;
            Some(json!({ "keys": state.keys }))
        }
        "/token" => {
            state.form = String::from_utf8_lossy(&body).into_owned();
            let token = state.id_token.as_ref();
            token.map(|token| json!({ "id_token": token, "access_token": "opaque", "token_type": "Bearer" }))
        }
        "/userinfo" => state.user_info.clone(),
        _ => None,
    };
    let (status, body) = match found {
        Some(body) => ("200 OK", body.to_string()),
        None => (
            "400 Bad Request",
            json!({ "error": "invalid_grant" }).to_string(),
        ),
    };
    let length = body.len();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
