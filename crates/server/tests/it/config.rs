//! The configuration as an operator meets it: `check-config`, and a start that is refused.

use crate::app::command;
use std::io::Write as _;
use std::process::Output;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn check(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    command(&environment)
        .arg("check-config")
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn base() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "PORTOLAN_DATABASE__PRIMARY",
            "postgres://portolan:hush@db:5432/portolan",
        ),
        ("PORTOLAN_SECRETS__KEY", KEY),
        ("PORTOLAN_STORAGE__KIND", "s3"),
        ("PORTOLAN_STORAGE__S3__BUCKET", "blobs"),
        ("PORTOLAN_STORAGE__S3__ACCESS_KEY", "id"),
        ("PORTOLAN_STORAGE__S3__SECRET_KEY", "hush"),
        ("PORTOLAN_ADMIN__USERNAME", "admin"),
        ("PORTOLAN_ADMIN__PASSWORD", "hush"),
    ]
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let output = check(&[], &base());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"the configuration is good\n");
}

#[expect(clippy::too_many_lines, reason = "all of it is one text")]
#[test]
fn what_is_in_effect_is_printed_without_secrets() {
    let output = check(&["--print"], &base());
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        !printed.contains("hush") && !printed.contains(KEY),
        "{printed}"
    );
    insta::assert_snapshot!(printed, @r#"
    roles = ["registry", "api", "worker"]

    [accounts]
    sign_up = "closed"

    [admin]
    password = "[redacted]"
    username = "admin"

    [audit]
    retention = "400d"

    [database]
    freshness = "wal"
    max_stale = "15m"
    on_primary_loss = "stale"
    primary = "postgres://portolan:[redacted]@db:5432/portolan"
    replicas = []
    stale_after = "3s"

    [database.floors]
    poll_max = "100ms"
    poll_min = "50ms"
    probes_per_second = 50

    [database.lanes]
    batch_bytes = "1MiB"
    batch_keys = 256
    per_server = 2
    queue_bytes = "8MiB"
    queue_keys = 4096

    [database.pool]
    max = 8
    processes = 2

    [http]
    listen = "0.0.0.0:5000"
    private_listen = "127.0.0.1:5001"
    trusted_proxies = []

    [http.bounds]
    body_pause = "1m"
    connections = 10000
    head = "15s"
    head_size = "64KiB"
    idle = "75s"
    requests = 1024
    streams = 128

    [http.drain]
    delay = "5s"
    timeout = "1m"

    [http.tls]
    check_every = "10s"

    [jobs]
    concurrency = 2

    [keyless]
    issuers = []

    [ldap]
    allow_plaintext = false
    link_by = "nothing"
    sign_up = false
    start_tls = false
    urls = []

    [ldap.bounds]
    connect = "2s"
    connections = 8
    login = "5s"
    remember = "10s"

    [ldap.groups]
    name = "cn"

    [ldap.users]
    filter = "(uid={})"
    id = "entryUUID"
    mail = "mail"
    name = "uid"

    [limits]
    blob_cache = "16MiB"
    manifest = "4MiB"
    manifest_cache = "32MiB"
    page = 10000
    sparse_images = false

    [log]
    format = "text"
    level = "info"
    requests = "changes"

    [login]
    failures_per_account = 60
    failures_per_network = 120
    lockout_after = 10
    lockout_for = "1m"
    lockout_max = "15m"

    [mail]

    [oidc]

    [secrets]
    key = "[redacted]"
    old_keys = []

    [storage]
    kind = "s3"
    redirect = true

    [storage.directory]

    [storage.s3]
    access_key = "id"
    bucket = "blobs"
    path_style = false
    secret_key = "[redacted]"

    [storage.uploads]
    expire = "1d"
    memory = "192MiB"
    spool_space = "2560MiB"

    [tokens]
    key_rotation = "90d"
    lifetime = "5m"
    service = "portolan"
    "#);
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = check(&["--print"], &base()).stdout;
    let printed = String::from_utf8(printed).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(printed.as_bytes()).unwrap();
    let path = file.path().display().to_string();
    // The key cannot be read from `[redacted]`; it is given again.
    let again = check(
        &["--print", "--config", &path],
        &[("PORTOLAN_SECRETS__KEY", KEY)],
    );
    assert_eq!(String::from_utf8(again.stdout).unwrap(), printed);
}

#[test]
fn every_problem_is_said_at_once_and_nothing_starts() {
    let mut environment = base();
    environment.push(("PORTOLAN_HTPP__LISTEN", "127.0.0.1:1"));
    environment.push(("PORTOLAN_HTTP__LISTEN", "here"));
    environment.push(("PORTOLAN_DATABASE__POOL__MAX", "2"));
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let refused = |name: &str| {
        let output = command(&environment).arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("check-config");
    assert_eq!(said, refused("serve"));
    insta::assert_snapshot!(
        said,
        @r"
    error: the configuration has 3 problems
      `database.pool.max`: must lie between 4 and 64 (environment variable `PORTOLAN_DATABASE__POOL__MAX`)
      `htpp`: unknown key; known here: roles, http, database, storage, secrets, admin, tokens, accounts, mail, login, oidc, keyless, ldap, audit, limits, jobs, log (environment variable `PORTOLAN_HTPP__LISTEN`)
      `http.listen`: `here` is not an address and port such as `0.0.0.0:5000` (environment variable `PORTOLAN_HTTP__LISTEN`)
    "
    );
}

#[test]
fn variables_of_distribution_that_do_nothing_are_noted() {
    let mut environment = base();
    environment.push(("REGISTRY_HTTP_SECRET", "x"));
    environment.push(("REGISTRY_HTTP_ADDR", ":5050"));
    let output = check(&["--print"], &environment);
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("listen = \"0.0.0.0:5050\""), "{printed}");
    let noted = String::from_utf8(output.stderr).unwrap();
    assert!(
        noted.starts_with("note: environment variable `REGISTRY_HTTP_SECRET` has no effect"),
        "{noted}"
    );
}
