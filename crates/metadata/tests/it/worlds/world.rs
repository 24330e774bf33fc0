//! A small random world of accounts, teams, permissions and repositories, and how it gets into the database.
//!
//! Ids are chosen here, so that whoever draws conclusions knows them. Every table is small and every state likely: what
//! is rare outside shall meet everything else that is rare.

use portolan_metadata::{AccountId, CredentialId, Principal};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::fmt::Write as _;

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    Past,
    Future,
}

impl End {
    fn any(rng: &mut StdRng) -> Self {
        match rng.random_range(0..5) {
            0 => Self::Past,
            1 => Self::Future,
            _ => Self::Never,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Never => "NULL",
            Self::Past => "now() - interval '1 hour'",
            Self::Future => "now() + interval '1 hour'",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) state: &'static str,
    pub(crate) generation: i64,
    pub(crate) superuser: bool,
    pub(crate) read_only_superuser: bool,
    /// Of robots.
    pub(crate) owner: Option<i64>,
    pub(crate) end: End,
}

#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) owner: i64,
    pub(crate) read_only: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) id: i64,
    pub(crate) namespace: i64,
    /// Of one that is being removed: what it was.
    pub(crate) path: String,
    pub(crate) active: bool,
    pub(crate) public: bool,
    pub(crate) mode: &'static str,
    pub(crate) mirror: Option<i64>,
    /// Which of the blobs it has, by their places in [`BLOBS`].
    pub(crate) blobs: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Team {
    pub(crate) id: i64,
    pub(crate) organization: i64,
    pub(crate) role: &'static str,
    pub(crate) members: Vec<i64>,
}

/// Whom a permission names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Account(i64),
    Team(i64),
}

#[derive(Debug, Clone)]
pub(crate) struct Permission {
    pub(crate) repository: i64,
    pub(crate) whom: Whom,
    pub(crate) role: i16,
}

#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) id: i64,
    pub(crate) account: i64,
    pub(crate) most: Option<i16>,
    pub(crate) end: End,
}

/// All there is.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) accounts: Vec<Account>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) teams: Vec<Team>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) credentials: Vec<Credential>,
}

/// The contents of the blobs there are; each is in some of the repositories.
pub(crate) const BLOBS: [&str; 4] = ["blob 1", "blob 2", "blob 3", "blob 4"];
/// The payload of the one manifest, which every repository has under the tag `latest`.
pub(crate) const MANIFEST: &str = "one";

fn of<'a>(rng: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices[rng.random_range(0..choices.len())]
}

impl World {
    /// The world of that seed.
    pub(crate) fn random(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut world = Self {
            seed,
            accounts: Vec::new(),
            namespaces: Vec::new(),
            repositories: Vec::new(),
            teams: Vec::new(),
            permissions: Vec::new(),
            credentials: Vec::new(),
        };
        world.make_accounts(rng);
        world.make_namespaces(rng);
        world.make_teams(rng);
        world.give_rights(rng);
        world
    }

    fn make_accounts(&mut self, rng: &mut StdRng) {
        let states = [
            "active", "active", "active", "active", "active", "active", "disabled", "removing",
        ];
        let mut id = 0;
        let mut account = |rng: &mut StdRng, kind, name: String, owner| {
            id += rng.random_range(1..3);
            let state = of(rng, &states);
            let name = if state == "removing" {
                format!("~{id}")
            } else {
                name
            };
            let is_user = kind == "user";
            Account {
                id,
                name,
                kind,
                state,
                generation: rng.random_range(1..4),
                superuser: is_user && rng.random_ratio(1, 8),
                read_only_superuser: is_user && rng.random_ratio(1, 6),
                owner,
                end: if kind == "robot" {
                    End::any(rng)
                } else {
                    End::Never
                },
            }
        };
        for number in 1..=rng.random_range(2..=4) {
            self.accounts
                .push(account(rng, "user", format!("user{number}"), None));
        }
        for number in 1..=rng.random_range(1..=2) {
            self.accounts
                .push(account(rng, "organization", format!("org{number}"), None));
        }
        let owners: Vec<(i64, String)> = self
            .accounts
            .iter()
            .map(|owner| (owner.id, owner.name.clone()))
            .collect();
        for number in 1..=rng.random_range(1..=3) {
            let (owner, name) = &owners[rng.random_range(0..owners.len())];
            let name = format!("{}+bot{number}", name.trim_start_matches('~'));
            self.accounts
                .push(account(rng, "robot", name, Some(*owner)));
        }
    }

