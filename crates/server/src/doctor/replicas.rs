//! The replicas: whether this process reaches them, who they are, how late, and what each kind of read would use now.

use super::advice::{Place, advice, chain};
use super::finding::Finding;
use portolan_pg::{PrimaryReason, ReadStatus, ReplicaContact, ReplicaStatus, Status};

/// What came of connecting to each; the start says the same.
pub(crate) fn reached(contacts: &[ReplicaContact]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, contact) in contacts.iter().enumerate() {
        let about = format!("replica {}", contact.endpoint);
        match &contact.server {
            Err(error) => {
                findings.push(Finding::problem(
                    about,
                    chain(error),
                    advice(error, Place::Replica),
                ));
            }
            Ok(server) => {
                let same = |other: &&ReplicaContact| other.server.as_ref().ok() == Some(server);
                if let Some(first) = contacts[..index].iter().find(same) {
                    let found = format!("is the same server as {}", first.endpoint);
                    let advice = "take one of the two out of `database.replicas`";
                    findings.push(Finding::problem(about, found, advice));
                }
            }
        }
    }
    findings
}

/// What is known of those that were reached, and what follows for reads.
pub(crate) fn judge(status: &Status, contacts: &[ReplicaContact]) -> Vec<Finding> {
    let mut findings = reached(contacts);
    let there = |replica: &&ReplicaStatus| {
        contacts
            .iter()
            .any(|contact| contact.endpoint == replica.endpoint && contact.server.is_ok())
    };
    findings.extend(status.replicas.iter().filter(there).map(replica));
    for server in &status.unknown_members {
        findings.push(Finding::warning(
            format!("server {server}"),
            "other processes read from it, and this one does not know it: its changes wait longer",
            "give every process the same `database.replicas`",
        ));
    }
    if !status.replicas.is_empty() {
        findings.extend(status.reads.iter().map(read));
    }
    findings
}

fn replica(replica: &ReplicaStatus) -> Finding {
    let about = format!("replica {}", replica.endpoint);
    let lag = match (replica.lag, replica.distance) {
        (Some(lag), Some(bytes)) => format!("{} ms and {bytes} bytes late", lag.as_millis()),
        _ => "of unknown lag".to_owned(),
    };
    let state = replica.state.unwrap_or("not in service yet");
    let server = replica.server.as_deref().unwrap_or("unknown");
    let found = format!("server {server}, {state}, {lag}");
    match (replica.fitness, replica.state) {
        ("fit", Some("serving")) => Finding::good(about, found),
        ("fit", None) => Finding::good(
            about,
            format!("{found}; the first process that reads puts it into service"),
        ),
        ("fit", Some(_)) => Finding::warning(
            about,
            found,
            "it is fit again, and will be put back into service after ten seconds",
        ),
        ("behind", _) => Finding::warning(
            about,
            found,
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

fn read(read: &ReadStatus) -> Finding {
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
