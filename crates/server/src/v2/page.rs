//! Which part of a list a client wants: `n` and `last`.

use super::extract::Parameters;
use super::{Error, header};
use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::http::request::Parts;
use axum::response::{IntoResponseParts, ResponseParts};
use std::convert::Infallible;

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// How many entries; `None` where the client leaves it to us. Never an error for being large:
    /// bots ask for 10,000, and get what fits and a link.
    pub(super) n: Option<u64>,
    /// After which entry.
    pub(super) last: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::read(&Parameters::of(&parts.uri)?)
    }
}

impl Page {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, Error> {
        let n = parameters.first("n").map(number).transpose()?;
        let last = parameters.first("last").filter(|last| !last.is_empty());
        Ok(Self {
            n,
            last: last.map(str::to_owned),
        })
    }

    /// The `Link` to the page after `last`, on `path` with the same size and `others`.
    pub(super) fn after(&self, path: &str, last: &str, others: &[(&str, &str)]) -> Link {
        let n = self.n.map(|n| n.to_string());
        let mut parameters = others.to_vec();
        parameters.extend(n.as_deref().map(|n| ("n", n)));
        parameters.push(("last", last));
        Link(Some(header::next_page(path, &parameters)))
    }
}

/// The link to the next page, if there is one.
#[derive(Debug, Default)]
pub(super) struct Link(Option<HeaderValue>);

impl IntoResponseParts for Link {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Some(link) = self.0 {
            parts.headers_mut().insert(LINK, link);
        }
        Ok(parts)
    }
}

fn number(text: &str) -> Result<u64, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::PageInvalid);
    }
    // Digits that do not fit are a number larger than every list.
    Ok(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Page;
    use crate::v2::extract::Parameters;
    use axum::http::Uri;

    fn page(query: &str) -> Option<(Option<u64>, Option<String>)> {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let page = Page::read(&Parameters::of(&uri).unwrap()).ok()?;
        Some((page.n, page.last))
    }

    #[test]
    fn a_page_is_read_from_the_query() {
        assert_eq!(page(""), Some((None, None)));
        assert_eq!(page("n=0"), Some((Some(0), None)));
        assert_eq!(
            page("n=10000&last=v1&ns=x"),
            Some((Some(10_000), Some("v1".to_owned())))
        );
        assert_eq!(page("last="), Some((None, None)));
    }

    #[test]
    fn a_number_too_large_for_any_list_is_no_error() {
        assert_eq!(
            page("n=99999999999999999999999999"),
            Some((Some(u64::MAX), None))
        );
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for query in ["n=-1", "n=", "n=1.5", "n=abc", "n=0x10", "n=%2B1", "n=1%00"] {
            assert_eq!(page(query), None, "{query}");
        }
    }
}
