//! The replicas: whether this process reaches them, who they are, how late, and what each kind of read would use now.

use super::advice::{Grantee, Place, advice, chain};
use super::finding::Finding;
use portolan_pg::{
    FreshnessMode, PrimaryReason, ReadStatus, ReplicaContact, ReplicaStatus, Status,
};

/// What is wrong with connecting to each; the start says the same.
pub(crate) fn reached(contacts: &[ReplicaContact], grantee: &Grantee) -> Vec<Finding> {
    let all = 0..contacts.len();
    all.filter_map(|index| trouble(contacts, index, grantee))
        .collect()
}

fn trouble(contacts: &[ReplicaContact], index: usize, grantee: &Grantee) -> Option<Finding> {
    let contact = contacts.get(index)?;
    let about = about(&contact.endpoint);
    match &contact.server {
        Err(error) => {
            let advice = advice(error, Place::Replica, grantee);
            Some(Finding::problem(about, chain(error), advice))
        }
        Ok(server) => {
            let same = |other: &&ReplicaContact| other.server.as_ref().ok() == Some(server);
            let first = contacts[..index].iter().find(same)?;
            let found = format!("is the same server as {}", first.endpoint);
            let advice = "take one of the two out of `database.replicas`";
            Some(Finding::problem(about, found, advice))
        }
    }
}

fn about(endpoint: &str) -> String {
    format!("replica {endpoint}")
}

/// What is known of each, what it costs, and what follows for reads.
pub(crate) fn judge(
    status: &Status,
    contacts: &[ReplicaContact],
    grantee: &Grantee,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (contact, known)) in contacts.iter().zip(&status.replicas).enumerate() {
        if let Some(mut finding) = trouble(contacts, index, grantee) {
            if contact.server.is_err() {
                finding.found = format!("{}; {}", finding.found, cost(known, status));
            }
            findings.push(finding);
        }
        if contact.server.is_ok() {
            findings.push(replica(known, status));
        }
    }
    for server in &status.unknown_members {
        findings.push(Finding::warning(
            format!("server {server}"),
            format!(
                "it is in service, and this process reaches it under no address: its changes wait {} ms for it",
                status.silence.as_millis()
            ),
            "give every process the same `database.replicas`",
        ));
    }
    findings.extend(status.reads.iter().map(|kind| read(kind, status)));
    findings
}

/// What one costs that cannot be reached.
fn cost(replica: &ReplicaStatus, status: &Status) -> String {
    let wait = status.silence.as_millis();
    match replica.state {
        _ if !status.members_known => {
            "the primary does not say whether pushes wait for it".to_owned()
        }
        Some("serving") if replica.fit_elsewhere > 0 => format!(
            "this process alone cannot reach it, others do ({}): each push through this one waits up to {wait} ms",
            replica.fit_elsewhere
        ),
        Some("serving") if replica.is_last => format!(
            "it stays in service, because it is the last: each push waits up to {wait} ms, until it is back, or has been \
             missing from `database.replicas` of every process for half a minute"
        ),
        Some("serving" | "draining") => format!(
            "each push waits up to {wait} ms until the processes that read have taken it out of service, which takes seconds"
        ),
        _ => "it is not in service, so no push waits for it".to_owned(),
    }
}

/// One that was reached.
fn replica(replica: &ReplicaStatus, status: &Status) -> Finding {
    let about = about(&replica.endpoint);
    let server = replica.server.as_deref().unwrap_or("unknown");
    let found = format!(
        "server {server}, {}, {}",
        place(replica, status),
        lag(replica, status)
    );
    match (replica.fitness, replica.state) {
        ("fit", None | Some("serving")) => Finding::good(about, found),
        ("fit", Some(_)) => Finding::warning(
            about,
            found,
            "it is fit again, and will be put back into service after ten seconds",
        ),
        ("behind", _) => Finding::warning(
            about,
            format!("{found}: it did not catch up while this was watching"),
            "see why it replays so slowly: its disk, long queries with `hot_standby_feedback`, `max_standby_streaming_delay`, a paused replay",
        ),
        ("several_servers", _) => Finding::problem(
            about,
            "leads now to one server and now to another, so no read is sent there",
            "list each replica by its own address in `database.replicas`, never by that of a load balancer",
        ),
        (fitness, _) => Finding::problem(
            about,
            format!("{found}: {fitness}"),
            "see its log; it must be a hot standby of `database.primary` that streams",
        ),
    }
}

