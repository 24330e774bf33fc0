//! The keys that tokens are signed with: ECDSA on P-256 (`ES256`, RFC 7518 section 3.4).
//!
//! ES256 because a signature is 64 bytes, and tokens travel with every request.

use crate::{Error, KeyId, Purpose, SealKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use rand::CryptoRng;
use secrecy::ExposeSecret as _;
use serde::Serialize;

/// The public half of a key: a member of a JWK set (RFC 7518 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    kid: String,
    x: String,
    y: String,
}

/// A key pair with its name. The algorithm is fixed by the type: nothing in a token can choose another.
#[derive(Debug, Clone)]
pub struct SigningKey {
    id: KeyId,
    signing: EncodingKey,
    verifying: DecodingKey,
    /// `04 | x | y`, as SEC 1 writes a point.
    point: Vec<u8>,
}

impl SigningKey {
    /// Makes a new key, and its sealed form for the database.
    ///
    /// The private half comes from the cryptographic provider's own generator, not from `rng`: no seed of
    /// ours can make it guessable. `rng` gives the name and the seal's nonce.
    pub fn generate(seal: &SealKey, rng: &mut impl CryptoRng) -> Result<(Self, Vec<u8>), Error> {
        let id = KeyId::random(rng);
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Error::Crypto)?;
        let document = pair.to_pkcs8v1().map_err(|_| Error::Crypto)?;
        let sealed = seal.seal(Purpose::SigningKey, &id.to_string(), document.as_ref(), rng)?;
        Ok((Self::from_pair(id, &pair, document.as_ref()), sealed))
    }

    /// Opens the sealed form of the key called `id`.
    pub fn open(id: KeyId, sealed: &[u8], seal: &SealKey) -> Result<Self, Error> {
        let document = seal.open(Purpose::SigningKey, &id.to_string(), sealed)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.expose_secret())
                .map_err(|_| Error::SigningKeyInvalid)?;
        Ok(Self::from_pair(id, &pair, document.expose_secret()))
    }

    fn from_pair(id: KeyId, pair: &EcdsaKeyPair, pkcs8: &[u8]) -> Self {
        Self {
            id,
            signing: EncodingKey::from_ec_der(pkcs8),
            verifying: DecodingKey::from_ec_der(pair.public_key().as_ref()),
            point: pair.public_key().as_ref().to_vec(),
        }
    }

    /// Opens the sealed form of the key called `id`, and seals it with the key that seals now.
    pub fn reseal(
        id: KeyId,
        sealed: &[u8],
        seal: &SealKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, Error> {
        let document = seal.open(Purpose::SigningKey, &id.to_string(), sealed)?;
        seal.seal(
            Purpose::SigningKey,
            &id.to_string(),
            document.expose_secret(),
            rng,
        )
    }

    /// Its public half, as RFC 7517 writes it.
    pub fn public(&self) -> PublicKey {
        // A point on P-256 is one byte and two coordinates of 32 (SEC 1 section 2.3.3).
        let (x, y) = self.point[1..].split_at(32);
        PublicKey {
            kty: "EC",
            crv: "P-256",
            alg: "ES256",
            r#use: "sig",
            kid: self.id.to_string(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        }
    }

    /// Its name, `kid` in a token's header.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    pub(crate) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}
