//! What the router does, once more under the names that dashboards for GitLab's container registry ask for.
//!
//! The names below `registry_database` are its documented ones; the prefix is the caller's. What a word of theirs means here is said
//! beside it. Two things they count have no counterpart: a quarantine is a drain that the whole fleet agrees on, and there
//! is no cache of positions, so `no_cache` stands for "the primary had not said yet how far it is".

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    metrics::{MemberEvent, PrimaryReason, Role, of_statements},
    router::{Router, ServedBy, Servers},
};

/// Where a read or a transaction went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TargetLabels {
    target_type: Role,
    /// Whether it went to the primary although a replica might have served it.
    fallback: Fallback,
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fallback(bool);

impl prometheus_client::encoding::EncodeLabelValue for Fallback {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> fmt::Result {
        let word = if self.0 { "true" } else { "false" };
        prometheus_client::encoding::EncodeLabelValue::encode(&word, encoder)
    }
}

impl TargetLabels {
    /// What must be the primary's.
    pub(crate) const PRIMARY: Self = Self {
        target_type: Role::Primary,
        fallback: Fallback(false),
        reason: SELECTED,
    };

    /// Of a read.
    pub(crate) fn of(by: ServedBy) -> Self {
        match by {
            ServedBy::Primary {
                reason: PrimaryReason::Asked,
            } => Self::PRIMARY,
            ServedBy::Primary { reason } => Self {
                target_type: Role::Primary,
                fallback: Fallback(true),
                reason: word(reason),
            },
            ServedBy::Replica | ServedBy::Stale { .. } => Self {
                target_type: Role::Replica,
                fallback: Fallback(false),
                reason: SELECTED,
            },
        }
    }
}

const SELECTED: &str = "selected";

fn word(reason: PrimaryReason) -> &'static str {
    match reason {
        PrimaryReason::NoReplica => "no_replica",
        PrimaryReason::Idle | PrimaryReason::NoFloor => "no_cache",
        PrimaryReason::Asked => SELECTED,
        PrimaryReason::Behind | PrimaryReason::Absent => "not_up_to_date",
        PrimaryReason::ReplicaFailed | PrimaryReason::RecoveryConflict => "error",
        PrimaryReason::NotMember
        | PrimaryReason::Ambiguous
        | PrimaryReason::OtherEpoch
        | PrimaryReason::NotInRecovery
        | PrimaryReason::SeveralServers
        | PrimaryReason::ReplicaUnreachable => "all_quarantined",
    }
}

/// A change of a replica's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EventLabels {
    event: &'static str,
    reason: &'static str,
}

impl EventLabels {
    /// `None` for what is no event there.
    pub(crate) fn of(event: MemberEvent) -> Option<Self> {
        let (event, reason) = match event {
            MemberEvent::Registered => ("replica_added", "discovered"),
            MemberEvent::Draining => ("replica_quarantined", "unfit"),
            MemberEvent::Out => ("replica_removed", "unfit"),
            MemberEvent::Returned => ("replica_reintegrated", "fit"),
            MemberEvent::Adopted => return None,
        };
        Some(Self { event, reason })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct NameLabels {
    pub(crate) name: &'static str,
}

/// The counters; cheap to clone, all clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Dashboards {
    pub(crate) targets: Family<TargetLabels, Counter>,
    pub(crate) pool_events: Family<EventLabels, Counter>,
    pub(crate) queries: Family<NameLabels, Counter>,
    pub(crate) query_seconds: Family<NameLabels, Histogram, fn() -> Histogram>,
}

impl Dashboards {
    pub(crate) fn new() -> Self {
        Self {
            targets: Family::default(),
            pool_events: Family::default(),
            queries: Family::default(),
            query_seconds: Family::new_with_constructor(of_statements),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "lb_targets",
            "Reads and transactions, by which kind of server they went to and why",
            self.targets.clone(),
        );
        registry.register(
            "lb_pool_events",
            "Changes of a replica's place in service made by this process",
            self.pool_events.clone(),
        );
        registry.register("queries", "Statements, by their name", self.queries.clone());
        registry.register_with_unit(
            "query_duration",
            "Time a statement took, by its name",
            Unit::Seconds,
            self.query_seconds.clone(),
        );
    }
}

impl Router {
    /// Puts what is read off at the moment of a scrape into `registry`: below `registry_database` if that is its prefix.
    pub fn register_replicas(&self, registry: &mut Registry) {
        let servers = Arc::downgrade(&self.servers);
        registry.register_collector(Box::new(Replicas(servers)));
    }

