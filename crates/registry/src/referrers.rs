//! Referrers of a manifest, paged by number and by bytes.

use crate::{Caller, Error, Freshness, Registry};
use portolan_metadata::referrers;
use portolan_oci::{Digest, MediaType, RepositoryName};

pub use portolan_metadata::referrers::ReferrerRow as Referrer;

/// A page of referrers, in digest order.
#[derive(Debug, Clone)]
pub struct ReferrerPage {
    /// Their descriptors.
    pub referrers: Vec<Referrer>,
    /// Whether there are more after the last one.
    pub more: bool,
    /// How current it is.
    pub freshness: Freshness,
}

impl Registry {
    /// Manifests of this repository whose subject is `subject`, whether or not that is here itself.
    pub async fn referrers(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        after: Option<&Digest>,
        wanted: Option<u64>,
    ) -> Result<ReferrerPage, Error> {
        let readable = self.readable(caller, name).await?;
        let page = self.referrers_page(wanted);
        let reader = self.router().read_list();
        let mut found = referrers::list(
            &reader,
            readable.id,
            subject,
            artifact_type,
            after,
            page + 1,
        )
        .await?;
        let freshness = self.list_freshness(&readable, &reader)?;
        let fitting = self.fitting(&found).min(page);
        let more = found.len() > fitting;
        found.truncate(fitting);
        Ok(ReferrerPage {
            referrers: found,
            more,
            freshness,
        })
    }

    /// Never empty while there is something: an empty page with a link would be a loop.
    fn referrers_page(&self, wanted: Option<u64>) -> usize {
        let max = self.0.limits.referrers_page;
        wanted.map_or(max, |n| usize::try_from(n).map_or(max, |n| n.clamp(1, max)))
    }

    /// How many of the rows fit the bytes of one page; at least one.
    fn fitting(&self, found: &[Referrer]) -> usize {
        let mut bytes = 0;
        let within = |row: &&Referrer| {
            bytes += row.encoded_size();
            bytes <= self.0.limits.referrers_page_bytes
        };
        found.iter().take_while(within).count().max(1)
    }
}