    fn make_namespaces(&mut self, rng: &mut StdRng) {
        let owners: Vec<Account> = self
            .accounts
            .iter()
            .filter(|account| account.owner.is_none())
            .cloned()
            .collect();
        let (mut id, mut repository) = (0, 0);
        for (place, owner) in owners.iter().enumerate() {
            if rng.random_ratio(1, 8) {
                continue;
            }
            id += rng.random_range(1..3);
            // Mostly its own.
            let other = rng.random_range(0..owners.len() * 4);
            let owner = owners.get(other).unwrap_or(owner).id;
            let name = format!("space{place}");
            self.namespaces.push(Namespace {
                id,
                name: name.clone(),
                owner,
                read_only: rng.random_ratio(1, 5),
            });
            for number in 1..=rng.random_range(0..=2) {
                repository += rng.random_range(1..3);
                let mode = of(rng, &["normal", "normal", "normal", "read_only", "mirror"]);
                let account = rng.random_range(0..self.accounts.len() + 1);
                let mirror = self.accounts.get(account).filter(|_| mode == "mirror");
                self.repositories.push(Repository {
                    id: repository,
                    namespace: id,
                    path: format!("{name}/app{number}"),
                    active: !rng.random_ratio(1, 8),
                    public: rng.random_ratio(1, 3),
                    mode,
                    mirror: mirror.map(|account| account.id),
                    blobs: (0..BLOBS.len())
                        .filter(|_| rng.random_ratio(1, 3))
                        .collect(),
                });
            }
        }
    }

    fn make_teams(&mut self, rng: &mut StdRng) {
        let mut id = 0;
        for organization in self
            .accounts
            .iter()
            .filter(|account| account.kind == "organization")
        {
            for _ in 0..rng.random_range(0..=3) {
                id += rng.random_range(1..3);
                let role = of(rng, &["member", "member", "creator", "admin"]);
                let able = self
                    .accounts
                    .iter()
                    .filter(|account| account.kind != "organization");
                let members = able
                    .filter(|_| rng.random_ratio(1, 3))
                    .map(|account| account.id)
                    .collect();
                self.teams.push(Team {
                    id,
                    organization: organization.id,
                    role,
                    members,
                });
            }
        }
    }

    fn give_rights(&mut self, rng: &mut StdRng) {
        for repository in &self.repositories {
            let accounts = self
                .accounts
                .iter()
                .map(|account| Whom::Account(account.id));
            for whom in accounts.chain(self.teams.iter().map(|team| Whom::Team(team.id))) {
                if rng.random_ratio(1, 5) {
                    self.permissions.push(Permission {
                        repository: repository.id,
                        whom,
                        role: rng.random_range(1..=3),
                    });
                }
            }
        }
        let mut id = 0;
        for account in self
            .accounts
            .iter()
            .filter(|account| account.kind != "organization")
        {
            for _ in 0..rng.random_range(0..=2) {
                id += rng.random_range(1..3);
                let most = [None, None, Some(1), Some(2), Some(3)][rng.random_range(0..5)];
                self.credentials.push(Credential {
                    id,
                    account: account.id,
                    most,
                    end: End::any(rng),
                });
            }
        }
    }

    /// Everybody who could ask: with the right generation and another, with each of its credentials, another's and one that is
    /// gone, and an account that never was.
    pub(crate) fn principals(&self) -> Vec<Principal> {
        let mut principals = vec![Principal::Anonymous];
        for account in &self.accounts {
            let asking = |generation, credential: Option<i64>| Principal::Account {
                id: AccountId::from(account.id),
                generation,
                credential: credential.map(CredentialId::from),
            };
            principals.push(asking(account.generation, None));
            principals.push(asking(account.generation % 3 + 1, None));
            principals.push(asking(account.generation, Some(1_000)));
            // All of its own, and one of somebody else.
            let own = |credential: &&Credential| credential.account == account.id;
            let others = self
                .credentials
                .iter()
                .filter(|credential| !own(credential));
            let shown = self.credentials.iter().filter(own).chain(others.take(1));
            principals
                .extend(shown.map(|credential| asking(account.generation, Some(credential.id))));
        }
        principals.push(Principal::Account {
            id: AccountId::from(1_000),
            generation: 1,
            credential: None,
        });
        principals
    }

    /// Every repository's name, one that is missing in each namespace, and one of no namespace.
    pub(crate) fn paths(&self) -> Vec<String> {
        let present = self
            .repositories
            .iter()
            .map(|repository| repository.path.clone());
        let missing = self
            .namespaces
            .iter()
            .map(|namespace| format!("{}/missing", namespace.name));
        present
            .chain(missing)
            .chain(["nowhere/missing".to_owned()])
            .collect()
    }

    /// The statements that replace whatever world was there.
    pub(crate) fn sql(&self) -> String {
        let mut sql = String::from("BEGIN; TRUNCATE account, gc_queue CASCADE;\n");
        self.write_accounts(&mut sql);
        self.write_repositories(&mut sql);
        self.write_rights(&mut sql);
        sql.push_str("COMMIT;");
        sql
    }

