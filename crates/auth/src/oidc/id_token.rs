//! What an ID token says, and whether it is good (OpenID Connect Core 1.0 sections 2 and 3.1.3.7).

use super::keys::IssuerKey;
use crate::IdTokenFault;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far two clocks may differ.
const LEEWAY: Duration = Duration::from_mins(1);

/// The longest token that is looked at: those with hundreds of groups have some KiB.
const BYTES_MAX: usize = 32 * 1024;

/// The longest subject (OpenID Connect Core 1.0 section 2 has 255; those of CI systems are longer), in bytes.
const SUBJECT_MAX: usize = 1024;

/// The end of time for a claim: years that no sum with the leeway overflows.
const SECONDS_MAX: f64 = 1e12;

/// For whom a token must have been made.
#[derive(Debug, Clone, Copy)]
pub enum Audience<'a> {
    /// For one of these clients, and asked for by one of them: a person's.
    Clients(&'a [String]),
    /// That is for rules to say: a machine's.
    OfRules,
}

/// A token of a known issuer, with a good signature, within its time.
#[derive(Debug, Clone)]
pub struct IdToken {
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    claims: Map<String, Value>,
}

/// Whether a password is meant as such a token: three parts, of which the first is an object of JSON.
pub fn looks_like_id_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Who a token says it is of, before anything is known to be true: tells which keys to look at.
pub fn unverified_issuer(text: &str) -> Option<String> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(text).ok()?;
    Some(claims.get("iss")?.as_str()?.to_owned())
}

/// The header of a token, if a key may be looked for by it.
pub(super) fn header(text: &str) -> Result<Header, IdTokenFault> {
    if text.len() > BYTES_MAX {
        return Err(IdTokenFault::TooLong);
    }
    // `none`, and what nobody has heard of, are no algorithms to the library.
    let header = jsonwebtoken::decode_header(text).map_err(|_| IdTokenFault::Malformed)?;
    if matches!(
        header.alg,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    ) {
        return Err(IdTokenFault::WrongAlgorithm);
    }
    // RFC 7515 section 4.1.11: what is critical and not understood must be refused.
    if header.crit.is_some() {
        return Err(IdTokenFault::Malformed);
    }
    // An access token or a logout token of the same issuer says so (RFC 9068 section 2.1).
    match header.typ.as_deref() {
        None => Ok(header),
        Some(kind) if kind.eq_ignore_ascii_case("jwt") => Ok(header),
        Some(_) => Err(IdTokenFault::WrongType),
    }
}

impl IdToken {
    /// The token, if `key` has signed it and it says what it must.
    pub(super) fn verify(
        text: &str,
        algorithm: Algorithm,
        key: &IssuerKey,
        issuer: &str,
        audience: Audience<'_>,
        now: SystemTime,
    ) -> Result<Self, IdTokenFault> {
        let claims = signed_claims(text, algorithm, key)?;
        // Keycloak says in a claim what a token is for, and in the header of all of them that they are JWTs.
        let other = ["Bearer", "DPoP", "Refresh", "Offline", "Logout"];
        let purpose = claims.get("typ").and_then(Value::as_str);
        if purpose.is_some_and(|purpose| other.contains(&purpose)) {
            return Err(IdTokenFault::WrongType);
        }
        let token = Self::read(claims)?;
        if token.issuer != issuer {
            return Err(IdTokenFault::WrongIssuer);
        }
        token.check_time(now, audience)?;
        if let Audience::Clients(clients) = audience {
            token.check_clients(clients)?;
        }
        Ok(token)
    }

