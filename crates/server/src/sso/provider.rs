//! A provider of single sign-on as it is configured, and what its claims mean.

use crate::config::{LinkBy, OidcProvider};
use anyhow::Context as _;
use portolan_auth::Clock;
use portolan_auth::oidc::{Client, Fetch, IdToken, Issuer};
use portolan_metadata::accounts::AccountName;
use portolan_registry::identity::{ExternalPerson, SignUp};
use serde_json::Value;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Most groups of one person that are looked at; more than that in a token is a mistake, or an attack.
pub(crate) const GROUPS_MAX: usize = 1_000;
/// The longest group that a team can follow, in bytes.
pub(crate) const GROUP_BYTES_MAX: usize = 1_024;
/// The longest address, in bytes (RFC 5321 section 4.5.3.1 has 256 for a path).
const EMAIL_BYTES_MAX: usize = 320;

/// How much of a person a token tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// All that the provider says: who is said to be in no group is in none.
    All,
    /// What happens to stand in it: where nothing is said of groups, nothing follows.
    Some,
}

/// A provider.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Its name here.
    pub(crate) name: String,
    /// What people know it by.
    pub(crate) title: String,
    /// Where its tokens come from.
    pub(crate) issuer: Issuer,
    /// Who we are there.
    pub(crate) client: Client,
    /// What is asked for.
    pub(crate) scopes: Vec<String>,
    /// Whose tokens are taken for passwords.
    pub(crate) audiences: Vec<String>,
    /// What becomes of those whom nobody knows yet.
    pub(crate) sign_up: SignUp,
    claims: Claims,
}

#[derive(Debug)]
struct Claims {
    username: String,
    email: String,
    groups: String,
    superuser_group: Option<String>,
}

impl Provider {
    pub(super) fn new(
        name: &str,
        config: &OidcProvider,
        fetch: &Arc<dyn Fetch>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let missing = |what| format!("`oidc.{name}.{what}` is not set");
        let issuer = config.issuer.clone();
        let issuer = issuer.with_context(|| missing("issuer"))?;
        let id = config.client_id.clone();
        let id = id.with_context(|| missing("client_id"))?;
        let mut audiences = vec![id.clone()];
        audiences.extend(config.audiences.iter().cloned());
        Ok(Self {
            name: name.to_owned(),
            title: config.title.clone().unwrap_or_else(|| name.to_owned()),
            issuer: Issuer::new(issuer, Arc::clone(fetch), Arc::clone(clock)),
            client: Client {
                id,
                secret: config.client_secret.clone(),
            },
            scopes: config.scopes.clone(),
            audiences,
            sign_up: SignUp {
                open: config.sign_up,
                link_by_email: config.link_by == LinkBy::Email,
            },
            claims: Claims {
                username: config.claims.username.clone(),
                email: config.claims.email.clone(),
                groups: config.claims.groups.clone(),
                superuser_group: config.superuser_group.clone(),
            },
        })
    }

    /// Whether `token` leaves out what this registry wants to know.
    pub(super) fn lacks_claims(&self, token: &IdToken) -> bool {
        let Claims {
            username,
            email,
            groups,
            superuser_group: _,
        } = &self.claims;
        [username, email, groups]
            .iter()
            .any(|name| token.claim(name).is_none())
    }

    /// Who a token is of.
    pub(crate) fn person(&self, token: &IdToken, told: Told) -> ExternalPerson {
        let text = |name: &str| token.claim(name).and_then(Value::as_str);
        let name: Option<AccountName> =
            text(&self.claims.username).and_then(|name| name.to_ascii_lowercase().parse().ok());
        let email = text(&self.claims.email)
            .filter(|email| is_verified(token) && is_address(email))
            .map(str::to_owned);
        let groups = self.groups(token, told);
        let superuser = match (&self.claims.superuser_group, &groups) {
            (Some(wanted), Some(groups)) => Some(groups.contains(wanted)),
            _ => None,
        };
        ExternalPerson {
            provider: self.name.clone(),
            subject: token.subject().to_owned(),
            name,
            email,
            groups,
            superuser,
            // One that does not say when it was made is not verified.
            told_at: token.issued_at().unwrap_or(UNIX_EPOCH),
        }
    }

    fn groups(&self, token: &IdToken, told: Told) -> Option<Vec<String>> {
        let usable = |group: &&str| {
            !group.is_empty() && group.len() <= GROUP_BYTES_MAX && !group.contains('\0')
        };
        let name = &self.claims.groups;
        match token.claim(name) {
            Some(Value::Array(groups)) => {
                let groups = groups.iter().take(GROUPS_MAX).filter_map(Value::as_str);
                Some(groups.filter(usable).map(str::to_owned).collect())
            }
            Some(Value::String(one)) => {
                let one = Some(one.as_str()).filter(usable);
                Some(one.map(str::to_owned).into_iter().collect())
            }
            // Said elsewhere, because they are too many (OpenID Connect Core 1.0 section 5.6.2): not none.
            None if token
                .claim("_claim_names")
                .is_some_and(|names| names.get(name).is_some()) =>
            {
                let provider = &self.name;
                tracing::warn!(
                    provider,
                    "`{provider}` leaves out the groups of somebody who has too many"
                );
                None
            }
            _ if told == Told::All => Some(Vec::new()),
            _ => None,
        }
    }
}

/// Some providers write the truth value as a text.
fn is_verified(token: &IdToken) -> bool {
    match token.claim("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// Whether something looks like an address, and is not too long for one.
pub(crate) fn is_address(text: &str) -> bool {
    let halves = text.split_once('@');
    text.len() <= EMAIL_BYTES_MAX
        && halves.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && !text
            .chars()
            .any(|one| one.is_control() || one.is_whitespace())
}