/// Its place in the fleet.
fn place(replica: &ReplicaStatus, status: &Status) -> &'static str {
    match replica.state {
        Some(state) => state,
        None if !status.members_known => "which the primary does not say to be in service or not",
        None if status.mode == FreshnessMode::ReadIndex => "which needs no place in this mode",
        None => "not in service yet (the first process that reads puts it there)",
    }
}

/// The distance is exact. Since when is not known to a process that has just begun.
fn lag(replica: &ReplicaStatus, status: &Status) -> String {
    let unit = match status.mode {
        FreshnessMode::Beacon => "beats of the beacon",
        FreshnessMode::Wal | FreshnessMode::ReadIndex => "bytes",
    };
    match (replica.distance, replica.lag) {
        (Some(0), _) => "up to date".to_owned(),
        (Some(distance), Some(time)) => format!(
            "late by {distance} {unit}, for at least {} ms",
            time.as_millis()
        ),
        _ => "of unknown lag".to_owned(),
    }
}

fn read(read: &ReadStatus, status: &Status) -> Finding {
    let about = match read.need {
        "fresh" => "reads of tags, rights and presence",
        "any" => "reads of immutable bytes",
        "list" => "lists",
        _ => "the catalog, and mounts that name no source",
    };
    match (&read.replica, read.reason) {
        (Some(replica), _) => Finding::good(about, format!("served by {replica}")),
        (None, Some(PrimaryReason::Asked)) => {
            Finding::good(about, "served by the primary, as always".to_owned())
        }
        (None, Some(PrimaryReason::NoReplica)) if status.replicas.is_empty() => {
            Finding::good(about, "served by the primary: no replica is configured")
        }
        (None, reason) => Finding::warning(
            about,
            format!(
                "served by the primary, because {}",
                reason.map_or("no replica was chosen", in_words)
            ),
            "see what is said of the replicas",
        ),
    }
}

fn in_words(reason: PrimaryReason) -> &'static str {
    match reason {
        PrimaryReason::Asked => "only the primary is sure to have it",
        PrimaryReason::NoReplica => "there is no replica",
        PrimaryReason::Idle => "nobody has read for a while",
        PrimaryReason::NoFloor => "the primary did not say in time how far it is",
        PrimaryReason::NotMember => "no replica is in service yet",
        PrimaryReason::Ambiguous => "several addresses lead to servers of one name",
        PrimaryReason::Behind => "the replicas are too far behind",
        PrimaryReason::OtherEpoch => "the replicas follow another primary",
        PrimaryReason::NotInRecovery => "the replicas are none any more",
        PrimaryReason::SeveralServers => "the address of the replicas leads to several servers",
        PrimaryReason::ReplicaUnreachable => "no replica can be reached",
        PrimaryReason::ReplicaFailed => "the replica failed to answer",
        PrimaryReason::RecoveryConflict => "the replica ended the statement",
        PrimaryReason::Absent => "only the primary may say that something is not there",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_an_unreachable_replica_costs_depends_on_the_fleet() {
        let status = |members_known| Status {
            mode: FreshnessMode::Wal,
            silence: Duration::from_millis(500),
            members_known,
            epoch: None,
            floor_age: None,
            primary_failing: None,
            stale_for: None,
            replicas: Vec::new(),
            unknown_members: Vec::new(),
            reads: Vec::new(),
        };
        let said = |state, is_last, fit_elsewhere, members_known| {
            let replica = ReplicaStatus {
                endpoint: "pg-2:5432".to_owned(),
                server: None,
                state,
                is_last,
                fit_elsewhere,
                fitness: "unreachable",
                lag: None,
                distance: None,
                resting: None,
            };
            cost(&replica, &status(members_known))
        };
        let alone = said(Some("serving"), true, 2, true);
        assert!(alone.starts_with("this process alone"), "{alone}");
        let one_of_two = said(Some("serving"), false, 0, true);
        assert!(
            one_of_two.contains("500 ms until the processes"),
            "{one_of_two}"
        );
        let last = said(Some("serving"), true, 0, true);
        assert!(last.contains("because it is the last"), "{last}");
        let out = said(Some("out"), true, 0, true);
        assert!(out.contains("no push waits"), "{out}");
        let unknown = said(None, true, 0, false);
        assert!(unknown.contains("does not say"), "{unknown}");
    }
}
