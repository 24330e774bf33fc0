//! What an issuer says of itself (OpenID Connect Discovery 1.0 section 3).

use super::HttpsUrl;
use serde::Deserialize;

/// Where to go for what.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Where people are sent.
    pub(super) authorization: Option<HttpsUrl>,
    /// Where a code becomes a token.
    pub(super) token: Option<HttpsUrl>,
    /// What else is known of a person.
    pub(super) user_info: Option<HttpsUrl>,
    /// Its public keys.
    pub(super) keys: HttpsUrl,
    /// Whether the client's secret travels in the form and not in the header.
    pub(super) secret_in_form: bool,
    /// Whether its answers say whose they are, so that one that does not is not its own (RFC 9207).
    pub(super) answers_name_issuer: bool,
}

#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Endpoints {
    /// Reads the document of `issuer`; the error says what is wrong with it.
    pub(super) fn read(issuer: &HttpsUrl, document: &[u8]) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|_| "its configuration is not that of an issuer")?;
        // Section 4.3; a document that can speak for another could have its tokens taken for that one's.
        if document.issuer != issuer.as_str() {
            return Err("its configuration is another issuer's");
        }
        let url = |text: Option<String>| text.map(|text| text.parse()).transpose();
        let wrong = |_| "its endpoints are not all `https`";
        let methods = document.token_endpoint_auth_methods_supported;
        let takes = |methods: &Vec<String>, name: &str| methods.iter().any(|one| one == name);
        Ok(Self {
            authorization: url(document.authorization_endpoint).map_err(wrong)?,
            token: url(document.token_endpoint).map_err(wrong)?,
            user_info: url(document.userinfo_endpoint).map_err(wrong)?,
            keys: document.jwks_uri.parse().map_err(wrong)?,
            // Basic where nothing is said.
            secret_in_form: methods.is_some_and(|methods| {
                !takes(&methods, "client_secret_basic") && takes(&methods, "client_secret_post")
            }),
            answers_name_issuer: document.authorization_response_iss_parameter_supported,
        })
    }
}
