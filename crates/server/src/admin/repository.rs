//! `portolan admin repository`.

use super::begin;
use anyhow::bail;
use clap::ValueEnum;
use portolan_metadata::{Visibility, repositories};
use portolan_oci::RepositoryName;
use portolan_pg::Router;
use std::io::Write as _;

/// What to do with a repository.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Set who may pull: everybody, or those with a right.
    Visibility {
        /// Which, such as `team/app`.
        name: RepositoryName,
        /// `public` or `private`.
        visibility: Choice,
    },
    /// Print every repository and its visibility.
    List,
}

/// Who may pull.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Choice {
    /// Everybody, without logging in too.
    Public,
    /// Those with a right.
    Private,
}

/// Rows fetched at a time.
const PAGE: usize = 1_000;

/// Runs one task.
pub(super) async fn run(router: &Router, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Visibility { name, visibility } => {
            let (visibility, word) = match visibility {
                Choice::Public => (Visibility::Public, "public"),
                Choice::Private => (Visibility::Private, "private"),
            };
            let tx = begin(router).await?;
            if !repositories::set_visibility(&tx, &name, visibility).await? {
                bail!("there is no repository `{}`", name.as_str());
            }
            router.acknowledge(tx.commit().await?).await?;
            writeln!(std::io::stdout(), "`{}` is {word}", name.as_str())?;
            Ok(())
        }
        Task::List => list(router).await,
    }
}

async fn list(router: &Router) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let mut last: Option<RepositoryName> = None;
    loop {
        let reader = router.read_list();
        let last_path = last.as_ref().map(RepositoryName::as_str);
        let rows = repositories::list(&reader, last_path, PAGE).await?;
        drop(reader);
        for row in &rows {
            let word = match row.visibility {
                Visibility::Public => "public",
                Visibility::Private => "private",
            };
            writeln!(out, "{word}\t{}", row.name.as_str())?;
        }
        match rows.into_iter().nth(PAGE - 1) {
            Some(row) => last = Some(row.name),
            None => return Ok(()),
        }
    }
}
