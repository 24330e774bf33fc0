//! A browser as far as a login needs one: it keeps cookies, follows redirects, and fills in the provider's forms.

use http::Method;
use portolan_testkit::client::{Answer, Client};
use std::collections::BTreeMap;

/// Further than any login leads.
const REDIRECTS: usize = 20;

/// With its cookies, by server and name.
#[derive(Debug, Clone)]
pub(super) struct Browser {
    client: Client,
    jar: BTreeMap<(String, String), String>,
    /// Who logs in at a provider that asks.
    login: String,
}

impl Browser {
    /// Of somebody who is called `login` at the provider.
    pub(super) fn of(client: Client, login: &str) -> Self {
        Self {
            client,
            jar: BTreeMap::new(),
            login: login.to_owned(),
        }
    }

    /// One request; `target` is a whole URL, or a path of the registry.
    pub(super) async fn get(&mut self, target: &str) -> Answer {
        self.ask(Method::GET, target, None).await
    }

    /// Posts a form.
    pub(super) async fn post(&mut self, target: &str, form: &str) -> Answer {
        self.ask(Method::POST, target, Some(form)).await
    }

    async fn ask(&mut self, method: Method, target: &str, form: Option<&str>) -> Answer {
        let url = self.absolute(target, None);
        let server = server(&url);
        let mine = self.jar.iter().filter(|((of, _), _)| *of == server);
        let cookies: Vec<String> = mine
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let mut asking = self.client.request(method, &url);
        if !cookies.is_empty() {
            asking = asking.header("cookie", cookies.join("; "));
        }
        if let Some(form) = form {
            asking = asking
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.to_owned());
        }
        let answer = asking.send().await;
        for line in answer.lines("set-cookie") {
            self.keep(&server, line);
        }
        answer
    }

    fn keep(&mut self, server: &str, line: &str) {
        let pair = line.split(';').next().unwrap_or_default();
        let (name, value) = pair.split_once('=').expect("a name and a value");
        let key = (server.to_owned(), name.to_owned());
        let lower = line.to_ascii_lowercase();
        if value.is_empty() || lower.contains("max-age=0") || lower.contains("01 jan 1970") {
            self.jar.remove(&key);
        } else {
            self.jar.insert(key, value.to_owned());
        }
    }

    /// Follows redirects from `target` on, and logs in and agrees where the provider asks. Returns where that ends.
    pub(super) async fn walk(&mut self, target: &str) -> (String, Answer) {
        self.walk_until(target, "nowhere").await
    }

    /// The same, but stops before an address that begins with `end`.
    pub(super) async fn walk_until(&mut self, target: &str, end: &str) -> (String, Answer) {
        let mut url = self.absolute(target, None);
        let mut answer = self.get(&url).await;
        for _ in 0..REDIRECTS {
            if answer.status.is_redirection() {
                url = self.absolute(answer.header("location"), Some(&url));
                if url.starts_with(end) {
                    return (url, answer);
                }
                answer = self.get(&url).await;
                continue;
            }
            let page = String::from_utf8_lossy(&answer.body).into_owned();
            let form = if page.contains("name=\"prompt\" value=\"login\"") {
                format!("prompt=login&login={}&password=any", self.login)
            } else if page.contains("name=\"prompt\" value=\"consent\"") {
                "prompt=consent".to_owned()
            } else {
                return (url, answer);
            };
            answer = self.post(&url, &form).await;
        }
        panic!("redirected again and again: {url}");
    }

    /// A cookie that the registry has set.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let key = (self.client.address().to_string(), name.to_owned());
        self.jar.get(&key).map(String::as_str)
    }

    /// Puts a cookie of the registry there.
    pub(super) fn set_cookie(&mut self, name: &str, value: &str) {
        let key = (self.client.address().to_string(), name.to_owned());
        self.jar.insert(key, value.to_owned());
    }

    fn absolute(&self, target: &str, base: Option<&str>) -> String {
        if target.starts_with("http://") {
            return target.to_owned();
        }
        let server = base.map_or_else(|| self.client.address().to_string(), server);
        assert!(target.starts_with('/'), "{target}");
        format!("http://{server}{target}")
    }
}

fn server(url: &str) -> String {
    let rest = url.strip_prefix("http://").expect("a whole URL");
    rest.split('/').next().unwrap_or_default().to_owned()
}

/// A parameter of a URL's query, decoded.
pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
    Some(decoded.expect("text").into_owned())
}

/// The hidden field of a page's forms.
pub(super) fn form_token(page: &Answer) -> String {
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let (_, rest) = text
        .split_once("name=\"form_token\" value=\"")
        .expect("a form");
    rest.split('"').next().unwrap_or_default().to_owned()
}
