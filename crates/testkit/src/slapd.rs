//! A real directory for tests: OpenLDAP's slapd over a folder of its own.
//!
//! It listens on the loopback, with StartTLS and with TLS at once, and ends when it is dropped or when the test process dies.
//! Nobody reads anything there but [`Slapd::READER`]; everybody may try his password.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::children::{Guarded, wait_for};
use crate::folder::Folder;
use crate::user::User;

/// Debian has it where only root's `PATH` leads.
const BINARY: &str = "/usr/sbin/slapd";
const INSTALL: &str =
    "slapd (2.5 or later) and ldap-utils are needed: `apt-get install slapd ldap-utils`";
/// For one connection on the loopback.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// A port found free may be taken before the server binds it.
const START_ATTEMPTS: u32 = 5;
const ROOT: &str = "cn=root,dc=example,dc=test";
const ROOT_PASSWORD: &str = "root of the tests";

/// A running server.
#[derive(Debug)]
pub struct Slapd {
    // Dropped in this order: first the server ends, then its folder goes.
    server: Guarded,
    folder: Folder,
    user: Option<User>,
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Slapd {
    /// Who may read.
    pub const READER: &'static str = "cn=reader,dc=example,dc=test";
    /// The reader's password.
    pub const READER_PASSWORD: &'static str = "reads and writes nothing";
    /// Where people are.
    pub const PEOPLE: &'static str = "ou=people,dc=example,dc=test";
    /// Where groups are.
    pub const GROUPS: &'static str = "ou=groups,dc=example,dc=test";

    /// Starts a server with this certificate, and waits until it answers. Nobody is in it but the reader.
    ///
    /// # Panics
    /// When slapd is missing (the message says how to get it) or does not start.
    pub fn start(certificate: &str, key: &str) -> Self {
        assert!(Path::new(BINARY).is_file(), "{INSTALL}");
        let folder = Folder::new("portolan-slapd-");
        let user = User::other_than_root(&["openldap", "nobody"]);
        let path = folder.path();
        fs::create_dir(path.join("data")).expect("the folder is ours");
        fs::write(path.join("certificate"), certificate).expect("the folder is ours");
        fs::write(path.join("key"), key).expect("the folder is ours");
        fs::write(path.join("slapd.conf"), settings(path)).expect("the folder is ours");
        fs::write(path.join("log"), "").expect("the folder is ours");
        if let Some(user) = user {
            for name in ["", "data", "certificate", "key", "slapd.conf", "log"] {
                user.own(&path.join(name));
            }
        }
        for _ in 0..START_ATTEMPTS {
            let (plain, tls) = (free_address(), free_address());
            let mut server = launch(path, user, plain, tls);
            if answers(plain, &mut server) {
                let slapd = Self {
                    server,
                    folder,
                    user,
                    plain,
                    tls,
                };
                slapd.change(&first());
                return slapd;
            }
        }
        let log = fs::read_to_string(path.join("log")).unwrap_or_default();
        panic!("`{BINARY}` does not start:\n{log}");
    }

    /// `ldap://localhost:…`, which takes StartTLS.
    pub fn url(&self) -> String {
        format!("ldap://localhost:{}", self.plain.port())
    }

    /// `ldaps://localhost:…`
    pub fn tls_url(&self) -> String {
        format!("ldaps://localhost:{}", self.tls.port())
    }

    /// Where the former is.
    pub fn address(&self) -> SocketAddr {
        self.plain
    }

    /// Applies changes that are written as LDIF.
    ///
    /// # Panics
    /// When the server refuses one.
    pub fn change(&self, ldif: &str) {
        let mut child = Command::new("ldapmodify")
            .args(["-x", "-H", &format!("ldap://{}", self.plain), "-D", ROOT])
            .args(["-w", ROOT_PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; {INSTALL}"));
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(ldif.as_bytes()).expect("it reads");
        drop(stdin);
        let status = child.wait().expect("it ends");
        assert!(status.success(), "refused:\n{ldif}");
    }

    /// Adds somebody with an address `NAME@example.test`.
    pub fn person(&self, name: &str, password: &str) {
        self.change(&format!(
            "dn: uid={name},{people}
changetype: add
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: {name}
mail: {name}@example.test
userPassword: {password}
",
            people = Self::PEOPLE
        ));
    }

    /// Adds a group of these people, or makes it one of these.
    pub fn group(&self, name: &str, members: &[&str]) {
        let dn = format!("cn={name},{}", Self::GROUPS);
        let mut ldif =
            format!("dn: {dn}\nchangetype: add\nobjectClass: groupOfNames\ncn: {name}\n");
        // It must have one.
        let _ = writeln!(ldif, "member: {}", Self::READER);
        for member in members {
            let _ = writeln!(ldif, "member: uid={member},{}", Self::PEOPLE);
        }
        self.change(&ldif);
    }

    /// Takes somebody out of a group.
    pub fn leave(&self, group: &str, member: &str) {
        self.change(&format!(
            "dn: cn={group},{}\nchangetype: modify\ndelete: member\nmember: uid={member},{}\n",
            Self::GROUPS,
            Self::PEOPLE
        ));
    }

    /// What it has been asked so far, line by line, in its own words.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("it is our file")
    }

    /// Ends it. Its ports are free then, and whoever asks there is refused.
    pub fn stop(&mut self) {
        self.server.signal(Signal::KILL);
        self.server.wait();
    }

    /// Starts it again, with all that is in it and on the same ports.
    pub fn restart(&mut self) {
        self.server = launch(self.folder.path(), self.user, self.plain, self.tls);
        assert!(answers(self.plain, &mut self.server), "{}", self.log());
    }
}

fn settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb.la
moduleload memberof.la
loglevel stats
# As some directories are by default: a bind without a password succeeds, as nobody.
allow bind_anon_dn
TLSCertificateFile {folder}/certificate
TLSCertificateKeyFile {folder}/key
database mdb
suffix "dc=example,dc=test"
rootdn "{ROOT}"
rootpw "{ROOT_PASSWORD}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
overlay memberof
"#,
        reader = Slapd::READER,
    )
}

fn first() -> String {
    format!(
        "dn: dc=example,dc=test
changetype: add
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: {people}
changetype: add
objectClass: organizationalUnit
ou: people

dn: {groups}
changetype: add
objectClass: organizationalUnit
ou: groups

dn: {reader}
changetype: add
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {password}
",
        people = Slapd::PEOPLE,
        groups = Slapd::GROUPS,
        reader = Slapd::READER,
        password = Slapd::READER_PASSWORD,
    )
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

fn launch(folder: &Path, user: Option<User>, plain: SocketAddr, tls: SocketAddr) -> Guarded {
    let log = fs::OpenOptions::new()
        .append(true)
        .open(folder.join("log"))
        .expect("it is our file");
    let errors = log.try_clone().expect("a file can be shared");
    let mut command = Command::new(BINARY);
    command
        // In the foreground, with a line for whatever is asked.
        .args(["-d", "stats", "-h"])
        .arg(format!("ldap://{plain}/ ldaps://{tls}/"))
        .arg("-f")
        .arg(folder.join("slapd.conf"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    if let Some(user) = user {
        user.run(&mut command);
    }
    Guarded::spawn("slapd", &mut command)
}

/// Waits until the server takes connections; false when it has ended instead.
fn answers(address: SocketAddr, server: &mut Guarded) -> bool {
    wait_for("slapd to answer", || {
        if TcpStream::connect_timeout(&address, CONNECT_TIME).is_ok() {
            return Some(true);
        }
        server.ended().map(|_| false)
    })
}
