//! Who there is and what is there.

use crate::app::{PASSWORD, TestApp};
use crate::token::claims;
use crate::token_attacks::Forger;
use portolan_testkit::client::Client;
use serde_json::{Value, json};

/// The one manifest: nothing in it but a config, which every repository has.
pub(super) const CONFIG: &str = "{}";

/// A manifest of a config alone.
pub(super) fn manifest(config: &str) -> String {
    let digest = portolan_oci::Digest::sha256(config.as_bytes());
    let kind = "application/vnd.oci.image";
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}.manifest.v1+json","config":{{"mediaType":"{kind}.config.v1+json","digest":"{digest}","size":{}}},"layers":[]}}"#,
        config.len()
    )
}

/// Users; each has a namespace of its name with a private repository `own` in it.
const USERS: [&str; 16] = [
    "stranger",
    "reader",
    "writer",
    "keeper",
    "member",
    "maker",
    "boss",
    "owner",
    "auditor",
    "root",
    "gone",
    "other",
    "expired",
    "ended",
    "narrow",
    "elsewhere",
];

/// What the repositories are, but for the content that all have.
const SCENE: &str = "
    UPDATE account SET superuser = true WHERE name = 'root';
    UPDATE account SET read_only_superuser = true WHERE name = 'auditor';
    UPDATE account SET generation = 2 WHERE name = 'ended';
    UPDATE account SET state = 'disabled' WHERE name = 'gone';
    INSERT INTO account (kind, name) VALUES ('organization', 'acme'), ('organization', 'foe'), ('organization', 'shut');
    UPDATE account SET state = 'disabled' WHERE name = 'shut';
    INSERT INTO account (kind, name, owner_id, expires_at)
        SELECT 'robot', o.name || '+' || r.name, o.id, r.until
        FROM (VALUES ('acme', 'reader', NULL), ('acme', 'writer', NULL), ('acme', 'mirror', NULL),
                     ('acme', 'late', now() - interval '1 minute'), ('shut', 'writer', NULL)) AS r(owner, name, until)
        JOIN account o ON o.name = r.owner;
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account WHERE kind = 'organization';
    INSERT INTO namespace (name, owner_account_id) SELECT 'estate', id FROM account WHERE name = 'owner';
    INSERT INTO namespace (name, owner_account_id, mode)
        SELECT 'still-' || o.space, a.id, 'read_only'
        FROM (VALUES ('acme', 'acme'), ('estate', 'owner')) AS o(space, name) JOIN account a ON a.name = o.name;
    INSERT INTO team (organization_id, role, name)
        SELECT a.id, t.role, t.role || 's' FROM account a, unnest(ARRAY['member', 'creator', 'admin']) AS t(role)
        WHERE a.kind = 'organization';
    INSERT INTO membership (account_id, team_id)
        SELECT a.id, t.id FROM team t JOIN account o ON o.id = t.organization_id, account a
        WHERE (o.name, t.role, a.name) IN (
            ('acme', 'member', 'member'), ('acme', 'creator', 'maker'), ('acme', 'admin', 'boss'),
            ('foe', 'admin', 'stranger'), ('foe', 'creator', 'reader')
        );
    INSERT INTO repository (namespace_id, path, visibility, mode, mirror_account_id)
        SELECT n.id, coalesce('still-' || nullif(k.still, '') || '/', '') || k.path,
            CASE k.name WHEN 'public' THEN 'public' ELSE 'private' END,
            CASE k.name WHEN 'frozen' THEN 'read_only' WHEN 'mirror' THEN 'mirror' ELSE 'normal' END,
            CASE k.name WHEN 'mirror' THEN (SELECT id FROM account WHERE name = 'acme+mirror') END
        FROM (
            SELECT space || '/' || name AS path, space, name, '' AS still
            FROM unnest(ARRAY['acme', 'estate']) AS space, unnest(ARRAY['shared', 'public', 'frozen', 'mirror']) AS name
            UNION ALL
            SELECT 'app', 'still-' || space, 'app', space FROM unnest(ARRAY['acme', 'estate']) AS space
            UNION ALL
            SELECT name || '/own', name, 'own', '' FROM account WHERE kind = 'user'
            UNION ALL
            SELECT 'other/real-' || to_char(n, 'FM00'), 'other', 'real', '' FROM generate_series(0, 39) AS n
        ) AS k
        JOIN namespace n ON n.name = k.space;
    INSERT INTO permission (repository_id, account_id, role)
        SELECT r.id, a.id, g.role
        FROM (VALUES ('reader', 1), ('writer', 2), ('keeper', 3), ('expired', 3), ('ended', 3), ('gone', 3), ('narrow', 3),
                     ('elsewhere', 3), ('acme+reader', 1), ('acme+writer', 2), ('acme+mirror', 2), ('acme+late', 2),
                     ('shut+writer', 2)) AS g(name, role)
        JOIN account a ON a.name = g.name
        JOIN repository r ON r.path IN ('acme/shared', 'acme/frozen', 'acme/mirror', 'still-acme/app');
    INSERT INTO permission (repository_id, team_id, role)
        SELECT r.id, t.id, 2 FROM team t JOIN account o ON o.id = t.organization_id
        JOIN repository r ON r.path IN ('acme/shared', 'acme/frozen', 'acme/mirror', 'still-acme/app')
        WHERE o.name = 'acme' AND t.role = 'member';
    INSERT INTO credential (account_id, kind, max_role, secret_hash)
        SELECT id, CASE kind WHEN 'robot' THEN 'robot' ELSE 'application' END, NULL, sha256(name::bytea) FROM account
        WHERE kind = 'robot' OR name IN ('keeper', 'boss', 'root');
    INSERT INTO credential (account_id, kind, max_role, secret_hash)
        SELECT id, 'application', 1, sha256(('read' || name)::bytea) FROM account WHERE name IN ('keeper', 'boss', 'root');";

