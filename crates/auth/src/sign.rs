//! Making tokens.

use crate::token::{Claims, ISSUER, TokenRequest, seconds};
use crate::{Clock, Error, Keyring};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use rand::CryptoRng;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// `jti`, the token's own name: 96 random bits never meet twice within five minutes.
const TOKEN_ID_BYTES: usize = 12;

/// Signs tokens with the active key.
#[derive(Debug, Clone)]
pub struct TokenSigner {
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    service: Arc<str>,
    lifetime: Duration,
}

/// A finished token.
#[derive(Debug)]
pub struct SignedToken {
    /// The compact form.
    pub text: SecretString,
    /// How long it lives from now on.
    pub expires_in: Duration,
}

impl TokenSigner {
    /// A signer whose tokens are for `service` and live for `lifetime`, in whole seconds.
    pub fn new(
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        service: Arc<str>,
        lifetime: Duration,
    ) -> Self {
        Self {
            keyring,
            clock,
            service,
            lifetime,
        }
    }

    /// Makes the token. Reads the key table at most when the ring is old; dropping the future leaves nothing.
    pub async fn sign(
        &self,
        request: TokenRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<SignedToken, Error> {
        let key = self.keyring.active().await?;
        let now = seconds(self.clock.now());
        let mut id = [0; TOKEN_ID_BYTES];
        rng.fill_bytes(&mut id);
        let holder = request.holder.as_ref();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: self.service.to_string(),
            sub: holder.map(|holder| holder.name.to_string()),
            uid: holder.map(|holder| holder.account),
            r#gen: holder.map(|holder| holder.generation),
            via: holder.map(|holder| holder.method),
            cid: holder.and_then(|holder| holder.credential),
            iat: now,
            nbf: now,
            exp: now + self.lifetime.as_secs(),
            jti: URL_SAFE_NO_PAD.encode(id),
            access: request.grants,
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id().to_string());
        let text =
            jsonwebtoken::encode(&header, &claims, key.signing()).map_err(|_| Error::Crypto)?;
        Ok(SignedToken {
            text: text.into(),
            expires_in: self.lifetime,
        })
    }
}
