//! Lists: tags of a repository, the catalog, and the search that `podman search` asks.

use crate::{Caller, Error, Registry, authorize};
use portolan_auth::Action;
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::{RepositoryId, catalog, tags};
use portolan_oci::{RepositoryName, TagName};

/// A page of a repository's tags, in bytewise order.
#[derive(Debug, Clone)]
pub struct TagPage {
    /// The tags.
    pub tags: Vec<TagName>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// A page of repositories that the caller may read, in bytewise order.
#[derive(Debug, Clone)]
pub struct CatalogPage {
    /// Their canonical names.
    pub repositories: Vec<RepositoryName>,
    /// Whether there are more after the last one.
    pub more: bool,
}

impl Registry {
    /// The repository, if the caller may read it.
    pub(crate) async fn readable(
        &self,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<RepositoryId, Error> {
        let key = AccessKey {
            path: name.clone(),
            principal: caller.principal,
        };
        let access = self.resolve::<ResolveAccess>(key).await?;
        authorize(&access, caller, name, Action::Pull)?;
        access.repository.ok_or(Error::NameUnknown)
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
        let repository = self.readable(caller, name).await?;
        let page = self.page(wanted);
        if page == 0 {
            return Ok(TagPage {
                tags: Vec::new(),
                more: false,
            });
        }
        let reader = self.router().read_list();
        let mut tags = tags::list(&reader, repository, last, page + 1).await?;
        let more = tags.len() > page;
        tags.truncate(page);
        Ok(TagPage { tags, more })
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
            });
        }
        let reader = self.router().read_list_of_new();
        let mut found = catalog::list(&reader, &caller.principal, last, page + 1).await?;
        let more = found.len() > page;
        found.truncate(page);
        Ok(CatalogPage {
            repositories: found,
            more,
        })
    }

    /// Repositories the caller may read whose name contains `query`. As the catalog, it tells names: a token for
    /// some repositories does not reach it.
    pub async fn search(
        &self,
        caller: &Caller,
        query: &str,
        wanted: Option<u64>,
    ) -> Result<Vec<catalog::SearchRow>, Error> {
        if !caller.catalog_in_scope() {
            return Err(Error::InsufficientScope);
        }
        let reader = self.router().read_list_of_new();
        Ok(catalog::search(&reader, &caller.principal, query, self.page(wanted)).await?)
    }
}