/// The content of every repository: a tag `kept`, and for each row a tag and a blob that it may delete.
fn contents(rows: usize) -> String {
    let payload = manifest(CONFIG);
    format!(
        "INSERT INTO manifest_content (digest, payload) VALUES (sha256('{payload}'), '{payload}');
         INSERT INTO blob (store_id, size, digest, storage_key, content)
             SELECT (SELECT min(id) FROM store), octet_length(content), sha256(content), content, content
             FROM (SELECT '{CONFIG}'::bytea AS content UNION ALL
                   SELECT ('row' || n)::bytea FROM generate_series(0, {rows}) AS n) AS c;
         INSERT INTO manifest (repository_id, size_total, payload_size, layer_count, media_type_id, digest)
             SELECT id, 2, octet_length('{payload}'), 0, 1, sha256('{payload}') FROM repository;
         INSERT INTO manifest_blob (repository_id, blob_id, manifest_id)
             SELECT m.repository_id, b.id, m.id FROM manifest m, blob b WHERE b.digest = sha256('{CONFIG}');
         INSERT INTO repository_blob (repository_id, blob_id, expires_at)
             SELECT r.id, b.id, now() + interval '1 day' FROM repository r, blob b;
         INSERT INTO tag (repository_id, manifest_id, name)
             SELECT repository_id, id, 'kept' FROM manifest
             UNION ALL
             SELECT repository_id, id, 'row' || n FROM manifest, generate_series(0, {rows}) AS n;"
    )
}

/// Fills a registry; enough for so many rows.
pub(super) async fn build(app: &TestApp, rows: usize) {
    let sql = app.database().session().await;
    let users = USERS.join("', '");
    let users = format!(
        "INSERT INTO account (kind, name, password_hash)
             SELECT 'user', name, (SELECT password_hash FROM account WHERE name = 'admin')
             FROM unnest(ARRAY['{users}']) AS name;
         INSERT INTO namespace (name, owner_account_id)
             SELECT name, id FROM account WHERE name = ANY (ARRAY['{users}'])"
    );
    sql.batch_execute(&users).await.expect("users");
    // Keys are text, and the contents of blobs are too.
    let contents = contents(rows).replace(
        "content, content\n",
        "convert_from(content, 'UTF8'), content\n",
    );
    sql.batch_execute(SCENE).await.expect("the scene");
    sql.batch_execute(&contents).await.expect("the content");
}

/// Somebody who asks.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) client: Client,
    /// The user whose namespace is their own.
    pub(super) own: Option<String>,
    /// The namespace in which the repositories of the columns are.
    pub(super) space: &'static str,
    /// By a name and a password, which the token endpoint takes too.
    pub(super) login: Option<&'static str>,
    number: usize,
}

impl Principal {
    /// The repository of a column; `None`: there is none for them.
    pub(super) fn repository(&self, column: &str) -> Option<String> {
        let (space, number) = (self.space, self.number);
        Some(match column {
            "own" => format!("{}/own", self.own.as_ref()?),
            "foreign" => format!("other/real-{number:02}"),
            // As long as the name of one that is there.
            "missing" => format!("other/miss-{number:02}"),
            "new" => format!("{space}/new-{number:02}"),
            "closed" => format!("still-{space}/app"),
            name => format!("{space}/{name}"),
        })
    }
}

/// Makes those who ask.
pub(super) struct Casting<'a> {
    app: &'a TestApp,
    forger: Forger,
    /// Those of a token that the registry itself has made.
    claims: Value,
}

