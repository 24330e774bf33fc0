//! `migrations/structure.sql` is what a reviewer sees instead of the steps.

use crate::support::migrated;
use portolan_testkit::pg_cluster::PgCluster;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The dump without what differs from server to server and says nothing of the schema.
fn normalised(dump: &str) -> String {
    let noise = |line: &&str| {
        !(line.is_empty()
            || line.starts_with("--")
            || line.starts_with("SET ")
            || line.starts_with('\\')
            || line.starts_with("SELECT pg_catalog.set_config"))
    };
    let mut text = String::from(
        "-- The schema after the last migration, for reviewers. Made by a test: see migrations/README.md.\n\n",
    );
    for line in dump.lines().filter(noise) {
        writeln!(text, "{line}").unwrap();
        if line.ends_with(';') && !line.starts_with(' ') {
            text.push('\n');
        }
    }
    text
}

#[tokio::test]
async fn structure_sql_is_the_schema_after_the_last_step() {
    let database = migrated().await;
    let session = database.session().await;
    let version: String = session
        .query_one("SHOW server_version_num", &[])
        .await
        .unwrap()
        .get(0);
    let output = PgCluster::shared()
        .command("pg_dump")
        .args([
            "--schema-only",
            "--no-owner",
            "--no-privileges",
            "--exclude-table=_sqlx_migrations",
            "--dbname",
        ])
        .arg(database.socket_url())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let actual = normalised(&String::from_utf8(output.stdout).unwrap());
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../migrations/structure.sql");
    if std::env::vars().any(|(name, value)| name == "PORTOLAN_UPDATE" && value == "1") {
        std::fs::write(&file, &actual).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    // Each major version of pg_dump words the same schema a little differently; the file is in the words of 15.
    if version.starts_with("15") {
        assert!(
            kept == actual,
            "migrations/structure.sql is not the schema: run with PORTOLAN_UPDATE=1 and look at the difference"
        );
    } else {
        assert!(!kept.is_empty());
    }
}