    fn read(claims: Map<String, Value>) -> Result<Self, IdTokenFault> {
        let text = |name: &'static str| {
            let value = claims.get(name).and_then(Value::as_str);
            value
                .filter(|text| {
                    !text.is_empty() && text.len() <= SUBJECT_MAX && !text.contains('\0')
                })
                .map(str::to_owned)
                .ok_or(IdTokenFault::ClaimMissing(name))
        };
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => {
                let texts = several.iter().map(|one| one.as_str().map(str::to_owned));
                texts
                    .collect::<Option<_>>()
                    .ok_or(IdTokenFault::ClaimMissing("aud"))?
            }
            _ => return Err(IdTokenFault::ClaimMissing("aud")),
        };
        Ok(Self {
            issuer: text("iss")?,
            subject: text("sub")?,
            audiences,
            claims,
        })
    }

    fn check_time(&self, now: SystemTime, audience: Audience<'_>) -> Result<(), IdTokenFault> {
        let expires = self
            .moment("exp")?
            .ok_or(IdTokenFault::ClaimMissing("exp"))?;
        if now >= expires + LEEWAY {
            return Err(IdTokenFault::Expired);
        }
        let issued = self.moment("iat")?;
        if issued.is_none() && matches!(audience, Audience::Clients(_)) {
            return Err(IdTokenFault::ClaimMissing("iat"));
        }
        let from = [issued, self.moment("nbf")?];
        if from.into_iter().flatten().any(|from| now + LEEWAY < from) {
            return Err(IdTokenFault::NotYetValid);
        }
        Ok(())
    }

    /// `azp` tells for whom a token was made; where there are several audiences it must be there.
    fn check_clients(&self, clients: &[String]) -> Result<(), IdTokenFault> {
        if !self.audiences.iter().any(|one| clients.contains(one)) {
            return Err(IdTokenFault::WrongAudience);
        }
        match self.claims.get("azp") {
            None if self.audiences.len() == 1 => Ok(()),
            Some(Value::String(party)) if clients.contains(party) => Ok(()),
            _ => Err(IdTokenFault::WrongParty),
        }
    }

    /// A `NumericDate` (RFC 7519 section 2); `None` where there is no such claim.
    fn moment(&self, name: &'static str) -> Result<Option<SystemTime>, IdTokenFault> {
        let Some(value) = self.claims.get(name) else {
            return Ok(None);
        };
        let seconds = value
            .as_f64()
            .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
            .ok_or(IdTokenFault::ClaimMissing(name))?;
        Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
    }

    /// Fails unless it was made for the attempt with this `nonce`.
    pub fn answers(&self, nonce: &str) -> Result<(), IdTokenFault> {
        let shown = self.claims.get("nonce").and_then(Value::as_str);
        if shown == Some(nonce) {
            Ok(())
        } else {
            Err(IdTokenFault::WrongNonce)
        }
    }

    /// Takes over what another answer of the same provider says of the same person, where this one says nothing.
    ///
    /// # Errors
    /// It is about somebody else (OpenID Connect Core 1.0 section 5.3.2).
    pub fn complete(&mut self, more: Map<String, Value>) -> Result<(), IdTokenFault> {
        if more.get("sub").and_then(Value::as_str) != Some(&self.subject) {
            return Err(IdTokenFault::WrongSubject);
        }
        for (name, value) in more {
            self.claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// When it was made; `None` where it does not say so, which a person's must.
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.moment("iat").ok().flatten()
    }

    /// Who has made it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Of whom it is: unique at its issuer, and never given to another.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// For whom it was made.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// A claim by its name, or by the names on the way to it: `realm_access.roles`.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        let nested = || {
            let mut names = name.split('.');
            let first = self.claims.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name))
        };
        // A name may hold dots itself: namespaces of claims are URLs.
        self.claims.get(name).or_else(nested)
    }
}

/// The claims, if `key` has signed them. What they say is checked by the caller: the library would read the machine's
/// clock.
fn signed_claims(
    text: &str,
    algorithm: Algorithm,
    key: &IssuerKey,
) -> Result<Map<String, Value>, IdTokenFault> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    match jsonwebtoken::decode(text, key.verifying(), &validation) {
        Ok(decoded) => Ok(decoded.claims),
        Err(cause) => Err(match cause.kind() {
            ErrorKind::InvalidAlgorithm => IdTokenFault::WrongAlgorithm,
            ErrorKind::InvalidSignature => IdTokenFault::WrongSignature,
            _ => IdTokenFault::Malformed,
        }),
    }
}
