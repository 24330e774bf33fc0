//! What the first screen says: where it is, who may enter, and three lines to paste.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::secrets::USERNAME;

/// The facts of a start.
#[derive(Debug)]
pub(super) struct Announcement<'a> {
    /// `host:port` as a client on this machine names us.
    pub(super) host: &'a str,
    /// The private listener, for metrics.
    pub(super) private: SocketAddr,
    /// The password, if it has not been shown yet.
    pub(super) password: Option<&'a str>,
    /// The data folder.
    pub(super) folder: &'a Path,
    /// Postgres's version.
    pub(super) postgres: &'a str,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            private,
            password,
            folder,
            postgres,
        } = self;
        let credentials = folder.join("credentials.json");
        let credentials = credentials.display();
        writeln!(out, "\nPortolan is ready.\n")?;
        writeln!(out, "  URL       http://{host}")?;
        writeln!(out, "  user      {USERNAME}")?;
        match password {
            Some(password) => {
                writeln!(out, "  password  {password}")?;
                writeln!(out, "            (shown this once; kept in {credentials})")?;
            }
            None => writeln!(out, "  password  as before, in {credentials}")?,
        }
        writeln!(
            out,
            "  data      {} (PostgreSQL {postgres})",
            folder.display()
        )?;
        writeln!(out, "  metrics   http://{private}/metrics")?;
        writeln!(out, "\nLog in, push an image you have, pull it again:\n")?;
        match password {
            Some(password) => {
                writeln!(
                    out,
                    "  docker login {host} --username {USERNAME} --password {password}"
                )?;
            }
            None => writeln!(out, "  docker login {host} --username {USERNAME}")?,
        }
        let image = format!("{host}/{USERNAME}/alpine");
        writeln!(out, "  docker tag alpine {image} && docker push {image}")?;
        writeln!(out, "  docker pull {image}")?;
        writeln!(
            out,
            "\nCtrl-C stops it; the same command starts it again with its data."
        )
    }
}

/// How a client on this machine names the address. Clients allow plain HTTP to `127.0.0.1` and `localhost` without
/// being told to, and an address such as `0.0.0.0` is one to listen on, not one to call.
pub(super) fn host(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        ip if ip.is_unspecified() => format!("127.0.0.1:{port}"),
        IpAddr::V6(ip) if ip.is_loopback() => format!("localhost:{port}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_as_clients_may_call_it() {
        for (address, name) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("[::]:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "localhost:5000"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(host(address.parse().unwrap()), name);
        }
    }

    #[test]
    fn the_password_is_on_the_first_screen_only() {
        let mut announcement = Announcement {
            host: "127.0.0.1:5000",
            private: "127.0.0.1:41000".parse().unwrap(),
            password: Some("s3cret"),
            folder: Path::new("/srv/data"),
            postgres: "15.18",
        };
        let first = announcement.to_string();
        insta::assert_snapshot!(first, @r"

        Portolan is ready.

          URL       http://127.0.0.1:5000
          user      admin
          password  s3cret
                    (shown this once; kept in /srv/data/credentials.json)
          data      /srv/data (PostgreSQL 15.18)
          metrics   http://127.0.0.1:41000/metrics

        Log in, push an image you have, pull it again:

          docker login 127.0.0.1:5000 --username admin --password s3cret
          docker tag alpine 127.0.0.1:5000/admin/alpine && docker push 127.0.0.1:5000/admin/alpine
          docker pull 127.0.0.1:5000/admin/alpine

        Ctrl-C stops it; the same command starts it again with its data.
        ");
        announcement.password = None;
        let later = announcement.to_string();
        assert!(!later.contains("s3cret"));
        assert!(later.contains("/srv/data/credentials.json"));
    }
}