const COLUMNS: [&str; 9] = [
    "own", "shared", "public", "foreign", "missing", "new", "frozen", "mirror", "closed",
];

impl<'a> Casting<'a> {
    pub(super) async fn of(app: &'a TestApp) -> Self {
        let token = app.token(&app.admin(), &["registry:catalog:*"]).await;
        Self {
            app,
            forger: Forger::of(app).await,
            claims: claims(&token),
        }
    }

    /// Whoever a row is about, by its name; the number makes names of repositories that no other row has.
    pub(super) async fn find(&self, who: &str, number: usize) -> Principal {
        let nobody = Principal {
            client: self.app.anonymous(),
            own: None,
            space: "acme",
            login: None,
            number,
        };
        let with = |client: Client| Principal {
            client,
            ..nobody.clone()
        };
        match who {
            "anonymous" => nobody,
            "forged-token" => with(self.app.anonymous().bearer("e30.e30.e30")),
            "wrong-password" => with(self.app.anonymous().basic("writer", "wrong")),
            "stranger-by-password" => self.by_password("stranger", &nobody),
            "writer-by-password" => self.by_password("writer", &nobody),
            who => self.by_token(who, nobody).await,
        }
    }

    /// By a token that the registry could have made: for which account, for which credential (by what its secret is
    /// the hash of), and which of its claims are others.
    async fn by_token(&self, who: &str, nobody: Principal) -> Principal {
        let issued = self.claims["iat"].as_u64().expect("a number");
        let (name, secret, other) = match who {
            "expired-token" => ("expired", None, Some(("exp", json!(issued - 61)))),
            "ended-token" => ("ended", None, Some(("gen", json!(1)))),
            "disabled" => ("gone", None, None),
            "pull-token" => ("narrow", None, None),
            "token-for-another" => {
                let access = json!([{ "type": "repository", "name": "elsewhere/else", "actions": ["pull", "push", "delete"] }]);
                ("elsewhere", None, Some(("access", access)))
            }
            "application" => ("keeper", Some("keeper"), None),
            "application-to-read" => ("keeper", Some("readkeeper"), None),
            "boss-app-to-read" => ("boss", Some("readboss"), None),
            "root-app-to-read" => ("root", Some("readroot"), None),
            "application-gone" => ("keeper", Some("keeper"), Some(("cid", json!(1_000_000)))),
            "somebody-elses-app" => ("keeper", Some("root"), None),
            robot if robot.contains('+') => (robot, Some(robot), None),
            user => (user, None, None),
        };
        let actions = if who == "pull-token" {
            json!(["pull"])
        } else {
            json!(["pull", "push", "delete"])
        };
        let principal = Principal {
            own: (!name.contains('+')).then(|| name.to_owned()),
            space: if who == "owner" { "estate" } else { "acme" },
            ..nobody
        };
        let mut claims = self.claims_of(name, secret).await;
        let repositories = COLUMNS
            .iter()
            .filter_map(|column| principal.repository(column));
        let mut access: Vec<Value> = repositories
            .map(|name| json!({ "type": "repository", "name": name, "actions": actions }))
            .collect();
        access.push(json!({ "type": "registry", "name": "catalog", "actions": ["*"] }));
        claims["access"] = Value::Array(access);
        if let Some((claim, value)) = other {
            claims[claim] = value;
        }
        let token = self.forger.sign(&self.forger.header(), &claims);
        Principal {
            client: self.app.anonymous().bearer(&token),
            ..principal
        }
    }

    fn by_password(&self, name: &'static str, nobody: &Principal) -> Principal {
        Principal {
            client: self.app.anonymous().basic(name, PASSWORD),
            own: Some(name.to_owned()),
            login: Some(name),
            ..nobody.clone()
        }
    }

    /// Who it is, as a token says it.
    async fn claims_of(&self, name: &str, secret: Option<&str>) -> Value {
        let session = self.app.database().session().await;
        let row = session
            .query_one(
                "SELECT a.id, a.generation, (SELECT c.id FROM credential c WHERE c.secret_hash = sha256($2::text::bytea))
                 FROM account a WHERE a.name = $1",
                &[&name, &secret],
            )
            .await
            .unwrap_or_else(|error| panic!("no account `{name}`: {error}"));
        let mut claims = self.claims.clone();
        claims["sub"] = json!(name);
        claims["uid"] = json!(row.get::<_, i64>(0));
        claims["gen"] = json!(row.get::<_, i64>(1));
        if secret.is_some() {
            let credential: Option<i64> = row.get(2);
            claims["cid"] = json!(credential.expect("there is such a credential"));
            claims["via"] = json!(if name.contains('+') {
                "robot"
            } else {
                "application"
            });
        }
        claims
    }
}
