//! `portolan admin audit`.

use super::desk::{Desk, PAGE, Row};
use super::moment::Moment;
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::{AccountId, CredentialId, NamespaceId, RepositoryId};
use portolan_oci::RepositoryName;
use portolan_registry::identity::{Cursor, Entry, PullRow, Search};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What to ask the audit log.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Print changes, the newest first.
    Search(SearchArgs),
    /// Copy changes out, the oldest first, however many there are.
    Export(ExportArgs),
    /// Print how often what of a repository was pulled, by whom, in which hour.
    Pulls(PullsArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// From this moment on, or from so long ago (`36h`).
    #[arg(long)]
    since: Option<Moment>,
    /// Until this moment.
    #[arg(long)]
    until: Option<Moment>,
    /// By whom: the name that he had then.
    #[arg(long)]
    actor: Option<String>,
    /// What was done, such as `tag.move`.
    #[arg(long)]
    action: Option<String>,
    /// In which repository.
    #[arg(long)]
    repository: Option<RepositoryName>,
    /// In which namespace.
    #[arg(long)]
    namespace: Option<AccountName>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Before the change with this cursor, as JSON has it: the next page.
    #[arg(long)]
    before: Option<Cursor>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// From this moment on, or from so long ago (`36h`); else from the beginning.
    #[arg(long, conflicts_with = "after")]
    since: Option<Moment>,
    /// Until this moment; a minute ago unless given, as of the last seconds some may not be seen yet.
    #[arg(long)]
    until: Option<Moment>,
    /// After the change with this cursor, where an export ended. A file is continued.
    #[arg(long)]
    after: Option<Cursor>,
    /// How to write them.
    #[arg(long, value_enum, default_value_t)]
    format: ExportFormat,
    /// Into this file, which must not be there yet; else to standard output.
    #[arg(id = "export_file", long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PullsArgs {
    /// Of which repository.
    #[arg(long)]
    repository: RepositoryName,
    /// From this moment on, or from so long ago (`36h`); a week ago unless given.
    #[arg(long)]
    since: Option<Moment>,
    /// Until this moment.
    #[arg(long)]
    until: Option<Moment>,
}

/// `--format jsonl|csv`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A JSON object a line.
    #[default]
    Jsonl,
    /// RFC 4180, with a line of headings.
    Csv,
}

/// How long a change may be under way: its time is that of its beginning, and it is seen when it has ended.
const UNDER_WAY: Duration = Duration::from_mins(1);
/// The span of `pulls` unless given.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Runs one task.
pub(super) async fn run(desk: &Desk, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Search(args) => search(desk, args).await,
        Task::Export(args) => export(desk, args).await,
        Task::Pulls(args) => pulls(desk, args).await,
    }
}

async fn search(desk: &Desk, args: SearchArgs) -> anyhow::Result<()> {
    let search = Search {
        since: args.since.map(|moment| moment.0),
        until: args.until.map(|moment| moment.0),
        actor: args.actor,
        action: args.action,
        repository: args.repository,
        namespace: args.namespace,
    };
    let mut left = args.limit;
    let fetch = async |last: Option<&Entry>| {
        let before = last.map_or(args.before, |entry| Some(entry.cursor));
        let page = match left.min(PAGE) {
            0 => Vec::new(),
            rows => desk.identity.search_audit(&search, before, rows).await?,
        };
        left -= page.len();
        Ok(page)
    };
    desk.pages(fetch, |entry| Row {
        line: line(entry),
        object: object(entry),
    })
    .await
}

