//! `[oidc.NAME]` and `[keyless]`: who else may say who somebody is.

use super::report::Report;
use super::setting::{Description, Form, Setting, Value, join, settings};
use super::tree::Node;
use super::values::{as_setting, words};
use portolan_auth::oidc::HttpsUrl;
use secrecy::SecretString;
use std::collections::BTreeMap;

as_setting!(HttpsUrl);

impl Value for HttpsUrl {
    const WANTS: &'static str =
        "a URL such as `https://id.example.com`; `http` only on the loopback";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.as_str().to_owned()
    }
}

words! {
    /// By what somebody may be taken for an account that is there already.
    pub(crate) enum LinkBy wants "`nothing` or `email`" {
        /// Never.
        Nothing = "nothing",
        /// By an address that both sides have verified.
        Email = "email",
    }
}

settings! {
    /// A provider of single sign-on.
    pub(crate) struct OidcProvider {
        /// Its issuer, exactly as its own configuration says it; `/.well-known/openid-configuration` is found under it.
        pub(crate) issuer: Option<HttpsUrl> = None,
        /// The client that it has for this registry, with `https://REGISTRY/auth/oidc/NAME/callback` as its redirect URI.
        pub(crate) client_id: Option<String> = None,
        /// The client's secret; without one the client is a public one, and PKCE alone protects the login.
        pub(crate) client_secret: Option<SecretString> = None,
        /// What people are told that they log in with; NAME where it is not set.
        pub(crate) title: Option<String> = None,
        /// What is asked for; `openid` among it.
        pub(crate) scopes: Vec<String> = ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        /// Which claims say what.
        pub(crate) claims: OidcClaims = OidcClaims::default(),
        /// Whether somebody who has no account yet gets one, called as the claim says.
        pub(crate) sign_up: bool = false,
        /// By what somebody is taken for an account that is there already. With `email` whoever can have an address verified at the provider is the
        /// account that has shown here that the address is its own: only for providers that you trust with every account.
        pub(crate) link_by: LinkBy = LinkBy::Nothing,
        /// Who is in this group may everything, and who leaves it no longer. Not set: no claim makes a superuser.
        pub(crate) superuser_group: Option<String> = None,
        /// Clients whose ID tokens are taken for passwords, beside `client_id` itself: those of command lines, for example.
        pub(crate) audiences: Vec<String> = Vec::new(),
    }
}

settings! {
    /// Which claims of a provider say what. `realm_access.roles` is a claim in a claim.
    pub(crate) struct OidcClaims {
        /// The name of an account that is made; capital letters become small ones.
        pub(crate) username: String = "preferred_username".to_owned(),
        /// The address; it counts where `email_verified` is true.
        pub(crate) email: String = "email".to_owned(),
        /// The groups, a list of texts.
        pub(crate) groups: String = "groups".to_owned(),
    }
}

settings! {
    /// Logins without a secret: CI systems whose ID tokens stand for robots, by the rules of `portolan admin federation`.
    pub(crate) struct Keyless {
        /// Issuers that are trusted, such as `https://token.actions.githubusercontent.com`. Rules can name only these, and only these are ever asked
        /// for their keys.
        pub(crate) issuers: Vec<HttpsUrl> = Vec::new(),
    }
}

/// Providers by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Providers(pub(crate) BTreeMap<String, OidcProvider>);

/// How a provider's name is written where it stands for any.
const ANY: &str = "NAME";
/// The longest name, in bytes; it stands in paths and in rows.
const NAME_MAX: usize = 63;

impl Setting for Providers {
    const FORM: Option<Form> = None;

    fn read(node: Option<Node>, default: Self, key: &str, report: &mut Report) -> Self {
        let entries = match node {
            None => return default,
            Some(Node::Table(entries)) => entries,
            Some(Node::Leaf(_, source)) => {
                report.bad(key, source, "is a section for each provider, not a value");
                return default;
            }
        };
        let mut providers = BTreeMap::new();
        for (name, node) in entries {
            let key = join(key, &name);
            if !is_name(&name) {
                report.about(
                    &key,
                    "a provider's name is small letters, digits, `-` and `_`",
                );
            }
            let provider = OidcProvider::read(Some(node), OidcProvider::default(), &key, report);
            providers.insert(name, provider);
        }
        Self(providers)
    }

    fn shown(&self) -> Option<toml::Value> {
        let entries = self.0.iter();
        let table: toml::Table = entries
            .filter_map(|(name, provider)| Some((name.clone(), provider.shown()?)))
            .collect();
        Some(toml::Value::Table(table))
    }

    fn describe_inside(key: &str, into: &mut Vec<Description>) {
        let key = join(key, ANY);
        into.push(Description {
            key: key.clone(),
            text: "A provider of single sign-on. NAME is yours to choose; it stands in addresses, beside the groups that teams follow, and in the \
                audit log, so keep it. As many as you like."
                .to_owned(),
            form: None,
            default: None,
        });
        OidcProvider::describe_inside(&key, into);
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_MAX
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || b"-_".contains(&byte))
}

impl Providers {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        for (name, provider) in &self.0 {
            let key = |field: &str| join(&join("oidc", name), field);
            match &provider.issuer {
                None => report.about(&key("issuer"), "is required"),
                Some(issuer) if issuer.has_query() => {
                    report.about(&key("issuer"), "must have no query");
                }
                Some(_) => {}
            }
            if provider.client_id.as_ref().is_none_or(String::is_empty) {
                report.about(&key("client_id"), "is required");
            }
            if !provider.scopes.iter().any(|scope| scope == "openid") {
                report.about(&key("scopes"), "must contain `openid`");
            }
        }
    }
}

impl Keyless {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.issuers.iter().any(HttpsUrl::has_query) {
            report.about("keyless.issuers", "an issuer must have no query");
        }
    }
}
