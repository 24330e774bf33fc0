//! Distribution's environment variables, translated, so that a compose file written for it works unchanged.
//!
//! A fixed table: in its names one `_` joins the parts of a path, so they cannot be taken apart by rule.
//! What it can say and we cannot do is refused where ignoring it would be dangerous, and noted otherwise.
//! <https://distribution.github.io/distribution/about/configuration/>

/// What of another program's variables has no translation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Untranslatable {
    /// It changes nothing here, for this reason.
    Ignored(&'static str),
    /// To go on would do something else than what was asked for.
    Refused(String),
}

/// Settings by key, as text.
type Settings = Vec<(&'static str, String)>;

/// Whether `name` is one of Distribution's, or the `DATABASE_URL` that hosting platforms give.
pub(super) fn claims(name: &str) -> bool {
    name.starts_with("REGISTRY_") || name == "DATABASE_URL"
}

/// The settings that `name=value` stands for.
pub(super) fn translate(name: &str, value: &str) -> Result<Settings, Untranslatable> {
    let one = |key| Ok(vec![(key, value.to_owned())]);
    match name {
        "DATABASE_URL" => one("database.primary"),
        "REGISTRY_HTTP_ADDR" => Ok(vec![("http.listen", go_address(value))]),
        "REGISTRY_HTTP_DEBUG_ADDR" => Ok(vec![("http.private_listen", go_address(value))]),
        "REGISTRY_HTTP_HOST" => one("http.public_url"),
        "REGISTRY_HTTP_DRAINTIMEOUT" => one("http.drain.timeout"),
        "REGISTRY_HTTP_TLS_CERTIFICATE" => one("http.tls.cert"),
        "REGISTRY_HTTP_TLS_KEY" => one("http.tls.key"),
        "REGISTRY_LOG_LEVEL" => one("log.level"),
        "REGISTRY_LOG_FORMATTER" => {
            let format = if value == "text" { "text" } else { "json" };
            Ok(vec![("log.format", format.to_owned())])
        }
        "REGISTRY_STORAGE" => Ok(vec![("storage.kind", store_kind(value))]),
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY" => Ok(vec![
            ("storage.kind", "directory".to_owned()),
            ("storage.directory.path", value.to_owned()),
        ]),
        "REGISTRY_STORAGE_S3_ACCESSKEY" => one("storage.s3.access_key"),
        "REGISTRY_STORAGE_S3_SECRETKEY" => one("storage.s3.secret_key"),
        "REGISTRY_STORAGE_S3_REGION" => one("storage.s3.region"),
        "REGISTRY_STORAGE_S3_REGIONENDPOINT" => one("storage.s3.endpoint"),
        "REGISTRY_STORAGE_S3_BUCKET" => Ok(vec![
            ("storage.kind", "s3".to_owned()),
            ("storage.s3.bucket", value.to_owned()),
        ]),
        "REGISTRY_STORAGE_S3_FORCEPATHSTYLE" => one("storage.s3.path_style"),
        "REGISTRY_STORAGE_S3_ROOTDIRECTORY" => one("storage.s3.prefix"),
        "REGISTRY_STORAGE_REDIRECT_DISABLE" => match value {
            "true" => Ok(vec![("storage.redirect", "false".to_owned())]),
            "false" => Ok(vec![("storage.redirect", "true".to_owned())]),
            _ => Err(Untranslatable::Refused(format!("`{value}` is not `true` or `false`"))),
        },
        "REGISTRY_STORAGE_DELETE_ENABLED" if value == "true" => Ok(Vec::new()),
        "REGISTRY_STORAGE_DELETE_ENABLED" => Err(Untranslatable::Refused(
            "deleting cannot be switched off here: it takes the right to delete, which only owners have"
                .to_owned(),
        )),
        "REGISTRY_CATALOG_MAXENTRIES" => one("limits.page"),
        "REGISTRY_AUTH_TOKEN_SERVICE" => one("tokens.service"),
        "REGISTRY_AUTH"
        | "REGISTRY_AUTH_TOKEN_REALM"
        | "REGISTRY_AUTH_TOKEN_ISSUER"
        | "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE"
        | "REGISTRY_AUTH_TOKEN_JWKS" => {
            Err(Untranslatable::Ignored("Portolan issues its tokens itself and accepts no others"))
        }
        "REGISTRY_HTTP_SECRET" => {
            Err(Untranslatable::Ignored("the state of uploads lies in the database, nothing is signed"))
        }
        "REGISTRY_HTTP_RELATIVEURLS" => Err(Untranslatable::Ignored("URLs are always relative")),
        "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED" | "REGISTRY_HTTP_DEBUG_PROMETHEUS_PATH" => {
            Err(Untranslatable::Ignored("`/metrics` is always on the private listener"))
        }
        _ => Err(Untranslatable::Ignored("Portolan has no such setting")),
    }
}

/// Go takes `:5000` for every address of the machine.
fn go_address(value: &str) -> String {
    match value.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => value.replace("localhost:", "127.0.0.1:"),
    }
}

fn store_kind(value: &str) -> String {
    if value == "filesystem" {
        "directory".to_owned()
    } else {
        value.to_owned()
    }
}
