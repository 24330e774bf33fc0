//! Rules by which a machine's ID token stands for a robot.

use crate::oidc::IdToken;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A text in which each `*` stands for anything, nothing included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A pattern that would match everything, or that nobody could mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has up to 1024 bytes, of which not all are `*`")]
pub struct PatternError;

impl Pattern {
    /// The longest pattern, in bytes.
    const BYTES_MAX: usize = 1024;

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `text`'s. Takes time in proportion to both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            // No `*` at all.
            return rest.is_empty();
        };
        // The leftmost place of each part leaves most for those after it.
        for part in parts {
            match rest.find(part) {
                Some(place) => rest = &rest[place + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let says = text.bytes().any(|byte| byte != b'*');
        if text.len() <= Self::BYTES_MAX && says && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PatternError)
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose token is as good as a robot's secret. All of it must be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederationRule {
    /// Who has made the token.
    pub issuer: String,
    /// One of those it was made for.
    pub audience: String,
    /// Of whom it is.
    pub subject: Pattern,
    /// What else it says.
    pub claims: BTreeMap<String, Pattern>,
}

/// The first condition of a rule that a token does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleMiss {
    /// It is another issuer's.
    #[error("the issuer is `{found}`, and the rule wants `{wanted}`")]
    Issuer {
        /// The rule's.
        wanted: String,
        /// The token's.
        found: String,
    },
    /// It was made for others.
    #[error("the audience is `{found}`, and the rule wants `{wanted}`")]
    Audience {
        /// The rule's.
        wanted: String,
        /// The token's, joined by `, `.
        found: String,
    },
    /// It is of somebody else.
    #[error("the subject is `{found}`, and the rule wants `{wanted}`")]
    Subject {
        /// The rule's pattern.
        wanted: String,
        /// The token's.
        found: String,
    },
    /// It does not say so.
    #[error(
        "the token has no claim `{name}` that could be compared, and the rule wants `{wanted}`"
    )]
    ClaimMissing {
        /// Which.
        name: String,
        /// The rule's pattern.
        wanted: String,
    },
    /// It says otherwise.
    #[error("the claim `{name}` is `{found}`, and the rule wants `{wanted}`")]
    Claim {
        /// Which.
        name: String,
        /// The rule's pattern.
        wanted: String,
        /// The token's.
        found: String,
    },
}

impl FederationRule {
    /// Whether it admits `token`; else why not.
    pub fn judge(&self, token: &IdToken) -> Result<(), RuleMiss> {
        if self.issuer != token.issuer() {
            return Err(RuleMiss::Issuer {
                wanted: self.issuer.clone(),
                found: token.issuer().to_owned(),
            });
        }
        if !token.audiences().contains(&self.audience) {
            return Err(RuleMiss::Audience {
                wanted: self.audience.clone(),
                found: token.audiences().join(", "),
            });
        }
        if !self.subject.matches(token.subject()) {
            return Err(RuleMiss::Subject {
                wanted: self.subject.to_string(),
                found: token.subject().to_owned(),
            });
        }
        for (name, wanted) in &self.claims {
            judge_claim(name, wanted, token.claim(name))?;
        }
        Ok(())
    }
}

fn judge_claim(name: &str, wanted: &Pattern, found: Option<&Value>) -> Result<(), RuleMiss> {
    let texts: Vec<String> = match found {
        Some(Value::Array(several)) => several.iter().filter_map(comparable).collect(),
        Some(one) => comparable(one).into_iter().collect(),
        None => Vec::new(),
    };
    if texts.iter().any(|text| wanted.matches(text)) {
        return Ok(());
    }
    let (name, wanted) = (name.to_owned(), wanted.to_string());
    Err(if texts.is_empty() {
        RuleMiss::ClaimMissing { name, wanted }
    } else {
        let found = texts.join(", ");
        RuleMiss::Claim {
            name,
            wanted,
            found,
        }
    })
}

/// Of a list one entry must match, so an entry is a text, a number or a truth value.
fn comparable(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(text)
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in [
            ("a", "a"),
            ("a*", "a"),
            ("a*", "ab"),
            ("*a", "ba"),
            ("a*a", "aa"),
            (
                "repo:acme/*:ref:refs/heads/main",
                "repo:acme/app:ref:refs/heads/main",
            ),
            ("*b*", "abc"),
            ("a*b*c", "axbxbxc"),
            ("a**c", "abc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a", "A"),
            ("a*a", "a"),
            ("repo:acme/app:*", "repo:acme/application:x"),
            (
                "repo:acme/*:ref:refs/heads/main",
                "repo:acme/app:ref:refs/heads/main2",
            ),
            ("*a*b", "ba"),
            ("a?c", "abc"),
            ("a.c", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        for bad in ["", "*", "***", "a\n", &"a".repeat(1025)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_star_was_put_into_still_matches(left in "[ab]{0,6}", gap in "[ab]{0,6}", right in "[ab]{1,6}") {
            let pattern = format!("{left}*{right}");
            let text = format!("{left}{gap}{right}");
            prop_assert!(matches(&pattern, &text));
        }
    }
}
