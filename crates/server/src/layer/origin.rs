//! Where a request came to and from, as the client sees it: scheme, authority, address.
//!
//! Challenges send passwords to the realm they name and logs blame the address they show, so nobody may
//! choose these by a header: `X-Forwarded-*` counts only from the configured proxies, and only what the
//! nearest of them wrote.

use crate::config::{Http, PublicUrl};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header, uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How the client speaks to us, or to the proxy before us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A request's two ends; a request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// How the client came.
    pub(crate) scheme: Scheme,
    /// The host, and the port if it is not the scheme's own, that the client asked for.
    pub(crate) authority: String,
    /// The client's address.
    pub(crate) client: IpAddr,
}

impl Origin {
    /// `https://registry.example.com`
    pub(crate) fn base_url(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority)
    }
}

/// What decides about origins.
#[derive(Debug, Clone)]
pub(crate) struct Origins(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    public_url: Option<PublicUrl>,
    trusted: Vec<IpNet>,
    /// Of our own listener.
    scheme: Scheme,
    /// For clients of HTTP/1.0, which need not name a host.
    fallback: String,
}

impl Origins {
    /// As configured.
    pub(crate) fn new(http: &Http) -> Self {
        let scheme = if http.tls.cert.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        Self(Arc::new(Rules {
            public_url: http.public_url.clone(),
            trusted: http.trusted_proxies.clone(),
            scheme,
            fallback: http.listen.to_string(),
        }))
    }

    /// The origin of a request; `None` if it names a host that cannot be one.
    fn of(&self, peer: IpAddr, uri: &Uri, headers: &HeaderMap) -> Option<Origin> {
        let rules = &*self.0;
        let named = match (uri.authority(), headers.get(header::HOST)) {
            (Some(authority), _) => Some(authority.as_str()),
            (None, Some(host)) => Some(host.to_str().ok()?),
            (None, None) => None,
        };
        let named = match named {
            Some(text) => checked_authority(text)?,
            None => rules.fallback.clone(),
        };
        let mut origin = Origin {
            scheme: rules.scheme,
            authority: named,
            client: peer,
        };
        if rules.trusts(peer) {
            origin.client = rules.forwarded_for(headers).unwrap_or(peer);
            match last(headers, &FORWARDED_PROTO) {
                Some("https") => origin.scheme = Scheme::Https,
                Some("http") => origin.scheme = Scheme::Http,
                _ => {}
            }
            if let Some(host) = last(headers, &FORWARDED_HOST).and_then(checked_authority) {
                origin.authority = host;
            }
        }
        if let Some(public) = &rules.public_url {
            origin.scheme = if public.https {
                Scheme::Https
            } else {
                Scheme::Http
            };
            origin.authority = public.authority.to_string();
        }
        Some(origin)
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl Rules {
    fn trusts(&self, address: IpAddr) -> bool {
        // A dual-stack listener shows IPv4 peers as `::ffff:10.0.0.1`.
        let address = address.to_canonical();
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The nearest address in the chain that is no proxy of ours: what stands further left, a client can write.
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all(&FORWARDED_FOR).iter().rev();
        let mut nearest = None;
        for entry in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.rsplit(','))
        {
            let Some(address) = forwarded_address(entry.trim()) else {
                break;
            };
            nearest = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }
}

/// An entry of `X-Forwarded-For`; some proxies add the port.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse()
        .ok()
        .or_else(with_port)
        .map(|address: IpAddr| address.to_canonical())
}

/// What the nearest proxy wrote: the last entry of the last line.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

/// A host and port that can stand in a URL without meaning anything else (RFC 3986 section 3.2).
fn checked_authority(text: &str) -> Option<String> {
    let authority: uri::Authority = text.parse().ok()?;
    let host = authority.host();
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(name),
    };
    let rest = text.strip_prefix(host)?;
    let is_port = rest.is_empty() || authority.port_u16().is_some();
    (is_host && is_port).then(|| text.to_ascii_lowercase())
}