    /// The same of the primary's loss, below `portolan_pg`.
    pub fn register_outage(&self, registry: &mut Registry) {
        let servers = Arc::downgrade(&self.servers);
        registry.register_collector(Box::new(Outage(servers)));
    }
}

/// A replica by its address in the configuration, and so bounded by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabel {
    replica: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    replica: String,
    status: &'static str,
}

/// Asks nobody: it shows what is known.
#[derive(Debug)]
struct Replicas(Weak<Servers>);

impl Collector for Replicas {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(servers) = self.0.upgrade() else {
            return Ok(());
        };
        let replicas = &servers.replicas;
        let online = replicas
            .iter()
            .filter(|replica| replica.guard.sight.resting().is_none())
            .count();
        let size = ConstGauge::new(i64::try_from(online).unwrap_or(i64::MAX));
        size.encode(encoder.encode_descriptor(
            "lb_pool_size",
            "Replicas that this process would send a read to",
            None,
            size.metric_type(),
        )?)?;

        let mut family = encoder.encode_descriptor(
            "lb_pool_status",
            "1 for what a replica is in the eyes of this process",
            None,
            size.metric_type(),
        )?;
        for replica in replicas {
            let is_online = replica.guard.sight.resting().is_none();
            for (status, applies) in [("online", is_online), ("quarantined", !is_online)] {
                let labels = StatusLabels {
                    replica: replica.name.clone(),
                    status,
                };
                let value = ConstGauge::new(i64::from(applies));
                value.encode(family.encode_family(&labels)?)?;
            }
        }

        let lags: Vec<_> = replicas
            .iter()
            .filter_map(|replica| {
                let seen = replica.guard.sight.observation()?;
                let label = ReplicaLabel {
                    replica: replica.name.clone(),
                };
                Some((label, servers.knowledge.lag(&seen)?))
            })
            .collect();
        let mut family = encoder.encode_descriptor(
            "lb_lag_bytes",
            "How much of the log a replica has not replayed, when it was last seen",
            None,
            size.metric_type(),
        )?;
        for (label, lag) in &lags {
            let value = ConstGauge::new(i64::try_from(lag.distance).unwrap_or(i64::MAX));
            value.encode(family.encode_family(label)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "lb_lag_seconds",
            "For how long, at least, a replica has been behind, when it was last seen",
            None,
            size.metric_type(),
        )?;
        for (label, lag) in &lags {
            let value = ConstGauge::new(lag.time.as_secs_f64());
            value.encode(family.encode_family(label)?)?;
        }
        Ok(())
    }
}

/// For the alarm: the primary does not answer.
#[derive(Debug)]
struct Outage(Weak<Servers>);

impl Collector for Outage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(servers) = self.0.upgrade() else {
            return Ok(());
        };
        let failing = servers.knowledge.primary_failing().unwrap_or_default();
        let stale = servers.stale_for().unwrap_or_default();
        for (name, help, value) in [
            (
                "primary_failing_seconds",
                "For how long the primary has not answered; 0 while it does",
                failing,
            ),
            (
                "stale_seconds",
                "For how long reads have been served without the primary; 0 while they are not",
                stale,
            ),
        ] {
            let value = ConstGauge::new(value.as_secs_f64());
            let kind = value.metric_type();
            value.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
