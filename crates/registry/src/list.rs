//! Lists: tags of a repository, the catalog, and the search that `podman search` asks.

use crate::{Caller, Error, Freshness, Registry};
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::{Access, RepositoryId, catalog, tags};
use portolan_oci::{RepositoryName, TagName};
use portolan_pg::Reader;

/// A page of a repository's tags, in bytewise order.
#[derive(Debug, Clone)]
pub struct TagPage {
    /// The tags.
    pub tags: Vec<TagName>,
    /// Whether there are more after the last one.
    pub more: bool,
    /// How current it is.
    pub freshness: Freshness,
}

/// A repository that the caller may read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readable {
    pub(crate) id: RepositoryId,
    access: Access,
    freshness: Freshness,
}

/// Repositories that were looked for.
#[derive(Debug, Clone)]
pub struct SearchPage {
    /// Those found.
    pub found: Vec<catalog::SearchRow>,
    /// How current that is.
    pub freshness: Freshness,
}

/// A page of repositories that the caller may read, in bytewise order.
#[derive(Debug, Clone)]
pub struct CatalogPage {
    /// Their canonical names.
    pub repositories: Vec<RepositoryName>,
    /// Whether there are more after the last one.
    pub more: bool,
    /// How current it is.
    pub freshness: Freshness,
}

impl Registry {
    /// The repository, if the caller may read it.
    pub(crate) async fn readable(
        &self,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<Readable, Error> {
        let key = AccessKey {
            path: name.clone(),
            principal: caller.principal,
        };
        let (access, freshness) = self.resolve::<ResolveAccess>(key).await?;
        self.authorize_read(&access, freshness, caller, name)?;
        let id = access
            .repository
            .ok_or_else(|| freshness.doubt(Error::NameUnknown))?;
        Ok(Readable {
            id,
            access,
            freshness,
        })
    }

    /// How current a list of `readable` is that `reader` has read; refused where that is too old for it.
    pub(crate) fn list_freshness(
        &self,
        readable: &Readable,
        reader: &Reader,
    ) -> Result<Freshness, Error> {
        let freshness = readable.freshness.max(Freshness::of(reader));
        freshness.admit(&readable.access, self.0.limits.max_stale)?;
        Ok(freshness)
    }

    /// The same of a list over repositories, public or not.
    fn catalog_freshness(&self, reader: &Reader) -> Result<Freshness, Error> {
        let freshness = Freshness::of(reader);
        freshness.within(self.0.limits.max_stale)?;
        Ok(freshness)
    }

    /// How many entries a page has: what the client asks for, within the bound.
    fn page(&self, wanted: Option<u64>) -> usize {
        let max = self.0.limits.page_max;
        wanted.map_or(max, |n| usize::try_from(n).map_or(max, |n| n.min(max)))
    }

    /// Tags after `last`; at most `wanted` of them and at most the configured page.
    pub async fn tags(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        last: Option<&str>,
        wanted: Option<u64>,
    ) -> Result<TagPage, Error> {
        let readable = self.readable(caller, name).await?;
        let page = self.page(wanted);
        if page == 0 {
            return Ok(TagPage {
                tags: Vec::new(),
                more: false,
                freshness: readable.freshness,
            });
        }
        let reader = self.router().read_list();
        let mut tags = tags::list(&reader, readable.id, last, page + 1).await?;
        let freshness = self.list_freshness(&readable, &reader)?;
        let more = tags.len() > page;
        tags.truncate(page);
        Ok(TagPage {
            tags,
            more,
            freshness,
        })
    }

    /// Repositories after `last` that the caller may read.
    pub async fn catalog(
        &self,
        caller: &Caller,
        last: Option<&str>,
        wanted: Option<u64>,
    ) -> Result<CatalogPage, Error> {
        if !caller.catalog_in_scope() {
            return Err(Error::InsufficientScope);
        }
        let page = self.page(wanted);
        if page == 0 {
            return Ok(CatalogPage {
                repositories: Vec::new(),
                more: false,
                freshness: Freshness::Current,
            });
        }
        let reader = self.router().read_list_of_new();
        let mut found = catalog::list(&reader, &caller.principal, last, page + 1).await?;
        let freshness = self.catalog_freshness(&reader)?;
        let more = found.len() > page;
        found.truncate(page);
        Ok(CatalogPage {
            repositories: found,
            more,
            freshness,
        })
    }

    /// Repositories the caller may read whose name contains `query`. As the catalog, it tells names: a token for
    /// some repositories does not reach it.
    pub async fn search(
        &self,
        caller: &Caller,
        query: &str,
        wanted: Option<u64>,
    ) -> Result<SearchPage, Error> {
        if !caller.catalog_in_scope() {
            return Err(Error::InsufficientScope);
        }
        let reader = self.router().read_list_of_new();
        let page = self.page(wanted);
        let found = catalog::search(&reader, &caller.principal, query, page).await?;
        let freshness = self.catalog_freshness(&reader)?;
        Ok(SearchPage { found, freshness })
    }
}
