//! Everything of a process that counts, on one page of metrics. What each of them means is in `docs/metrics.md`.

use crate::config::Config;
use crate::{layer, telemetry, token, wire, worker};
use portolan_auth::SystemClock;
use portolan_pg::Router;
use portolan_registry::pulls::Pulls;
use portolan_registry::upload::Uploads;
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use std::sync::Arc;

/// The page, and the parts that count on it.
#[derive(Debug)]
pub(crate) struct Instruments {
    /// What `/metrics` shows.
    pub(crate) page: Registry,
    /// The way to Postgres.
    pub(crate) database: Router,
    /// How uploads are taken in.
    pub(crate) uploads: Uploads,
    /// How often what is pulled.
    pub(crate) pulls: Pulls,
    /// Of logins.
    pub(crate) logins: token::Metrics,
    /// Of requests.
    pub(crate) requests: layer::metrics::Metrics,
    /// Of jobs.
    pub(crate) jobs: worker::Metrics,
}

impl Instruments {
    /// Makes them as configured. Nothing is dialled.
    pub(crate) fn of(config: &Config, random: &mut StdRng) -> anyhow::Result<Self> {
        let mut page = telemetry::metrics_page();
        let metrics = portolan_pg::Metrics::register(page.sub_registry_with_prefix("portolan"));
        metrics.register_for_dashboards(page.sub_registry_with_prefix("registry_database"));
        let database = wire::database(config, &wire::role_list(config), metrics, random)?;
        database.register_replicas(page.sub_registry_with_prefix("registry_database"));
        database.register_outage(page.sub_registry_with_prefix("portolan_pg"));
        let uploads = wire::uploads(config)?;
        uploads.register(&mut page);
        let pulls = Pulls::new(Arc::new(SystemClock));
        pulls.register(&mut page);
        Ok(Self {
            logins: token::Metrics::register(&mut page),
            requests: layer::metrics::Metrics::register(&mut page),
            jobs: worker::Metrics::register(&mut page),
            page,
            database,
            uploads,
            pulls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;
    use prometheus_client::encoding::text::encode;
    use std::collections::BTreeSet;

    /// The names on `page`, without `_total`: what it shows already, and what it will show once something has
    /// happened. The latter is told by nothing but its `Debug`.
    fn names(page: &Registry) -> BTreeSet<String> {
        let mut shown = String::new();
        encode(&mut shown, page).expect("a page");
        let mut names: BTreeSet<String> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .map(str::to_owned)
            .collect();
        let debug = format!("{page:?}");
        let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
        let mut prefix = String::new();
        for piece in debug.split("Registry { prefix: ").skip(1) {
            if piece.starts_with("Some") {
                prefix = quoted(piece) + "_";
            }
            for descriptor in piece.split("Descriptor { name: ").skip(1) {
                let unit = if descriptor.contains("unit: Some(Seconds)") {
                    "_seconds"
                } else if descriptor.contains("unit: Some(Bytes)") {
                    "_bytes"
                } else {
                    ""
                };
                names.insert(format!("{prefix}{}{unit}", quoted(descriptor)));
            }
        }
        names
    }

    #[tokio::test]
    async fn every_metric_is_explained_and_nothing_else() {
        let mut config = Config::default();
        config.database.primary = Some(DatabaseUrl::new("postgres://nobody@localhost/nothing"));
        config.database.replicas = vec![DatabaseUrl::new("postgres://nobody@localhost:1/nothing")];
        let mut random = wire::random().expect("randomness");
        let instruments = Instruments::of(&config, &mut random).expect("a page");
        let registered = names(&instruments.page);
        assert!(
            registered.contains("portolan_pg_barrier_seconds"),
            "{registered:#?}"
        );
        assert!(
            registered.contains("registry_database_lb_pool_size"),
            "{registered:#?}"
        );

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("docs/metrics.md");
        let explained: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
            .map(|name| name.strip_suffix("_total").unwrap_or(name).to_owned())
            .collect();
        let missing: Vec<_> = registered.difference(&explained).collect();
        assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
        let unknown: Vec<_> = explained.difference(&registered).collect();
        assert!(unknown.is_empty(), "no longer there: {unknown:#?}");
        instruments.database.close().await;
    }
}