    fn write_accounts(&self, sql: &mut String) {
        for account in &self.accounts {
            let Account {
                id,
                name,
                kind,
                state,
                generation,
                superuser,
                read_only_superuser,
                owner,
                end,
            } = account;
            say(sql, format_args!(
                "INSERT INTO account (id, name, kind, state, generation, superuser, read_only_superuser, owner_id, expires_at)
                 OVERRIDING SYSTEM VALUE VALUES
                 ({id}, '{name}', '{kind}', '{state}', {generation}, {superuser}, {read_only_superuser}, {}, {});\n",
                number(*owner),
                end.sql(),
            ));
        }
        for Namespace {
            id,
            name,
            owner,
            read_only,
        } in &self.namespaces
        {
            let mode = if *read_only { "read_only" } else { "normal" };
            say(sql, format_args!(
                "INSERT INTO namespace (id, name, owner_account_id, mode) OVERRIDING SYSTEM VALUE VALUES
                 ({id}, '{name}', {owner}, '{mode}');\n"
            ));
        }
    }

    fn write_repositories(&self, sql: &mut String) {
        for repository in &self.repositories {
            let Repository {
                id,
                namespace,
                path,
                active,
                public,
                mode,
                mirror,
                blobs,
            } = repository;
            let state = if *active {
                format!("'{path}', 'active', NULL, NULL")
            } else {
                format!("'~{id}', 'removing', now(), '{path}'")
            };
            let visibility = if *public { "public" } else { "private" };
            say(sql, format_args!(
                "INSERT INTO repository (id, namespace_id, path, state, removed_at, removed_path, visibility, mode, mirror_account_id)
                 OVERRIDING SYSTEM VALUE VALUES ({id}, {namespace}, {state}, '{visibility}', '{mode}', {});
                 INSERT INTO manifest (id, repository_id, size_total, payload_size, layer_count, media_type_id, digest)
                 OVERRIDING SYSTEM VALUE VALUES ({id}, {id}, 0, 1, 0, 1, sha256('{MANIFEST}'));
                 INSERT INTO tag (repository_id, manifest_id, name) VALUES ({id}, {id}, 'latest');\n",
                number(*mirror),
            ));
            for blob in blobs {
                // The first two by a manifest, the others by a link.
                match blob {
                    0 | 1 => say(sql, format_args!(
                        "INSERT INTO manifest_blob (repository_id, blob_id, manifest_id) SELECT {id}, blob.id, {id}
                         FROM blob WHERE blob.storage_key = '{}';\n", BLOBS[*blob]
                    )),
                    _ => say(sql, format_args!(
                        "INSERT INTO repository_blob (repository_id, blob_id, expires_at)
                         SELECT {id}, blob.id, now() + interval '1 day' FROM blob WHERE blob.storage_key = '{}';\n", BLOBS[*blob]
                    )),
                }
            }
        }
    }

    fn write_rights(&self, sql: &mut String) {
        for Team {
            id,
            organization,
            role,
            members,
        } in &self.teams
        {
            say(
                sql,
                format_args!(
                "INSERT INTO team (id, organization_id, role, name) OVERRIDING SYSTEM VALUE VALUES
                 ({id}, {organization}, '{role}', 'team{id}');\n"
            ),
            );
            for member in members {
                say(
                    sql,
                    format_args!(
                        "INSERT INTO membership (account_id, team_id) VALUES ({member}, {id});\n"
                    ),
                );
            }
        }
        for Permission {
            repository,
            whom,
            role,
        } in &self.permissions
        {
            let (account, team) = match whom {
                Whom::Account(id) => (Some(*id), None),
                Whom::Team(id) => (None, Some(*id)),
            };
            say(
                sql,
                format_args!(
                    "INSERT INTO permission (repository_id, account_id, team_id, role) VALUES ({repository}, {}, {}, {role});\n",
                    number(account),
                    number(team),
                ),
            );
        }
        for Credential {
            id,
            account,
            most,
            end,
        } in &self.credentials
        {
            say(sql, format_args!(
                "INSERT INTO credential (id, account_id, kind, secret_hash, max_role, expires_at) OVERRIDING SYSTEM VALUE VALUES
                 ({id}, {account}, 'application', sha256('{id}'), {}, {});\n",
                number(most.map(i64::from)),
                end.sql(),
            ));
        }
    }
}

fn say(sql: &mut String, text: std::fmt::Arguments<'_>) {
    sql.write_fmt(text)
        .expect("writing to a string does not fail");
}

/// What all worlds share: run once, before the first.
pub(crate) fn contents() -> String {
    let mut sql = format!(
        "INSERT INTO manifest_content (digest, payload) VALUES (sha256('{MANIFEST}'), '{MANIFEST}');\n"
    );
    for content in BLOBS {
        writeln!(
            sql,
            "INSERT INTO blob (store_id, size, digest, storage_key) SELECT min(store.id), 1, sha256('{content}'), '{content}' FROM store;"
        )
        .expect("writing to a string does not fail");
    }
    sql
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}
