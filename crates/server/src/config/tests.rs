//! What the configuration promises: all errors at once, sources, secrets, names.

use super::*;
use secrecy::ExposeSecret as _;
use std::io::Write as _;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A file with `content`, gone with the handle.
fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content.as_bytes()).expect("written");
    file
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

/// What every process needs.
fn base() -> Vec<(&'static str, &'static str)> {
    vec![
        ("PORTOLAN_DATABASE__PRIMARY", "postgres://u:hush@h/d"),
        ("PORTOLAN_STORAGE__KIND", "directory"),
        ("PORTOLAN_STORAGE__DIRECTORY__PATH", "/blobs"),
        ("PORTOLAN_SECRETS__KEY", KEY),
    ]
}

fn load_env(more: &[(&'static str, &'static str)]) -> Result<Loaded, Invalid> {
    let mut all = base();
    all.extend(more);
    load_from(None, variables(&all), Need::Everything)
}

fn problems(more: &[(&'static str, &'static str)]) -> Vec<String> {
    let Invalid(problems) = load_env(more).expect_err("a bad configuration");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_and_the_least_that_is_needed() {
    let loaded = load_env(&[]).expect("valid");
    assert_eq!(loaded.config.http.listen.port(), 5000);
    assert_eq!(loaded.config.roles.len(), 3);
    assert!(loaded.notes.is_empty());
}

#[test]
fn everything_missing_is_said_at_once() {
    let Invalid(problems) =
        load_from(None, Vec::new(), Need::Everything).expect_err("nothing is set");
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["database.primary", "secrets.key", "storage.kind"]);
    let Invalid(problems) =
        load_from(None, Vec::new(), Need::Database).expect_err("nothing is set");
    assert_eq!(problems.len(), 1);
}