/// Puts the [`Origin`] into the request's extensions; 400 for a host that cannot be one (RFC 9112 section 3.2).
pub(crate) async fn find(
    State(origins): State<Origins>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(origin) = origins.of(peer.ip(), request.uri(), request.headers()) else {
        return (
            StatusCode::BAD_REQUEST,
            "the request's `Host` is not valid\n",
        )
            .into_response();
    };
    request.extensions_mut().insert(origin);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";
    const STRANGER: &str = "203.0.113.9";

    fn origin(peer: &str, headers: &[(&str, &str)]) -> Option<Origin> {
        let config = Http {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Http::default()
        };
        of(&config, peer, headers)
    }

    fn of(config: &Http, peer: &str, headers: &[(&str, &str)]) -> Option<Origin> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        Origins::new(config).of(peer.parse().unwrap(), &Uri::from_static("/v2/"), &map)
    }

    fn shown(peer: &str, headers: &[(&str, &str)]) -> String {
        let origin = origin(peer, headers).expect("a valid host");
        format!("{} {}", origin.base_url(), origin.client)
    }

    #[test]
    fn a_stranger_cannot_choose_his_origin() {
        let headers = [
            ("host", "registry.example.com"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(
            shown(STRANGER, &headers),
            "http://registry.example.com 203.0.113.9"
        );
        assert_eq!(
            shown("::ffff:203.0.113.9", &headers).split(' ').next(),
            Some("http://registry.example.com")
        );
    }

    #[test]
    fn a_trusted_proxy_speaks_for_its_client() {
        let headers = [
            ("host", "backend:5000"),
            ("x-forwarded-for", "198.51.100.7, 203.0.113.9, 10.0.0.2"),
            ("x-forwarded-host", "Registry.Example.com:8443"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(
            shown(PROXY, &headers),
            "https://registry.example.com:8443 203.0.113.9"
        );
        assert_eq!(
            shown("::ffff:10.0.0.1", &headers),
            "https://registry.example.com:8443 203.0.113.9"
        );
    }

    #[test]
    fn what_a_client_slipped_in_before_the_proxys_own_does_not_count() {
        let headers = [
            ("host", "backend"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-host", "registry.example.com"),
            ("x-forwarded-proto", "http, https"),
            ("x-forwarded-for", "evil, 203.0.113.9"),
        ];
        assert_eq!(
            shown(PROXY, &headers),
            "https://registry.example.com 203.0.113.9"
        );
        let broken = [("host", "backend"), ("x-forwarded-for", "unknown")];
        assert_eq!(shown(PROXY, &broken), "http://backend 10.0.0.1");
    }

    #[test]
    fn a_public_url_settles_it() {
        let config = Http {
            public_url: Some(PublicUrl {
                https: true,
                authority: "r.example".parse().unwrap(),
            }),
            ..Http::default()
        };
        let origin = of(&config, STRANGER, &[("host", "other")]).unwrap();
        assert_eq!(origin.base_url(), "https://r.example");
    }

    #[test]
    fn hosts_are_checked() {
        for good in [
            "h",
            "h:1",
            "[::1]:5000",
            "[::1]",
            "a_b.example-1.com",
            "127.0.0.1:5000",
        ] {
            assert!(origin(STRANGER, &[("host", good)]).is_some(), "{good}");
        }
        for bad in [
            "", "u@h", "h/x", "h\"", "h:", "h:x", "h:99999", "h h", "(h)", "h;x", "[::1", "%41",
        ] {
            assert!(origin(STRANGER, &[("host", bad)]).is_none(), "{bad}");
        }
        let none = origin(STRANGER, &[]).unwrap();
        assert_eq!(none.authority, "0.0.0.0:5000");
    }

    /// With all that may be wrong.
    mod hostile {
        use super::super::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, Origin, Origins};
        use super::{PROXY, STRANGER};
        use crate::config::Http;
        use crate::fuzz::check;
        use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
        use proptest::collection::vec;
        use proptest::prelude::*;

        fn value() -> impl Strategy<Value = Vec<u8>> {
            let plausible = prop_oneof![
                "[a-z0-9.-]{1,20}(:[0-9]{0,6})?",
                "\\[[0-9a-f:]{0,20}\\](:[0-9]{1,5})?",
                "(https?|ftp|javascript)?(, ?(https?|HTTP)){0,2}",
                "([0-9]{1,3}\\.){3}[0-9]{1,3}(:[0-9]{1,5})?(, ?([0-9a-f:.]{1,20}|unknown)){0,3}",
                "[a-z.]{1,8}[\"@/\\\\#? %,;<>]{1,3}[a-z.]{0,8}",
            ];
            prop_oneof![3 => plausible.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..40)]
        }

        fn headers() -> impl Strategy<Value = HeaderMap> {
            let names = prop::sample::select(vec![
                header::HOST,
                FORWARDED_FOR,
                FORWARDED_HOST,
                FORWARDED_PROTO,
            ]);
            vec((names, value()), 0..6).prop_map(|lines| {
                let mut headers = HeaderMap::new();
                for (name, value) in lines {
                    if let Ok(value) = HeaderValue::from_bytes(&value) {
                        headers.append(name, value);
                    }
                }
                headers
            })
        }

        fn of(peer: &str, headers: &HeaderMap) -> Option<Origin> {
            let config = Http {
                trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
                ..Http::default()
            };
            Origins::new(&config).of(peer.parse().unwrap(), &Uri::from_static("/v2/"), headers)
        }

        /// Names that a URL, a quoted string and a log line can hold, whoever wrote them.
        #[test]
        fn an_origin_is_a_plain_host_whatever_is_sent() {
            check(&headers(), |headers| {
                for peer in [PROXY, STRANGER, "::1"] {
                    let Some(origin) = of(peer, &headers) else {
                        continue;
                    };
                    let plain =
                        |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
                    assert!(!origin.authority.is_empty(), "{headers:?}");
                    assert!(
                        origin.authority.bytes().all(plain),
                        "{:?} of {headers:?}",
                        origin.authority
                    );
                    let url: Uri = origin.base_url().parse().unwrap();
                    assert_eq!(
                        url.authority().unwrap().as_str(),
                        origin.authority,
                        "{headers:?}"
                    );
                    assert_eq!(url.path(), "/");
                }
            });
        }

        #[test]
        fn what_a_stranger_says_of_another_host_changes_nothing() {
            check(&headers(), |headers| {
                let mut host_alone = HeaderMap::new();
                for value in headers.get_all(header::HOST) {
                    host_alone.append(header::HOST, value.clone());
                }
                assert_eq!(
                    of(STRANGER, &headers),
                    of(STRANGER, &host_alone),
                    "{headers:?}"
                );
                let forwarded: HeaderMap<HeaderValue> = headers
                    .iter()
                    .filter(|(name, _)| **name != HeaderName::from_static("x-forwarded-for"))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                // Without a chain the nearest proxy is the client.
                if let Some(origin) = of(PROXY, &forwarded) {
                    assert_eq!(origin.client.to_string(), PROXY, "{headers:?}");
                }
            });
        }
    }
}
