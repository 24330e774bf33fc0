//! What is known about an account and a repository where a decision about the two is to be explained.
//!
//! One statement reads the facts and decides, with the text that decides everywhere ([`crate::access`]), in one snapshot:
//! whoever draws his own conclusions from the facts can hold them against the decision. What a credential takes away is no
//! matter of this: the account is asked about, not what it showed.

use crate::access::{Access, access_columns, access_from};
use crate::accounts::AccountName;
use crate::columns::parsed;
use crate::statements::statement;
use crate::{AccountId, Error, Role, Visibility};
use portolan_oci::RepositoryName;
use portolan_pg::{Read, Statement};
use std::time::SystemTime;
use tokio_postgres::Row;

/// All that a decision hangs on, and the decision.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What was decided from them.
    pub access: Access,
    /// Who would ask; `None`: nobody in particular.
    pub account: Option<AccountFacts>,
    /// The namespace, if there is one of that name.
    pub namespace: Option<NamespaceFacts>,
    /// The repository, if there is one.
    pub repository: Option<RepositoryFacts>,
    /// What a permission gives to the account itself.
    pub permission: Option<Role>,
    /// The account's teams in the organization that owns the namespace, and whichever else have a permission here.
    pub teams: Vec<TeamFacts>,
}

/// An account, as far as decisions look at it.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that stand beside each other"
)]
pub struct AccountFacts {
    /// Which.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// Whether it may log in at all.
    pub active: bool,
    /// When it stops working, or has.
    pub expires_at: Option<SystemTime>,
    /// Whether that is over, by the database's clock.
    pub expired: bool,
    /// Whether it may everything.
    pub superuser: bool,
    /// Whether it reads everything.
    pub read_only_superuser: bool,
    /// Of a robot: whose it is.
    pub owner: Option<OwnerFacts>,
}

/// Whose robot it is.
#[derive(Debug, Clone)]
pub struct OwnerFacts {
    /// His name; of one that is being removed `~` and his id, as everywhere here.
    pub name: String,
    /// Whether he may log in; where not, his robots may not.
    pub active: bool,
}

/// A namespace, as far as decisions look at it.
#[derive(Debug, Clone)]
pub struct NamespaceFacts {
    /// Whose it is.
    pub owner: String,
    /// Whether the account is that owner.
    pub is_own: bool,
    /// Whether nobody writes to it.
    pub read_only: bool,
}

/// A repository, as far as decisions look at it.
#[derive(Debug, Clone)]
pub struct RepositoryFacts {
    /// Who may read it.
    pub visibility: Visibility,
    /// Whether it takes writes.
    pub mode: Mode,
    /// Of a mirror: the account that mirrors.
    pub mirror: Option<String>,
    /// Whether that is the account asked about.
    pub is_mirrored_by_account: bool,
}

/// What writes a repository takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All that somebody has the right to.
    Normal,
    /// None.
    ReadOnly,
    /// Those of the account that mirrors.
    Mirror,
}

/// A team of the account.
#[derive(Debug, Clone)]
pub struct TeamFacts {
    /// The organization it belongs to.
    pub organization: String,
    /// Its name in it; the grammar is the column's own.
    pub name: String,
    /// What its members are in the organization.
    pub role: TeamRole,
    /// Whether that organization owns the namespace.
    pub owns_namespace: bool,
    /// What a permission gives to it.
    pub permission: Option<Role>,
}

/// What the members of a team are in their organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeamRole {
    /// What permissions say.
    Member,
    /// They also make repositories.
    Creator,
    /// They may everything.
    Admin,
}

