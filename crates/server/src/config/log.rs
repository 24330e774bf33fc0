//! `[log]`: what is written to standard error.

use super::report::Report;
use super::setting::settings;
use super::values::words;
use tracing_subscriber::EnvFilter;

settings! {
    /// What is written to standard error.
    pub(crate) struct Log {
        /// A level (`error`, `warn`, `info`, `debug`, `trace`), or levels by module such as `info,portolan_pg=debug`.
        pub(crate) level: String = "info".to_owned(),
        /// `text` for people, `json` for collectors.
        pub(crate) format: LogFormat = LogFormat::Text,
        /// Which requests get a line: `changes` are writes, failures and slow ones (pulls are counted on `/metrics`; a line each would cost
        /// as much as serving them), `all`, or `none`. A server's failure is always written.
        pub(crate) requests: LogRequests = LogRequests::Changes,
    }
}

words! {
    /// How a line looks.
    pub(crate) enum LogFormat wants "`text` or `json`" {
        /// For people.
        Text = "text",
        /// For collectors.
        Json = "json",
    }
}

words! {
    /// Which requests get a line.
    pub(crate) enum LogRequests wants "`changes`, `all` or `none`" {
        /// Writes, failures and slow ones.
        Changes = "changes",
        /// Every one.
        All = "all",
        /// Only a server's failures.
        None = "none",
    }
}

impl Log {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if let Err(error) = EnvFilter::try_new(&self.level) {
            report.about("log.level", format!("is not a log level: {error}"));
        }
    }
}
