//! Asks one route, as clients do, and says in the table's words what came back.

use super::scene::{CONFIG, Principal, manifest};
use super::table::Route;
use crate::app::PASSWORD;
use bytes::Bytes;
use http::Method;
use portolan_oci::Digest;
use portolan_testkit::client::{Answer, Asking};

/// Of an upload that nobody has begun.
const NO_UPLOAD: &str = "00000000-0000-4000-8000-000000000000";

/// How often a request is sent that hears "too many requests" or "come again": the machine is busy, and no cell of the
/// table is either.
const ATTEMPTS: usize = 20;

/// What a principal does in one repository, route after route.
pub(super) struct Visit<'a> {
    pub(super) principal: &'a Principal,
    pub(super) row: usize,
    pub(super) repository: String,
    /// Where the upload that was begun last goes on.
    pub(super) upload: Option<String>,
}

impl Visit<'_> {
    /// One request of a route with a repository in it.
    pub(super) async fn ask(&mut self, route: &Route) -> Answer {
        for _ in 0..ATTEMPTS {
            let answer = self.request(route).send().await;
            if answer.status == 429 || answer.status == 503 {
                continue;
            }
            if route.method == "POST" && answer.status == 202 {
                self.upload = Some(answer.location().to_owned());
            }
            return answer;
        }
        panic!(
            "the registry is too busy for `{} {}`",
            route.method, route.path
        )
    }

    fn request(&self, route: &Route) -> Asking {
        let content = format!("pushed {}", self.row);
        let method: Method = route.method.parse().expect("a method");
        let (reference, digest) = match method {
            Method::DELETE => (
                format!("row{}", self.row),
                Digest::sha256(format!("row{}", self.row).as_bytes()),
            ),
            Method::PUT => (
                format!("put{}", self.row),
                Digest::sha256(content.as_bytes()),
            ),
            _ => ("kept".to_owned(), Digest::sha256(CONFIG.as_bytes())),
        };
        let mut target = route
            .path
            .replace("{name}", &self.repository)
            .replace("{reference}", &reference)
            .replace("{digest}", &digest.to_string());
        if target.ends_with("/{id}") {
            target = match &self.upload {
                Some(location) => location.clone(),
                None => target.replace("{id}", NO_UPLOAD),
            };
            if method == Method::PUT {
                target = format!("{target}?digest={digest}");
            }
        }
        let asking = self.principal.client.request(method.clone(), &target);
        match (method, route.path.contains("/manifests/")) {
            (Method::PUT, true) => asking
                .header("content-type", "application/vnd.oci.image.manifest.v1+json")
                .body(manifest(&content)),
            (Method::PATCH, _) => asking.body(Bytes::from(content)),
            _ => asking,
        }
    }
}

/// One request of a route without a repository.
pub(super) async fn plain(principal: &Principal, route: &Route) -> Answer {
    let method: Method = route.method.parse().expect("a method");
    let target = match (route.method.as_str(), route.path.as_str()) {
        ("GET", "/v2/auth") => "/v2/auth?service=portolan&scope=repository:acme/public:pull",
        ("GET", "/v1/search") => "/v1/search?q=a&n=100",
        (_, path) => path,
    };
    let target = target.replace("{provider}", "corp");
    for _ in 0..ATTEMPTS {
        let asking = principal.client.request(method.clone(), &target);
        let answer = if route.path.starts_with("/api/") {
            asking
                .header("content-type", "application/json")
                .body(document(route))
                .send()
                .await
        } else if route.method == "POST" {
            let form = match principal.login {
                _ if route.path != "/v2/auth" => "form_token=x".to_owned(),
                Some(name) => format!("grant_type=password&username={name}&password={PASSWORD}")
                    .replace(' ', "+"),
                None => String::new(),
            };
            asking
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
                .send()
                .await
        } else {
            asking.send().await
        };
        if answer.status != 429 && answer.status != 503 {
            return answer;
        }
    }
    panic!(
        "the registry is too busy for `{} {}`",
        route.method, route.path
    )
}

/// What is sent to the web API: as it is wanted, but that nothing changes for the other rows.
fn document(route: &Route) -> &'static str {
    match (route.method.as_str(), route.path.as_str()) {
        ("POST", "/api/v1/user/") => {
            r#"{"username":"newcomer","password":"long enough to choose"}"#
        }
        // Too short, which is said to those alone who may choose one.
        ("PUT", "/api/v1/user/") => r#"{"password":"short"}"#,
        ("POST", "/api/v1/recovery") => r#"{"email":"nobody@example.com"}"#,
        _ => r#"{"token":"nothing that was mailed","password":"long enough to choose"}"#,
    }
}

/// In the table's words.
pub(super) fn word(answer: &Answer, route: &Route) -> String {
    let status = answer.status.as_u16();
    if status == route.success {
        return "ok".to_owned();
    }
    let is_json = answer.lines("content-type").concat() == "application/json";
    if route.method != "HEAD" && !is_json {
        return format!("{status}:page");
    }
    let error = if route.method == "HEAD" {
        None
    } else {
        let envelope = answer.json();
        let entry = &envelope["errors"][0];
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        Some((text("code"), text("message")))
    };
    let code = error.as_ref().map(|(code, _)| code.as_str());
    let challenge = answer.lines("www-authenticate").concat();
    match (status, code) {
        (401, None | Some("UNAUTHORIZED")) if challenge.contains("error=\"invalid_token\"") => {
            "401!".to_owned()
        }
        (401, None | Some("UNAUTHORIZED"))
            if challenge.contains("error=\"insufficient_scope\"") =>
        {
            "401<".to_owned()
        }
        (401, None | Some("UNAUTHORIZED")) if !challenge.is_empty() => "401".to_owned(),
        (403, Some("DENIED")) => {
            let (_, message) = error.expect("a code comes with a message");
            let passing = message.contains("read-only") || message.contains("mirror");
            if passing {
                "403*".to_owned()
            } else {
                "403".to_owned()
            }
        }
        (404, None | Some("NAME_UNKNOWN")) => "404".to_owned(),
        (status, code) => format!("{status}:{}", code.unwrap_or_default()),
    }
}