async fn export(desk: &Desk, args: ExportArgs) -> anyhow::Result<()> {
    let until = args.until.unwrap_or_else(|| Moment::ago(UNDER_WAY)).0;
    let since = args.since.map_or(SystemTime::UNIX_EPOCH, |moment| moment.0);
    let mut after = args.after.unwrap_or(Cursor {
        at: since,
        id: i64::MIN,
    });
    let mut out: Box<dyn Write> = match &args.file {
        Some(path) if args.after.is_some() => Box::new(BufWriter::new(continued(path)?)),
        Some(path) => {
            let new = OpenOptions::new().write(true).create_new(true).open(path);
            let new = new.with_context(|| format!("cannot make `{}`", path.display()))?;
            Box::new(BufWriter::new(new))
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    if args.format == ExportFormat::Csv && args.after.is_none() {
        writeln!(out, "{}", COLUMNS.join(","))?;
    }
    let mut rows = 0;
    loop {
        let page = desk.identity.export_audit(after, until, PAGE).await?;
        for entry in &page {
            match args.format {
                ExportFormat::Jsonl => writeln!(out, "{}", object(entry))?,
                ExportFormat::Csv => writeln!(out, "{}", csv(entry))?,
            }
        }
        // Whole lines only: whoever goes on after a kill goes on after the last of them.
        out.flush()?;
        rows += page.len();
        if let Some(last) = page.last() {
            after = last.cursor;
        }
        if page.len() < PAGE {
            break;
        }
    }
    writeln!(
        io::stderr(),
        "exported {rows} changes; later, go on with `--after {after}`"
    )?;
    Ok(())
}

/// The file of an earlier export, to be written on.
fn continued(path: &Path) -> anyhow::Result<std::fs::File> {
    let open = || -> io::Result<(std::fs::File, bool)> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok((file, last == [b'\n']))
    };
    let (file, whole) = open().with_context(|| format!("cannot continue `{}`", path.display()))?;
    if !whole {
        bail!(
            "`{}` ends in the middle of a line: remove what follows the last whole one, and go on after its cursor",
            path.display()
        );
    }
    Ok(file)
}

async fn pulls(desk: &Desk, args: PullsArgs) -> anyhow::Result<()> {
    let since = args.since.unwrap_or_else(|| Moment::ago(WEEK)).0;
    let until = args.until.unwrap_or_else(|| Moment::ago(Duration::ZERO)).0;
    let fetch = async |last: Option<&PullRow>| {
        let after = last.map(|row| row.pull);
        desk.identity
            .pull_counts(&args.repository, (since, until), after.as_ref(), PAGE)
            .await
    };
    desk.pages(fetch, |row| Row {
        line: pull_line(row),
        object: pull_object(row),
    })
    .await
}

fn line(entry: &Entry) -> String {
    let address = entry.address.map(|address| address.to_string());
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}\t{}",
        entry.at,
        entry.actor,
        entry.credential,
        address.as_deref().unwrap_or("-"),
        entry.action,
        entry.target,
        entry.detail
    )
}

fn object(entry: &Entry) -> Value {
    json!({
        "cursor": entry.cursor.to_string(),
        "at": entry.at,
        "actor": entry.actor,
        "actor_id": entry.actor_id.map(AccountId::get),
        "credential": entry.credential,
        "credential_id": entry.credential_id.map(CredentialId::get),
        "address": entry.address,
        "request_id": entry.request_id,
        "action": entry.action,
        "target": entry.target,
        "namespace_id": entry.namespace.map(NamespaceId::get),
        "repository_id": entry.repository.map(RepositoryId::get),
        "detail": entry.detail,
    })
}

/// In the order of the columns.
const COLUMNS: [&str; 13] = [
    "cursor",
    "at",
    "actor",
    "actor_id",
    "credential",
    "credential_id",
    "address",
    "request_id",
    "action",
    "target",
    "namespace_id",
    "repository_id",
    "detail",
];

fn csv(entry: &Entry) -> String {
    let object = object(entry);
    let field = |name: &&str| match &object[*name] {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    };
    COLUMNS.iter().map(field).collect::<Vec<_>>().join(",")
}

/// RFC 4180 section 2, and a text that a spreadsheet would take for a formula is shown as text.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '@']);
    if formula || text.contains([',', '"', '\r', '\n']) {
        let guard = if formula { "'" } else { "" };
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn pull_line(row: &PullRow) -> String {
    format!(
        "{}\t{}\t{}\t{}\t{}",
        row.hour,
        row.pulls,
        row.pull.digest,
        puller(row).as_deref().unwrap_or("anonymous"),
        row.pull
            .credential
            .map_or("-".to_owned(), |credential| credential.to_string()),
    )
}

/// Who it was; an account that is gone by its id.
fn puller(row: &PullRow) -> Option<String> {
    let gone = || row.pull.account.map(|account| format!("account {account}"));
    row.account.clone().or_else(gone)
}

fn pull_object(row: &PullRow) -> Value {
    json!({
        "hour": row.hour,
        "digest": row.pull.digest,
        "account": row.account,
        "account_id": row.pull.account.map(AccountId::get),
        "credential_id": row.pull.credential.map(CredentialId::get),
        "pulls": row.pulls,
    })
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_field_is_quoted_where_it_must_be() {
        assert_eq!(quoted("a b"), "a b");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
