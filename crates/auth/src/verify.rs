//! Checking tokens.
//!
//! The header is believed in one thing only, the name of the key, and that must be one of ours: the
//! algorithm comes from the key, and `jwk`, `jku`, `x5u` and `x5c` are never looked at (CVE-2025-24976: a
//! registry that took the attacker's own key from the header). A signature check costs 60 to 100 µs, so
//! verified tokens are remembered; what depends on time or on the key table is checked again every time.

use crate::token::{Claims, ISSUER, LEEWAY, LIFETIME, TOKEN_BYTES_MAX, Token, TokenHolder};
use crate::{Clock, Error, KeyId, Keyring, SigningKey, TokenFault};
use jsonwebtoken::{Algorithm, Validation};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Room for verified tokens, in bytes of token text: some 10,000 clients' tokens of 640 bytes, in a process
/// that should stay under 64 MiB.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// By then a token of the usual length has ended; one that lives longer is verified once more.
const REMEMBERED_FOR: Duration = Duration::from_secs(LIFETIME.as_secs() + LEEWAY.as_secs());

/// What an entry costs beside its text's length: key, claims and the cache's own bookkeeping.
const ENTRY_OVERHEAD: u32 = 256;

/// Verifies tokens, and remembers those it has verified.
#[derive(Debug, Clone)]
pub struct TokenVerifier {
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    service: Arc<str>,
    /// By the SHA-256 of the whole text. Only verified tokens enter, so nobody can fill it with inventions.
    verified: Cache<[u8; 32], Arc<Verified>>,
}

#[derive(Debug)]
struct Verified {
    token: Arc<Token>,
    key: KeyId,
    text_len: usize,
}

impl TokenVerifier {
    /// A verifier for tokens made for `service`.
    pub fn new(keyring: Arc<Keyring>, clock: Arc<dyn Clock>, service: Arc<str>) -> Self {
        let verified = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|_, entry: &Arc<Verified>| {
                u32::try_from(entry.text_len)
                    .unwrap_or(u32::MAX)
                    .saturating_add(ENTRY_OVERHEAD)
            })
            .time_to_live(REMEMBERED_FOR)
            .build();
        Self {
            keyring,
            clock,
            service,
            verified,
        }
    }

    /// Verifies the compact form `text`.
    ///
    /// # Errors
    /// [`Error::Token`] if the token is no good; other errors say nothing about the token.
    pub async fn verify(&self, text: &str) -> Result<Arc<Token>, Error> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::TooLong.into());
        }
        let name: [u8; 32] = Sha256::digest(text).into();
        if let Some(entry) = self.verified.get(&name)
            && self.keyring.knows(entry.key)
        {
            self.check_time(&entry.token)?;
            return Ok(Arc::clone(&entry.token));
        }
        let (token, key) = self.verify_signature(text).await?;
        self.check_time(&token)?;
        // The cache may decline the entry; the result goes back by hand, not through it.
        let entry = Verified {
            token: Arc::clone(&token),
            key,
            text_len: text.len(),
        };
        self.verified.insert(name, Arc::new(entry));
        Ok(token)
    }

    async fn verify_signature(&self, text: &str) -> Result<(Arc<Token>, KeyId), Error> {
        let header = jsonwebtoken::decode_header(text).map_err(|_| TokenFault::Malformed)?;
        let id: KeyId = header
            .kid
            .as_deref()
            .and_then(|kid| kid.parse().ok())
            .ok_or(TokenFault::KeyIdMalformed)?;
        // RFC 7515 section 4.1.11: what is critical and not understood must be refused.
        if header.crit.is_some() {
            return Err(TokenFault::Malformed.into());
        }
        let key = self.keyring.find(id).await?;
        let claims = signed_claims(text, &key)?;
        Ok((Arc::new(self.read(claims)?), id))
    }

    fn read(&self, claims: Claims) -> Result<Token, TokenFault> {
        if claims.iss != ISSUER {
            return Err(TokenFault::WrongIssuer);
        }
        if claims.aud != *self.service {
            return Err(TokenFault::WrongAudience);
        }
        let holder = match (claims.uid, claims.r#gen, claims.sub, claims.via) {
            (None, None, None, None) if claims.cid.is_none() => None,
            (Some(account), Some(generation), Some(name), Some(method)) => Some(TokenHolder {
                account,
                generation,
                name: name.parse().map_err(|_| TokenFault::Malformed)?,
                method,
                credential: claims.cid,
            }),
            _ => return Err(TokenFault::Malformed),
        };
        Ok(Token {
            holder,
            grants: claims.access.into(),
            expires_at: moment(claims.exp)?,
            valid_from: moment(claims.nbf)?,
        })
    }

    fn check_time(&self, token: &Token) -> Result<(), TokenFault> {
        let now = self.clock.now();
        if now >= token.expires_at + LEEWAY {
            return Err(TokenFault::Expired);
        }
        if now + LEEWAY < token.valid_from {
            return Err(TokenFault::NotYetValid);
        }
        Ok(())
    }
}

/// The claims, if `key` has signed them. Time, audience and issuer are checked by the caller: the library
/// would read the machine's clock.
fn signed_claims(text: &str, key: &SigningKey) -> Result<Claims, TokenFault> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    match jsonwebtoken::decode::<Claims>(text, key.verifying(), &validation) {
        Ok(decoded) => Ok(decoded.claims),
        Err(cause) => Err(match cause.kind() {
            ErrorKind::InvalidAlgorithm => TokenFault::WrongAlgorithm,
            ErrorKind::InvalidSignature => TokenFault::WrongSignature,
            _ => TokenFault::Malformed,
        }),
    }
}

/// The end of time for a claim: years that no sum with the leeway overflows.
const SECONDS_MAX: u64 = 1 << 40;

fn moment(seconds: u64) -> Result<SystemTime, TokenFault> {
    if seconds > SECONDS_MAX {
        return Err(TokenFault::Malformed);
    }
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
