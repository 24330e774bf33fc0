//! How an answer says that it may be out of date.

use super::header;
use axum::http::HeaderValue;
use axum::http::header::WARNING;
use axum::response::{IntoResponseParts, ResponseParts};
use portolan_registry::{Age, Freshness};
use std::convert::Infallible;

/// Marks an answer with what it is worth: nothing is added while that is everything.
///
/// For programs in HTTP's own words, code 110 (RFC 7234, section 5.5.1); for people in the form that the distribution
/// specification lets clients show, code 299.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marked(pub(crate) Freshness);

impl IntoResponseParts for Marked {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Freshness::Stale { age } = self.0 {
            let headers = parts.headers_mut();
            let stale = HeaderValue::from_static("110 - \"Response is Stale\"");
            headers.append(WARNING, stale);
            let lacks = match age {
                Age::AtMost(age) => {
                    format!("the changes of the last {} seconds", age.as_secs() + 1)
                }
                Age::Unknown => "changes, and nobody can tell since when".to_owned(),
            };
            let words = format!(
                "the registry's primary database is out of reach: this answer may lack {lacks}"
            );
            for warning in header::warnings([words]) {
                headers.append(WARNING, warning);
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use axum::response::IntoResponse as _;
    use std::time::Duration;

    fn headers(freshness: Freshness) -> HeaderMap {
        (Marked(freshness), "content")
            .into_response()
            .headers()
            .clone()
    }

    #[test]
    fn only_what_may_be_out_of_date_says_so() {
        assert!(!headers(Freshness::Current).contains_key(WARNING));
        let said = |age| {
            let said = headers(Freshness::Stale { age });
            let said = said.get_all(WARNING).iter();
            said.map(|said| said.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            said(Age::AtMost(Duration::from_millis(4_200))),
            [
                "110 - \"Response is Stale\"",
                "299 - \"the registry's primary database is out of reach: this answer may lack the changes of the last 5 seconds\"",
            ]
        );
        assert_eq!(
            said(Age::Unknown)[1],
            "299 - \"the registry's primary database is out of reach: this answer may lack changes, and nobody can tell since when\""
        );
    }
}