// The key's credential is NULL: as one who showed his password.
static FACTS: Statement = statement!(
    "explain.facts",
    [TEXT, TEXT, TEXT],
    concat!(
        "SELECT ",
        access_columns!(),
        ",
             who.id, who.name, who.active, who.expires_at, who.expired, who.superuser, who.read_only_superuser,
             who.owner, who.owner_active,
             holder.name, (n.owner_account_id = who.id) IS TRUE, n.mode = 'read_only',
             r.id IS NOT NULL, r.mode, mirror.name, (r.mirror_account_id = who.id) IS TRUE,
             (
                 SELECT permission.role FROM permission
                 WHERE permission.account_id = who.id AND permission.repository_id = coalesce(r.id, 0)
             ),
             teams.organizations, teams.names, teams.roles, teams.own, teams.permissions",
        access_from!(
            "(
                 SELECT $1::text AS path, $2::text AS namespace, account.id AS account_id, account.generation,
                     NULL::bigint AS credential_id
                 FROM (VALUES ($3::text)) AS asked(name)
                 LEFT JOIN account ON account.name = asked.name
             ) AS k",
            ""
        ),
        "LEFT JOIN LATERAL (
             SELECT account.id, account.name, account.state = 'active' AS active, account.expires_at,
                 coalesce(account.expires_at <= now(), false) AS expired, account.superuser,
                 account.read_only_superuser, owner.name AS owner, owner.state = 'active' AS owner_active
             FROM account
             LEFT JOIN account AS owner ON owner.id = account.owner_id
             WHERE account.id = k.account_id
             LIMIT 1
         ) who ON true
         LEFT JOIN LATERAL (
             SELECT account.name FROM account WHERE account.id = n.owner_account_id
             LIMIT 1
         ) holder ON true
         LEFT JOIN LATERAL (
             SELECT account.name FROM account WHERE account.id = r.mirror_account_id
             LIMIT 1
         ) mirror ON true
         LEFT JOIN LATERAL (
             SELECT
                 coalesce(array_agg(organization.name ORDER BY team.id), '{}') AS organizations,
                 coalesce(array_agg(team.name ORDER BY team.id), '{}') AS names,
                 coalesce(array_agg(team.role ORDER BY team.id), '{}') AS roles,
                 coalesce(array_agg(team.organization_id IS NOT DISTINCT FROM n.owner_account_id ORDER BY team.id), '{}') AS own,
                 coalesce(array_agg(of_team.role ORDER BY team.id), '{}') AS permissions
             FROM membership
             JOIN team ON team.id = membership.team_id
             JOIN account AS organization ON organization.id = team.organization_id
             LEFT JOIN permission AS of_team
                 ON of_team.team_id = membership.team_id AND of_team.repository_id = coalesce(r.id, 0)
             WHERE membership.account_id = who.id
                 AND (team.organization_id = n.owner_account_id OR of_team.role IS NOT NULL)
         ) teams ON true",
    ),
);

/// What is known about `account` (`None`: nobody in particular) and the repository of that path, and what is decided from
/// it; `None`: there is no such account.
pub async fn facts(
    db: &impl Read,
    account: Option<&AccountName>,
    path: &RepositoryName,
) -> Result<Option<Facts>, Error> {
    let asked = account.map(AccountName::as_str);
    let row = db
        .query_one(&FACTS, &[&path.as_str(), &path.namespace(), &asked])
        .await?;
    let facts = decode(&row).map_err(Error::decoding("account"))?;
    Ok((account.is_none() || facts.account.is_some()).then_some(facts))
}

fn decode(row: &Row) -> Result<Facts, tokio_postgres::Error> {
    let at = Access::COLUMNS;
    let access = Access::decode(row, 0)?;
    let account = match row.try_get::<_, Option<AccountId>>(at)? {
        None => None,
        Some(id) => Some(AccountFacts {
            id,
            name: parsed(row, at + 1)?,
            active: row.try_get(at + 2)?,
            expires_at: row.try_get(at + 3)?,
            expired: row.try_get(at + 4)?,
            superuser: row.try_get(at + 5)?,
            read_only_superuser: row.try_get(at + 6)?,
            owner: match row.try_get(at + 7)? {
                None => None,
                Some(name) => Some(OwnerFacts {
                    name,
                    active: row.try_get(at + 8)?,
                }),
            },
        }),
    };
    let namespace = match row.try_get(at + 9)? {
        None => None,
        Some(owner) => Some(NamespaceFacts {
            owner,
            is_own: row.try_get(at + 10)?,
            read_only: row.try_get(at + 11)?,
        }),
    };
    let repository = if row.try_get(at + 12)? {
        Some(RepositoryFacts {
            visibility: if access.public {
                Visibility::Public
            } else {
                Visibility::Private
            },
            mode: match row.try_get(at + 13)? {
                "read_only" => Mode::ReadOnly,
                "mirror" => Mode::Mirror,
                _ => Mode::Normal,
            },
            mirror: row.try_get(at + 14)?,
            is_mirrored_by_account: row.try_get(at + 15)?,
        })
    } else {
        None
    };
    Ok(Facts {
        access,
        account,
        namespace,
        repository,
        permission: row
            .try_get::<_, Option<i16>>(at + 16)?
            .map(Role::from_number),
        teams: teams(row, at + 17)?,
    })
}

fn teams(row: &Row, first: usize) -> Result<Vec<TeamFacts>, tokio_postgres::Error> {
    let organizations: Vec<String> = row.try_get(first)?;
    let names: Vec<String> = row.try_get(first + 1)?;
    let roles: Vec<&str> = row.try_get(first + 2)?;
    let own: Vec<bool> = row.try_get(first + 3)?;
    let permissions: Vec<Option<i16>> = row.try_get(first + 4)?;
    let mut teams = Vec::with_capacity(names.len());
    let mut rest = roles.into_iter().zip(own).zip(permissions);
    for (organization, name) in organizations.into_iter().zip(names) {
        // All arrays are of the same rows.
        let Some(((role, owns_namespace), permission)) = rest.next() else {
            break;
        };
        teams.push(TeamFacts {
            organization,
            name,
            role: match role {
                "admin" => TeamRole::Admin,
                "creator" => TeamRole::Creator,
                _ => TeamRole::Member,
            },
            owns_namespace,
            permission: permission.map(Role::from_number),
        });
    }
    Ok(teams)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&FACTS];
