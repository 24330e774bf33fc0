//! Uploads and deletions on the metrics page.

use super::Deletion;
use crate::Error;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::{self, Write as _};

/// How a request that writes to an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// With bytes added.
    Appended,
    /// With a blob.
    Committed,
    /// The client went away, or was too slow.
    Interrupted,
    /// The content did not have its digest.
    Mismatched,
    /// Another request held the upload, or took it over.
    Busy,
    /// Refused for another reason of the client's.
    Refused,
    /// Our fault, or a dependency's.
    Failed,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Appended => "appended",
            Self::Committed => "committed",
            Self::Interrupted => "interrupted",
            Self::Mismatched => "mismatched",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Failed => "failed",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: Outcome,
}

/// What became of an object whose time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Deleted,
    Kept,
    Refused,
}

impl EncodeLabelValue for Fate {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Deleted => "deleted",
            Self::Kept => "kept",
            Self::Refused => "refused",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Object {
    fate: Fate,
}

/// Counted by every upload of a process.
#[derive(Debug, Clone, Default)]
pub(super) struct UploadMetrics {
    received: Counter,
    parts: Counter,
    requests: Family<Ended, Counter>,
    objects: Family<Object, Counter>,
    running: Gauge,
}

impl UploadMetrics {
    pub(super) fn register(&self, page: &mut Registry) {
        page.register_with_unit(
            "portolan_upload_received",
            "Bytes of blobs taken from clients",
            Unit::Bytes,
            self.received.clone(),
        );
        page.register(
            "portolan_upload_parts",
            "Parts of blobs put into the store",
            self.parts.clone(),
        );
        page.register(
            "portolan_upload_requests",
            "Requests that wrote to an upload, by how they ended",
            self.requests.clone(),
        );
        page.register(
            "portolan_upload_requests_running",
            "Requests that write to an upload now",
            self.running.clone(),
        );
        page.register(
            "portolan_object_deletions",
            "Objects whose quarantine was over, by what became of them; a refused one is a blob's and an alarm",
            self.objects.clone(),
        );
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    pub(super) fn part(&self) {
        self.parts.inc();
    }

    pub(super) fn begin(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }

    /// Counts how a request ended, which for one that succeeded was to be `success`.
    pub(super) fn ended(&self, failure: Option<&Error>, success: Outcome) {
        let outcome = failure.map_or(success, outcome);
        self.requests.get_or_create(&Ended { outcome }).inc();
    }

    pub(super) fn deletion(&self, deletion: &Deletion) {
        let Deletion {
            deleted,
            kept,
            refused,
        } = deletion;
        for (fate, count) in [
            (Fate::Deleted, deleted),
            (Fate::Kept, kept),
            (Fate::Refused, refused),
        ] {
            self.objects.get_or_create(&Object { fate }).inc_by(*count);
        }
    }
}

fn outcome(failure: &Error) -> Outcome {
    match failure {
        Error::BodyInterrupted => Outcome::Interrupted,
        Error::DigestMismatch { .. } => Outcome::Mismatched,
        Error::UploadBusy { .. } => Outcome::Busy,
        Error::Overloaded { .. }
        | Error::Unavailable { .. }
        | Error::Metadata(_)
        | Error::Store(_)
        | Error::StoreUnknown(_) => Outcome::Failed,
        _ => Outcome::Refused,
    }
}

/// A request that is running; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_units_and_outcomes() {
        let metrics = UploadMetrics::default();
        let mut page = Registry::default();
        metrics.register(&mut page);
        metrics.received(5);
        metrics.ended(Some(&Error::BodyInterrupted), Outcome::Appended);
        metrics.ended(None, Outcome::Committed);
        let running = metrics.begin();
        metrics.deletion(&Deletion {
            deleted: 0,
            kept: 0,
            refused: 1,
        });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &page).unwrap();
        for line in [
            "portolan_upload_received_bytes_total 5",
            "portolan_upload_requests_total{outcome=\"interrupted\"} 1",
            "portolan_upload_requests_total{outcome=\"committed\"} 1",
            "portolan_upload_requests_running 1",
            "portolan_object_deletions_total{fate=\"refused\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
        drop(running);
        assert_eq!(metrics.running.get(), 0);
    }
}