#[test]
fn all_errors_of_all_sources_are_said_at_once_with_their_source() {
    let toml = file(
        "surprise = 1\nroles = [\"registry\", \"pilot\"]\n[http]\nlisten = 5000\nlistn = \"x\"\n[limits]\nmanifest = \"9MiB\"\n[database]\npool = 8\n",
    );
    let mut env = base();
    env.push(("PORTOLAN_HTTP__DRAIN__TIMEOUT", "60"));
    env.push(("PORTOLAN_HTTP__PORT", "1"));
    env.push(("PORTOLAN_LOG__FORMAT", "xml"));
    let Invalid(found) = load_from(Some(toml.path()), variables(&env), Need::Everything)
        .expect_err("a bad configuration");
    let found: Vec<_> = found
        .iter()
        .map(|problem| {
            problem
                .to_string()
                .replace(&toml.path().display().to_string(), "FILE")
        })
        .collect();
    assert_eq!(
        found,
        [
            "`database.pool`: is a section, not a value (file `FILE`)",
            "`http.drain.timeout`: `60` is not a duration such as `500ms`, `30s`, `5m` or `24h` (environment variable `PORTOLAN_HTTP__DRAIN__TIMEOUT`)",
            "`http.listen`: wants an address and port such as `0.0.0.0:5000`, and this is TOML's type `integer` (file `FILE`)",
            "`http.listn`: unknown key; known here: listen, private_listen, public_url, trusted_proxies, tls, bounds, drain (file `FILE`)",
            "`http.port`: unknown key; known here: listen, private_listen, public_url, trusted_proxies, tls, bounds, drain (environment variable `PORTOLAN_HTTP__PORT`)",
            "`limits.manifest`: must lie between `4000000B` and `4MiB` (file `FILE`)",
            "`log.format`: `xml` is not `text` or `json` (environment variable `PORTOLAN_LOG__FORMAT`)",
            "`roles`: `pilot` is not `registry`, `api` or `worker` (file `FILE`)",
            "`surprise`: unknown key; known here: roles, http, database, storage, secrets, admin, tokens, accounts, mail, login, oidc, keyless, ldap, audit, limits, jobs, log (file `FILE`)",
        ]
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let toml = file("[http]\nlisten = \"127.0.0.1:1\"\nprivate_listen = \"127.0.0.1:2\"\n");
    let mut env = base();
    env.push(("PORTOLAN_HTTP__LISTEN", "127.0.0.1:3"));
    let loaded = load_from(Some(toml.path()), variables(&env), Need::Everything).expect("valid");
    assert_eq!(loaded.config.http.listen.port(), 3);
    assert_eq!(loaded.config.http.private_listen.port(), 2);
}

#[test]
fn a_password_that_looks_like_a_number_stays_as_it_is() {
    let more = [
        ("PORTOLAN_ADMIN__USERNAME", "admin"),
        ("PORTOLAN_ADMIN__PASSWORD", "0123"),
    ];
    let config = load_env(&more).expect("valid").config;
    let password = config.admin.password.expect("a password");
    assert_eq!(password.expose_secret(), "0123");
}

#[test]
fn lists_are_toml_arrays() {
    let config = load_env(&[
        ("PORTOLAN_ROLES", r#"["registry", "worker"]"#),
        ("PORTOLAN_HTTP__TRUSTED_PROXIES", r#"["10.0.0.0/8", "::1"]"#),
    ])
    .expect("valid")
    .config;
    assert_eq!(config.roles, [Role::Registry, Role::Worker]);
    assert_eq!(config.http.trusted_proxies.len(), 2);
    let found = problems(&[("PORTOLAN_ROLES", "registry,worker")]);
    assert_eq!(
        found,
        [
            "`roles`: wants a list written as a TOML array, each entry `registry`, `api` or `worker` (environment variable `PORTOLAN_ROLES`)"
        ]
    );
}

#[test]
fn secrets_come_from_files_too() {
    let secret = file("postgres://u:p@h/d\n");
    let path = secret.path().display().to_string();
    let env = [
        ("PORTOLAN_DATABASE__PRIMARY_FILE", path.as_str()),
        ("PORTOLAN_STORAGE__KIND", "directory"),
    ];
    let config = load_from(None, variables(&env), Need::Database)
        .expect("valid")
        .config;
    let url = config.database.primary.expect("a URL");
    assert_eq!(url.secret().expose_secret(), "postgres://u:p@h/d");
}

#[test]
fn a_secret_file_of_the_environment_replaces_a_value_of_the_file() {
    let toml = file("[database]\nprimary = \"postgres://old@h/d\"\n");
    let secret = file("postgres://new@h/d");
    let path = secret.path().display().to_string();
    let env = [("PORTOLAN_DATABASE__PRIMARY_FILE", path.as_str())];
    let config = load_from(Some(toml.path()), variables(&env), Need::Database)
        .expect("valid")
        .config;
    let url = config.database.primary.expect("a URL");
    assert_eq!(url.secret().expose_secret(), "postgres://new@h/d");
}

#[test]
fn a_secret_given_both_ways_in_one_place_is_an_error() {
    let found = problems(&[("PORTOLAN_SECRETS__KEY_FILE", "/nonexistent")]);
    assert!(found[0].contains("is given twice"), "{found:?}");
    assert!(found[1].contains("cannot be read"), "{found:?}");
}

#[test]
fn only_secrets_come_from_files() {
    let found = problems(&[("PORTOLAN_HTTP__LISTEN_FILE", "/x")]);
    assert!(
        found[0].starts_with("`http.listen_file`: unknown key"),
        "{found:?}"
    );
}

#[test]
fn no_error_repeats_a_secret() {
    let found = problems(&[
        ("PORTOLAN_DATABASE__DIRECT", "mysql://u:hush@h/d"),
        (
            "PORTOLAN_DATABASE__REPLICAS",
            r#"["postgres://u:hush@h:notaport/d"]"#,
        ),
        ("PORTOLAN_SECRETS__KEY", "hush"),
    ]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(!found.concat().contains("hush"), "{found:?}");
}

#[test]
fn printing_hides_secrets() {
    let printed = load_env(&[
        ("PORTOLAN_ADMIN__USERNAME", "admin"),
        ("PORTOLAN_ADMIN__PASSWORD", "hush"),
        ("PORTOLAN_STORAGE__S3__ACCESS_KEY", "id"),
        ("PORTOLAN_STORAGE__S3__SECRET_KEY", "hush"),
    ])
    .expect("valid")
    .config
    .print();
    assert!(
        !printed.contains("hush") && !printed.contains(KEY),
        "{printed}"
    );
    assert!(printed.contains("postgres://u:[redacted]@h/d"), "{printed}");
}

#[test]
fn distributions_variables_are_translated_and_ours_win() {
    let loaded = load_from(
        None,
        variables(&[
            ("DATABASE_URL", "postgres://u@h/d"),
            ("PORTOLAN_SECRETS__KEY", KEY),
            ("REGISTRY_HTTP_ADDR", ":5050"),
            ("REGISTRY_HTTP_DEBUG_ADDR", "localhost:5051"),
            ("REGISTRY_HTTP_HOST", "https://registry.example.com"),
            ("REGISTRY_HTTP_DRAINTIMEOUT", "30s"),
            ("REGISTRY_HTTP_SECRET", "x"),
            ("REGISTRY_LOG_FORMATTER", "logstash"),
            ("REGISTRY_LOG_LEVEL", "debug"),
            ("PORTOLAN_LOG__LEVEL", "warn"),
            ("REGISTRY_STORAGE_S3_BUCKET", "b"),
            ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "http://minio:9000"),
            ("REGISTRY_STORAGE_S3_ACCESSKEY", "id"),
            ("REGISTRY_STORAGE_S3_SECRETKEY", "secret"),
            ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true"),
            ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "registry"),
            ("REGISTRY_STORAGE_REDIRECT_DISABLE", "true"),
            ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
            ("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "inmemory"),
            ("REGISTRY_CATALOG_MAXENTRIES", "500"),
            ("REGISTRY_AUTH_TOKEN_SERVICE", "registry"),
        ]),
        Need::Everything,
    )
    .expect("valid");
    let config = loaded.config;
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:5050");
    assert_eq!(config.http.private_listen.to_string(), "127.0.0.1:5051");
    assert_eq!(config.http.drain.timeout.as_secs(), 30);
    assert_eq!(config.log.level, "warn");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.storage.kind, Some(StoreKind::S3));
    assert!(config.storage.s3.path_style && !config.storage.redirect);
    assert_eq!(config.storage.s3.prefix.as_deref(), Some("registry"));
    assert_eq!(config.limits.page, 500);
    assert_eq!(config.tokens.service, "registry");
    assert_eq!(
        loaded.notes,
        [
            "environment variable `REGISTRY_HTTP_SECRET` has no effect: the state of uploads lies in the database, nothing is signed",
            "environment variable `REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR` has no effect: Portolan has no such setting",
        ]
    );
}

#[test]
fn what_distribution_can_forbid_and_we_cannot_is_refused() {
    let found = problems(&[("REGISTRY_STORAGE_DELETE_ENABLED", "false")]);
    assert!(
        found[0].contains("deleting cannot be switched off"),
        "{found:?}"
    );
}

#[test]
fn a_file_that_is_no_toml_is_named_without_its_content() {
    let toml = file("[database]\nprimary = postgres://u:hush@h/d\n");
    let Invalid(found) =
        load_from(Some(toml.path()), variables(&base()), Need::Everything).expect_err("no TOML");
    let text = found[0].to_string();
    assert!(
        text.contains("line 2 is not TOML") && !text.contains("hush"),
        "{text}"
    );
}

#[test]
fn bounds_of_reads_that_make_no_sense_are_refused() {
    let found = problems(&[
        ("PORTOLAN_DATABASE__FRESHNESS", "hope"),
        ("PORTOLAN_DATABASE__STALE_AFTER", "100ms"),
        ("PORTOLAN_DATABASE__LANES__PER_SERVER", "3"),
        ("PORTOLAN_DATABASE__LANES__BATCH_KEYS", "0"),
        ("PORTOLAN_DATABASE__LANES__QUEUE_BYTES", "1KiB"),
        ("PORTOLAN_DATABASE__FLOORS__POLL_MAX", "10ms"),
        ("PORTOLAN_DATABASE__FLOORS__PROBES_PER_SECOND", "0"),
    ]);
    assert_eq!(found.len(), 7, "{found:#?}");
    let queue = [("PORTOLAN_DATABASE__LANES__QUEUE_KEYS", "100")];
    assert_eq!(problems(&queue).len(), 1);
    let too_large = problems(&[
        ("PORTOLAN_DATABASE__LANES__QUEUE_KEYS", "65537"),
        ("PORTOLAN_DATABASE__LANES__QUEUE_BYTES", "129MiB"),
        ("PORTOLAN_DATABASE__FLOORS__POLL_MAX", "201ms"),
        ("PORTOLAN_DATABASE__FLOORS__PROBES_PER_SECOND", "1001"),
    ]);
    assert_eq!(too_large.len(), 4, "{too_large:#?}");
}

#[test]
fn private_answers_may_not_be_too_old_before_replicas_serve_at_all() {
    let short = [
        ("PORTOLAN_DATABASE__STALE_AFTER", "5s"),
        ("PORTOLAN_DATABASE__MAX_STALE", "4s"),
    ];
    let found = problems(&short);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("must not be below `database.stale_after`"),
        "{found:#?}"
    );
    let unused = [
        short[0],
        short[1],
        ("PORTOLAN_DATABASE__ON_PRIMARY_LOSS", "fail"),
    ];
    load_env(&unused).expect("nothing is served stale");
}

#[test]
fn providers_have_names_and_are_checked_one_by_one() {
    let good = [
        ("PORTOLAN_OIDC__CORP__ISSUER", "https://id.example.com"),
        ("PORTOLAN_OIDC__CORP__CLIENT_ID", "portolan"),
        ("PORTOLAN_OIDC__CORP__CLIENT_SECRET", "hush"),
        ("PORTOLAN_OIDC__CORP__CLAIMS__GROUPS", "roles"),
        ("PORTOLAN_KEYLESS__ISSUERS", r#"["https://ci.example.com"]"#),
    ];
    let config = load_env(&good).expect("valid").config;
    assert_eq!(config.oidc.0["corp"].claims.groups, "roles");
    assert_eq!(config.keyless.issuers.len(), 1);
    let shown = config.print();
    assert!(
        shown.contains("[oidc.corp]") && !shown.contains("hush"),
        "{shown}"
    );
    let bad = [
        ("PORTOLAN_OIDC__A__CLIENT_ID", "x"),
        ("PORTOLAN_OIDC__B__ISSUER", "http://10.0.0.1"),
        ("PORTOLAN_OIDC__B__SCOPES", r#"["email"]"#),
        ("PORTOLAN_OIDC__B__SECRET", "x"),
        ("PORTOLAN_KEYLESS__ISSUERS", r#"["http://ci.example.com"]"#),
    ];
    let found = problems(&bad);
    let keys: Vec<_> = found
        .iter()
        .filter_map(|problem| problem.split('`').nth(1))
        .collect();
    assert_eq!(
        keys,
        [
            "keyless.issuers",
            "oidc.a.issuer",
            "oidc.b.client_id",
            "oidc.b.issuer",
            "oidc.b.scopes",
            "oidc.b.secret",
        ]
    );
}

#[test]
fn a_directory_is_described_or_not_and_all_that_is_wrong_with_it_is_said_at_once() {
    let good = [
        (
            "PORTOLAN_LDAP__URLS",
            r#"["ldaps://one.example.com", "ldap://two.example.com:3389"]"#,
        ),
        ("PORTOLAN_LDAP__START_TLS", "true"),
        ("PORTOLAN_LDAP__BIND_DN", "cn=reader,dc=example,dc=com"),
        ("PORTOLAN_LDAP__BIND_PASSWORD", "hush"),
        ("PORTOLAN_LDAP__USERS__BASE", "ou=people,dc=example,dc=com"),
        ("PORTOLAN_LDAP__GROUPS__BASE", "ou=groups,dc=example,dc=com"),
        (
            "PORTOLAN_LDAP__GROUPS__FILTER",
            "(|(member={})(memberUid={name}))",
        ),
        ("PORTOLAN_LDAP__REQUIRED_GROUP", "staff"),
    ];
    let shown = load_env(&good).expect("valid").config.print();
    assert!(
        shown.contains("ldap://two.example.com:3389") && !shown.contains("hush"),
        "{shown}"
    );
    let keys = |more: &[(&'static str, &'static str)]| -> Vec<String> {
        let found = problems(more);
        let key = |problem: &String| problem.split('`').nth(1).map(str::to_owned);
        found.iter().filter_map(key).collect()
    };
    let bad = [
        ("PORTOLAN_LDAP__URLS", r#"["ldap://one.example.com"]"#),
        ("PORTOLAN_LDAP__BIND_PASSWORD", ""),
        ("PORTOLAN_LDAP__USERS__FILTER", "(uid={name})"),
        ("PORTOLAN_LDAP__USERS__ID", ""),
        ("PORTOLAN_LDAP__GROUPS__MEMBER_OF", "memberOf"),
        ("PORTOLAN_LDAP__BOUNDS__CONNECT", "0s"),
        ("PORTOLAN_LDAP__BOUNDS__LOGIN", "1m"),
        ("PORTOLAN_LDAP__BOUNDS__CONNECTIONS", "0"),
        ("PORTOLAN_LDAP__BOUNDS__REMEMBER", "1h"),
        ("PORTOLAN_OIDC__LDAP__ISSUER", "https://id.example.com"),
        ("PORTOLAN_OIDC__LDAP__CLIENT_ID", "portolan"),
    ];
    assert_eq!(
        keys(&bad),
        [
            "ldap.bounds.connect",
            "ldap.bounds.connections",
            "ldap.bounds.login",
            "ldap.bounds.remember",
            "ldap.groups.base",
            "ldap.urls",
            "ldap.users.base",
            "ldap.users.filter",
            "ldap.users.id",
            "oidc.ldap",
        ]
    );
    let unbound = [
        ("PORTOLAN_LDAP__BIND_DN", "cn=reader"),
        (
            "PORTOLAN_LDAP__URLS",
            r#"["http://x", "ldaps://x/dc=y", "ldaps://u:p@x"]"#,
        ),
        ("PORTOLAN_LDAP__USERS__FILTER", "(uid=*)"),
        ("PORTOLAN_LDAP__SURPRISE", "x"),
    ];
    assert_eq!(
        keys(&unbound),
        ["ldap.surprise", "ldap.urls", "ldap.users.filter"]
    );
    let half = [
        good[0],
        ("PORTOLAN_LDAP__START_TLS", "true"),
        ("PORTOLAN_LDAP__USERS__BASE", "no name"),
        ("PORTOLAN_LDAP__BIND_DN", "cn=reader"),
        ("PORTOLAN_LDAP__SUPERUSER_GROUP", "chiefs"),
    ];
    assert_eq!(
        keys(&half),
        [
            "ldap.bind_password",
            "ldap.superuser_group",
            "ldap.users.base"
        ]
    );
}
