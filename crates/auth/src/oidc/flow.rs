//! The code flow: a person is sent to the provider and comes back with a code (OpenID Connect Core 1.0 section 3.1,
//! with PKCE, RFC 7636).

use super::fetch::{Ask, Shown, encoded, form};
use super::{HttpsUrl, Issuer};
use crate::Error;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Who we are at a provider.
#[derive(Debug, Clone)]
pub struct Client {
    /// The name it gave us.
    pub id: String,
    /// What proves it; `None` where it gave us none.
    pub secret: Option<SecretString>,
}

/// What belongs to one way to the provider and back, and is told to nobody but the browser that goes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Comes back with the code: whoever has another has not been sent by this browser.
    pub state: String,
    /// Comes back in the ID token: one that was made for another attempt is none.
    pub nonce: String,
    /// Whoever has only the code cannot redeem it.
    verifier: String,
}

impl Attempt {
    /// A new one.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self {
            state: random_text(rng),
            nonce: random_text(rng),
            verifier: random_text(rng),
        }
    }
}

/// 256 random bits, as 43 characters: the shortest verifier that RFC 7636 section 4.1 takes.
fn random_text(rng: &mut impl CryptoRng) -> String {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a code was good for.
#[derive(Debug)]
pub struct Redeemed {
    /// Who it is; not verified yet.
    pub id_token: SecretString,
    /// Lets ask for more about him.
    access_token: Option<SecretString>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    id_token: Option<SecretString>,
    access_token: Option<SecretString>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

/// The longest word of a provider that is repeated.
const WORD_MAX: usize = 64;

/// A provider's word for what was wrong, if it can stand in a log (RFC 6749 section 5.2).
pub fn error_word(text: &str) -> &str {
    let harmless = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if !text.is_empty() && text.len() <= WORD_MAX && text.bytes().all(harmless) {
        text
    } else {
        "an unreadable error"
    }
}

impl Issuer {
    /// Where to send a browser.
    pub async fn authorization_url(
        &self,
        client: &Client,
        scopes: &[String],
        redirect_uri: &str,
        attempt: &Attempt,
    ) -> Result<String, Error> {
        let endpoint = self.endpoints().await?.authorization;
        let endpoint = endpoint.ok_or_else(|| self.broken("nobody can log in there"))?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.verifier));
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", redirect_uri),
            ("scope", &scopes.join(" ")),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let separator = if endpoint.has_query() { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{query}"))
    }

    /// Fails where an answer with `named` as its issuer is not this one's (RFC 9207 section 2.4).
    pub async fn check_answer(&self, named: Option<&str>) -> Result<(), Error> {
        let own = match named {
            Some(named) => named == self.url().as_str(),
            None => !self.endpoints().await?.answers_name_issuer,
        };
        if own {
            Ok(())
        } else {
            Err(self.broken("the answer was another issuer's"))
        }
    }

    /// What `code` is good for.
    ///
    /// # Errors
    /// [`Error::CodeRefused`]: it is not, or not any more.
    pub async fn redeem(
        &self,
        client: &Client,
        code: &str,
        redirect_uri: &str,
        attempt: &Attempt,
    ) -> Result<Redeemed, Error> {
        let endpoints = self.endpoints().await?;
        let url = endpoints
            .token
            .ok_or_else(|| self.broken("it has no token endpoint"))?;
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", &attempt.verifier),
        ];
        let shown = match &client.secret {
            Some(secret) if !endpoints.secret_in_form => Shown::Basic {
                // RFC 6749 section 2.3.1: encoded as in a form first.
                name: encoded(&client.id),
                password: encoded(secret.expose_secret()).into(),
            },
            secret => {
                pairs.push(("client_id", &client.id));
                if let Some(secret) = secret {
                    pairs.push(("client_secret", secret.expose_secret()));
                }
                Shown::Nothing
            }
        };
        let form = Some(form(&pairs).into());
        let (status, body) = self.ask(Ask { url, shown, form }).await?;
        if status != 200 {
            let refusal: Option<Refusal> = serde_json::from_slice(&body).ok();
            let word = refusal.map_or_else(String::new, |refusal| refusal.error);
            return Err(Error::CodeRefused(error_word(&word).to_owned()));
        }
        let tokens: Tokens = serde_json::from_slice(&body)
            .map_err(|_| self.broken("its token endpoint answers with no tokens"))?;
        Ok(Redeemed {
            id_token: tokens.id_token.ok_or_else(|| {
                self.broken("it gives no ID token; is the scope `openid` asked for?")
            })?,
            access_token: tokens.access_token,
        })
    }

    /// What else the provider says of whoever has shown the code; `None` where it says nothing more.
    pub async fn user_info(
        &self,
        redeemed: &Redeemed,
    ) -> Result<Option<Map<String, Value>>, Error> {
        let url: Option<HttpsUrl> = self.endpoints().await?.user_info;
        let (Some(url), Some(token)) = (url, &redeemed.access_token) else {
            return Ok(None);
        };
        let ask = Ask {
            url,
            shown: Shown::Bearer(token.clone()),
            form: None,
        };
        let (status, body) = self.ask(ask).await?;
        let claims = serde_json::from_slice(&body).ok();
        match (status, claims) {
            (200, Some(claims)) => Ok(Some(claims)),
            _ => Err(self.broken("it does not say who has logged in")),
        }
    }
}
