//! What a quickstart makes up once and keeps beside the data: the sealing key and the administrator's password.
//!
//! Both files are written before the database learns of them, so that a crash in between leaves nothing that
//! cannot be opened again.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::{CryptoRng, RngExt as _};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::folder::{Folder, write_whole};

/// The administrator's name. A word everybody tries first.
pub(super) const USERNAME: &str = "admin";

/// 24 letters of 32 are 120 bits: not to be guessed, still to be typed.
const PASSWORD_LETTERS: usize = 24;

/// No `l`, `o`, `0`, `1`: a password is read from one screen and typed into another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The password of the administrator, and whether this start made it.
#[derive(Debug)]
pub(super) struct Password {
    /// The secret itself.
    pub(super) value: SecretString,
    /// It did not exist before: it has not been shown yet.
    pub(super) is_new: bool,
}

#[derive(Serialize, Deserialize)]
struct Credentials {
    url: String,
    username: String,
    password: String,
}

/// The key that seals what the database keeps secret: 32 bytes in base64, made at the first start.
pub(super) fn sealing_key(
    folder: &Folder,
    rng: &mut impl CryptoRng,
) -> Result<SecretString, Error> {
    let path = folder.file("secrets.key");
    if let Some(text) = read_if_there(&path)? {
        let key = text.trim();
        return match BASE64.decode(key) {
            Ok(bytes) if bytes.len() == 32 => Ok(key.into()),
            _ => Err(Error::Damaged {
                path,
                expected: "32 bytes in base64",
            }),
        };
    }
    let mut bytes = [0_u8; 32];
    rng.fill_bytes(&mut bytes);
    let key = BASE64.encode(bytes);
    write_whole(&path, format!("{key}\n").as_bytes(), 0o600)?;
    Ok(key.into())
}

/// The administrator's password; `credentials.json` is made at the first start and follows the address at later ones.
pub(super) fn password(
    folder: &Folder,
    url: &str,
    rng: &mut impl CryptoRng,
) -> Result<Password, Error> {
    let path = folder.file("credentials.json");
    let kept = match read_if_there(&path)? {
        Some(text) => {
            Some(
                serde_json::from_str::<Credentials>(&text).map_err(|_| Error::Damaged {
                    path: path.clone(),
                    expected: "a JSON object of url, username and password",
                })?,
            )
        }
        None => None,
    };
    let is_new = kept.is_none();
    let password = match kept {
        Some(credentials) if credentials.url == url => {
            return Ok(Password {
                value: credentials.password.into(),
                is_new,
            });
        }
        Some(credentials) => credentials.password,
        None => generate(rng),
    };
    let credentials = Credentials {
        url: url.to_owned(),
        username: USERNAME.to_owned(),
        password,
    };
    let text = serde_json::to_string_pretty(&credentials).expect("three strings are JSON");
    write_whole(&path, format!("{text}\n").as_bytes(), 0o600)?;
    Ok(Password {
        value: credentials.password.into(),
        is_new,
    })
}

fn generate(rng: &mut impl CryptoRng) -> String {
    (0..PASSWORD_LETTERS)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
