//! The few pages of the login: no script, nothing from elsewhere, and nothing that another site could frame or keep.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, Response};

/// What every answer under `/auth` carries.
const GUARD: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // A code stands in the address that a page was asked by.
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Puts the headers on that keep a page from harm.
pub(super) async fn guard(mut response: Response) -> Response {
    for (name, value) in GUARD {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// A text as it can stand in a page, also between quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A page around `body`, which is HTML.
pub(super) fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Portolan</title></head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    ))
}

/// A page that says one thing.
pub(super) fn message(text: &str) -> Html<String> {
    page(&format!(
        "<h1>Portolan</h1>\n<p>{}.</p>\n<p><a href=\"/auth/done\">Go on</a></p>\n",
        escaped(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::{escaped, message};

    #[test]
    fn what_others_say_is_text() {
        assert_eq!(escaped("<a b='\"&"), "&lt;a b=&#39;&quot;&amp;");
        assert!(!message("<script>").0.contains("<script>"));
    }
}
