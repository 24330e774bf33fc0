//! What the statements should decide: the table of rules in plain words, slow and obvious, without a look at the SQL.

use super::world::{Account, End, Namespace, Repository, Whom, World};
use portolan_metadata::{Access, Principal, PrincipalState, RepositoryId, Role, Writable};

fn role(number: i16) -> Role {
    match number {
        1 => Role::Read,
        2 => Role::Write,
        3 => Role::Admin,
        other => panic!("role {other}"),
    }
}

impl World {
    /// The account behind a principal and the most its credential lets through, if both are good.
    fn valid(&self, principal: &Principal) -> Option<(&Account, Role)> {
        let Principal::Account {
            id,
            generation,
            credential,
        } = principal
        else {
            return None;
        };
        let account = self
            .accounts
            .iter()
            .find(|account| account.id == id.get())?;
        if account.generation != *generation
            || account.state != "active"
            || account.end == End::Past
        {
            return None;
        }
        if let Some(owner) = account.owner {
            let owner = self.accounts.iter().find(|account| account.id == owner)?;
            if owner.state != "active" {
                return None;
            }
        }
        let Some(shown) = credential else {
            return Some((account, Role::Admin));
        };
        let credential = self
            .credentials
            .iter()
            .find(|credential| credential.id == shown.get())?;
        if credential.account != account.id || credential.end == End::Past {
            return None;
        }
        Some((account, credential.most.map_or(Role::Admin, role)))
    }

    /// Whether an account is in a team with one of those roles of an organization.
    fn is_in_team(&self, account: &Account, organization: i64, roles: &[&str]) -> bool {
        let mut teams = self.teams.iter();
        teams.any(|team| {
            team.organization == organization
                && roles.contains(&team.role)
                && team.members.contains(&account.id)
        })
    }

    fn permitted(&self, account: &Account, repository: &Repository) -> Vec<Role> {
        let mut roles = Vec::new();
        for permission in &self.permissions {
            let named = match permission.whom {
                Whom::Account(id) => id == account.id,
                Whom::Team(id) => {
                    let team = self
                        .teams
                        .iter()
                        .find(|team| team.id == id)
                        .expect("there is such a team");
                    team.members.contains(&account.id)
                }
            };
            if permission.repository == repository.id && named {
                roles.push(role(permission.role));
            }
        }
        roles
    }

    fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.name == name)
    }

    /// The decision about a path.
    pub(crate) fn decide(&self, principal: &Principal, path: &str) -> Access {
        let (namespace, _) = path.split_once('/').expect("a path has two parts");
        let namespace = self.namespace(namespace);
        let repository = self
            .repositories
            .iter()
            .find(|repository| repository.active && repository.path == path);
        let valid = self.valid(principal);
        let public = repository.is_some_and(|repository| repository.public);

        let mut most = Role::None;
        let mut may_create = false;
        if *principal == Principal::Anonymous && public {
            most = Role::Read;
        }
        if let Some((account, reach)) = valid {
            let owns = namespace.is_some_and(|namespace| namespace.owner == account.id);
            let is_in = |roles: &[&str]| {
                namespace.is_some_and(|namespace| self.is_in_team(account, namespace.owner, roles))
            };
            let mut roles = vec![Role::None];
            if account.superuser || owns || is_in(&["admin"]) {
                roles.push(Role::Admin);
            }
            if account.read_only_superuser || public {
                roles.push(Role::Read);
            }
            if let Some(repository) = repository {
                roles.extend(self.permitted(account, repository));
            }
            most = roles.into_iter().max().expect("one at least").min(reach);
            may_create =
                reach >= Role::Write && (account.superuser || owns || is_in(&["admin", "creator"]));
        }

        Access {
            repository: repository.map(|repository| RepositoryId::from(repository.id)),
            role: most,
            may_create,
            principal: match (principal, valid) {
                (Principal::Anonymous, _) => PrincipalState::Anonymous,
                (Principal::Account { .. }, Some(_)) => PrincipalState::Valid,
                (Principal::Account { .. }, None) => PrincipalState::Ended,
            },
            public,
            writable: writable(namespace, repository, valid.map(|(account, _)| account)),
        }
    }

    /// The repositories that are active and that the principal may read, in the order of their names.
    pub(crate) fn readable(&self, principal: &Principal) -> Vec<&Repository> {
        let active = self
            .repositories
            .iter()
            .filter(|repository| repository.active);
        let mut readable: Vec<&Repository> = active
            .filter(|repository| self.decide(principal, &repository.path).role >= Role::Read)
            .collect();
        readable.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        readable
    }
}

fn writable(
    namespace: Option<&Namespace>,
    repository: Option<&Repository>,
    account: Option<&Account>,
) -> Writable {
    if namespace.is_some_and(|namespace| namespace.read_only) {
        return Writable::NamespaceReadOnly;
    }
    let Some(repository) = repository else {
        return Writable::Yes;
    };
    match repository.mode {
        "read_only" => Writable::RepositoryReadOnly,
        "mirror" => match (repository.mirror, account) {
            (Some(mirror), Some(account)) if mirror == account.id => Writable::Yes,
            _ => Writable::Mirror,
        },
        _ => Writable::Yes,
    }
}
