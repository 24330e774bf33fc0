//! The keys that tokens are signed with: ECDSA on P-256 (`ES256`, RFC 7518 section 3.4).
//!
//! ES256 because a signature is 64 bytes, and tokens travel with every request.

use crate::{Error, KeyId, Purpose, SealKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jsonwebtoken::{DecodingKey, EncodingKey};
use rand::CryptoRng;
use secrecy::ExposeSecret as _;

/// A key pair with its name. The algorithm is fixed by the type: nothing in a token can choose another.
#[derive(Debug, Clone)]
pub struct SigningKey {
    id: KeyId,
    signing: EncodingKey,
    verifying: DecodingKey,
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
