//! Which crate may use which, held by what Cargo itself says.
//!
//! ```text
//! server ──▶ registry ─┬─▶ metadata ─┬─▶ pg          an arrow points at what is used; none goes up
//!                      ├─▶ blobs ────┼─▶ oci
//!                      └─▶ auth ─────┘
//! ```
//! ARCHITECTURE.md says why. A new crate finds its place here before it finds its first caller.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What is ours begins with this; the rest of the name is its folder.
const PREFIX: &str = "portolan-";

/// Every crate of ours, and those of ours that it may use.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("oci", &[]),
    ("pg", &[]),
    ("metadata", &["oci", "pg"]),
    ("blobs", &["oci"]),
    ("auth", &["oci"]),
    ("registry", &["auth", "blobs", "metadata", "oci", "pg"]),
    ("importer", &["auth", "blobs", "metadata", "oci"]),
    (
        "server",
        &[
            "auth", "blobs", "importer", "metadata", "oci", "pg", "registry",
        ],
    ),
    ("testkit", &["oci"]),
];

/// Crates of others that only some of ours may name, in code or in tests.
const CONFINED: [(&str, &[&str]); 6] = [
    // The wire is the server's; everything below it speaks of repositories and manifests.
    ("axum", &["server"]),
    ("axum-server", &["server"]),
    // Where the bytes lie is a secret of `blobs`.
    ("aws-sdk-s3", &["blobs"]),
    ("aws-config", &["blobs"]),
    // Directories are asked by the server, as providers and mail servers are.
    ("ldap3", &["server"]),
    // On a request's path there are batches and `Tx`; migrations and foreign databases have sqlx.
    ("sqlx", &["importer", "metadata"]),
];

/// What `registry` may not name: it knows neither HTTP nor SQL.
const NOT_IN_REGISTRY: [&str; 10] = [
    "axum",
    "http",
    "http-body",
    "http-body-util",
    "hyper",
    "hyper-util",
    "tower",
    "tower-http",
    "sqlx",
    "tokio-postgres",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("`cargo metadata` reads our own workspace")
}

fn folder(package: &Package) -> &str {
    package
        .name
        .strip_prefix(PREFIX)
        .unwrap_or_else(|| panic!("`{}` lacks `{PREFIX}`", package.name))
}

/// The names of what a package depends on, by the kinds that `wanted` picks.
fn dependencies(package: &Package, wanted: impl Fn(DependencyKind) -> bool) -> BTreeSet<&str> {
    let picked = package
        .dependencies
        .iter()
        .filter(|dependency| wanted(dependency.kind));
    picked.map(|dependency| dependency.name.as_str()).collect()
}

fn ours(package: &Package, wanted: impl Fn(DependencyKind) -> bool) -> BTreeSet<&str> {
    let names = dependencies(package, wanted).into_iter();
    names.filter_map(|name| name.strip_prefix(PREFIX)).collect()
}

#[test]
fn every_crate_uses_only_those_below_it() {
    let metadata = metadata();
    assert!(
        metadata.packages.len() >= 8,
        "the workspace has {} packages",
        metadata.packages.len()
    );
    for package in &metadata.packages {
        let name = folder(package);
        let Some((_, allowed)) = ALLOWED.iter().find(|(placed, _)| *placed == name) else {
            panic!("`{name}` has no place in `ALLOWED` yet");
        };
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let used = ours(package, |kind| kind != DependencyKind::Development);
        assert!(
            used.is_subset(&allowed),
            "`{name}` uses {used:?}, of which it may use {allowed:?}"
        );
        let mut tested_with = ours(package, |kind| kind == DependencyKind::Development);
        tested_with.remove("testkit");
        assert!(
            tested_with.is_subset(&allowed),
            "the tests of `{name}` use {tested_with:?}"
        );
    }
}

#[test]
fn no_arrow_goes_up() {
    let place = |name: &str| ALLOWED.iter().position(|(placed, _)| *placed == name);
    for (name, allowed) in ALLOWED {
        for used in allowed {
            assert!(place(used) < place(name), "`{name}` stands above `{used}`");
        }
    }
}

#[test]
fn testkit_is_for_tests_only() {
    for package in &metadata().packages {
        let used = ours(package, |kind| kind != DependencyKind::Development);
        assert!(
            !used.contains("testkit"),
            "`{}` ships with the test kit",
            package.name
        );
    }
}

#[test]
fn libraries_with_one_home_are_named_nowhere_else() {
    for package in &metadata().packages {
        let name = folder(package);
        let named = dependencies(package, |_| true);
        for (library, homes) in CONFINED {
            assert!(
                !named.contains(library) || homes.contains(&name),
                "`{name}` names `{library}`, which only {homes:?} may"
            );
        }
    }
}

#[test]
fn registry_knows_neither_http_nor_sql() {
    let metadata = metadata();
    let registry = metadata
        .packages
        .iter()
        .find(|package| folder(package) == "registry");
    let named = dependencies(registry.expect("there is a registry"), |kind| {
        kind == DependencyKind::Normal
    });
    for library in NOT_IN_REGISTRY {
        assert!(!named.contains(library), "`registry` names `{library}`");
    }
}
