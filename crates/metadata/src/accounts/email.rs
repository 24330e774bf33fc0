//! Addresses of mail.

use std::fmt;
use std::str::FromStr;

/// The longest address: 64 bytes, `@` and a name of 255 (RFC 5321, section 4.5.3.1).
const MAX_LEN: usize = 320;

/// An address that mail could go to: two parts around the last `@`, and no white space. Whether it does go there shows
/// a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

/// A text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is a name, `@` and a domain, without white space, of at most {MAX_LEN} bytes")]
pub struct EmailAddressError;

impl EmailAddress {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = EmailAddressError;

    fn from_str(text: &str) -> Result<Self, EmailAddressError> {
        let is_whole = text
            .rsplit_once('@')
            .is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
        let is_clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if is_whole && is_clean && text.len() <= MAX_LEN {
            Ok(Self(text.to_owned()))
        } else {
            Err(EmailAddressError)
        }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::EmailAddress;

    #[test]
    fn an_address_has_two_parts_and_no_white_space() {
        for good in ["a@b", "alice.x+y@example.com", "\"odd@one\"@example.com"] {
            assert_eq!(good.parse::<EmailAddress>().unwrap().as_str(), good);
        }
        let long = format!("{}@b", "a".repeat(319));
        for bad in [
            "", "@", "a@", "@b", "alice", "a b@c", "a@b\n", "a@\0", &long,
        ] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
        }
    }
}
