//! The statements with one thing wrong.

/// A statement, what is wrong with it, and the pieces of its text that are exchanged for others.
pub(super) type Mutant = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

pub(super) const MUTANTS: &[Mutant] = &[
    (
        "access.resolve",
        "tokens of an older generation are good",
        &[("account.generation = k.generation", "true")],
    ),
    (
        "access.resolve",
        "disabled accounts are good",
        &[("account.state = 'active'", "true")],
    ),
    (
        "access.resolve",
        "expired robots are good",
        &[(
            "(account.expires_at IS NULL OR account.expires_at > now())",
            "true",
        )],
    ),
    (
        "access.resolve",
        "robots outlive their owner",
        &[(
            "(SELECT owner.state = 'active' FROM account AS owner WHERE owner.id = account.owner_id)",
            "true",
        )],
    ),
    (
        "access.resolve",
        "any account's credential is good",
        &[("credential.account_id = k.account_id", "true")],
    ),
    (
        "access.resolve",
        "expired credentials are good",
        &[(
            "(credential.expires_at IS NULL OR credential.expires_at > now())",
            "true",
        )],
    ),
    (
        "access.resolve",
        "a credential's limit is not looked at",
        &[("coalesce(credential.max_role, 3)", "3")],
    ),
    (
        "access.resolve",
        "a credential that is gone takes nothing away",
        &[("WHERE valid.reach IS NOT NULL", "")],
    ),
    (
        "access.resolve",
        "a void token reads what is public",
        &[(
            "WHEN a.id IS NULL THEN 0\n",
            "WHEN a.id IS NULL THEN CASE WHEN r.visibility = 'public' THEN 1 ELSE 0 END\n",
        )],
    ),
    (
        "access.resolve",
        "nobody reads what is private",
        &[(
            "WHEN k.account_id IS NULL THEN CASE WHEN r.visibility = 'public' THEN 1 ELSE 0 END",
            "WHEN k.account_id IS NULL THEN 1",
        )],
    ),
    (
        "access.resolve",
        "a superuser is nobody",
        &[(
            "WHEN a.superuser OR n.owner_account_id = a.id THEN a.reach",
            "WHEN n.owner_account_id = a.id THEN a.reach",
        )],
    ),
    (
        "access.resolve",
        "an owner has nothing",
        &[(
            "WHEN a.superuser OR n.owner_account_id = a.id THEN a.reach",
            "WHEN a.superuser THEN a.reach",
        )],
    ),
    (
        "access.resolve",
        "an owner's credential has no limit",
        &[(
            "OR n.owner_account_id = a.id THEN a.reach",
            "OR n.owner_account_id = a.id THEN 3",
        )],
    ),
    (
        "access.resolve",
        "a permitted one's credential has no limit",
        &[("least(a.reach, greatest(", "least(3, greatest(")],
    ),
    (
        "access.resolve",
        "the least right counts",
        &[("greatest(", "least(")],
    ),
    (
        "access.resolve",
        "read-only superusers read nothing",
        &[("OR a.read_only_superuser THEN 1", "THEN 1")],
    ),
    (
        "access.resolve",
        "read-only superusers write",
        &[(
            "WHEN r.visibility = 'public' OR a.read_only_superuser THEN 1 ELSE 0 END,",
            "WHEN a.read_only_superuser THEN 2 WHEN r.visibility = 'public' THEN 1 ELSE 0 END,",
        )],
    ),
    (
        "access.resolve",
        "anybody's permission counts",
        &[
            ("SELECT permission.role\n", "SELECT max(permission.role)\n"),
            (
                "permission.account_id = a.id",
                "permission.account_id IS NOT NULL",
            ),
        ],
    ),
    (
        "access.resolve",
        "a permission counts in every repository",
        &[
            ("SELECT permission.role\n", "SELECT max(permission.role)\n"),
            (" AND permission.repository_id = coalesce(r.id, 0)", ""),
        ],
    ),
    (
        "access.resolve",
        "admins of any organization are admins here",
        &[(
            "his.organization_id = n.owner_account_id AND his.role = 'admin' THEN 3",
            "his.role = 'admin' THEN 3",
        )],
    ),
    (
        "access.resolve",
        "members are admins",
        &[(
            "his.organization_id = n.owner_account_id AND his.role = 'admin' THEN 3",
            "his.organization_id = n.owner_account_id THEN 3",
        )],
    ),
    (
        "access.resolve",
        "creators are admins",
        &[(
            "his.role = 'admin' THEN 3",
            "his.role IN ('admin', 'creator') THEN 3",
        )],
    ),
    (
        "access.resolve",
        "of several teams the least counts",
        &[("SELECT max(CASE", "SELECT min(CASE")],
    ),
    (
        "access.resolve",
        "a team's permission counts in every repository",
        &[(
            "WHERE permission.team_id = team.id AND permission.repository_id = coalesce(r.id, 0)",
            "WHERE permission.team_id = team.id LIMIT 1",
        )],
    ),
    (
        "access.resolve",
        "everybody is in every team",
        &[("WHERE membership.account_id = a.id\n", "WHERE true\n")],
    ),
    (
        "access.resolve",
        "a credential to read makes repositories",
        &[("a.reach < 2 THEN false", "a.reach < 1 THEN false")],
    ),
    (
        "access.resolve",
        "members make repositories",
        &[(
            "\n                    AND his.role IN ('creator', 'admin')",
            "",
        )],
    ),
    (
        "access.resolve",
        "creators make none",
        &[("IN ('creator', 'admin')", "IN ('admin')")],
    ),
    (
        "access.resolve",
        "creators of any organization make repositories here",
        &[("AND his.organization_id = n.owner_account_id\n", "\n")],
    ),
    (
        "access.resolve",
        "other people's creators make repositories",
        &[(
            "WHERE membership.account_id = a.id AND his.organization_id",
            "WHERE his.organization_id",
        )],
    ),
    (
        "access.resolve",
        "read-only namespaces take writes",
        &[("WHEN n.mode = 'read_only' THEN 2", "WHEN false THEN 2")],
    ),
    (
        "access.resolve",
        "read-only repositories take writes",
        &[("WHEN r.mode = 'read_only' THEN 1", "WHEN false THEN 1")],
    ),
    (
        "access.resolve",
        "mirrors take writes from everybody",
        &[("(r.mirror_account_id = a.id) IS NOT TRUE", "false")],
    ),
    (
        "access.resolve",
        "mirrors take no writes from their own account",
        &[("(r.mirror_account_id = a.id) IS NOT TRUE", "true")],
    ),
    (
        "catalog.list",
        "what is public is not a candidate",
        &[(
            "WHERE repository.visibility = 'public' AND",
            "WHERE false AND",
        )],
    ),
    (
        "catalog.list",
        "what permissions name is not a candidate",
        &[(
            "WHERE permission.account_id = a.id AND repository",
            "WHERE false AND repository",
        )],
    ),
    (
        "catalog.list",
        "what teams' permissions name is not a candidate",
        &[(
            "WHERE membership.account_id = a.id AND repository",
            "WHERE false AND repository",
        )],
    ),
    (
        "catalog.list",
        "superusers have no candidates",
        &[(
            "WHERE (a.superuser OR a.read_only_superuser)",
            "WHERE a.read_only_superuser",
        )],
    ),
    (
        "catalog.list",
        "read-only superusers have no candidates",
        &[(
            "WHERE (a.superuser OR a.read_only_superuser)",
            "WHERE a.superuser",
        )],
    ),
    (
        "catalog.list",
        "an owner's namespace is no candidate",
        &[("WHERE namespace.owner_account_id = a.id", "WHERE false")],
    ),
    (
        "catalog.list",
        "an organization's admins see nothing in it",
        &[("AND team.role = 'admin'\n", "AND false\n")],
    ),
    (
        "catalog.list",
        "what is being removed is listed",
        &[("repository.state = 'active'", "true")],
    ),
    (
        "catalog.list",
        "candidates are not judged",
        &[("d.role >= 1", "d.role >= 0")],
    ),
    (
        "catalog.list",
        "what may only be read is not listed",
        &[("d.role >= 1", "d.role >= 2")],
    ),
    (
        "blobs.find_readable",
        "holders are not judged",
        &[("d.role >= 1", "d.role >= 0")],
    ),
    (
        "blobs.find_readable",
        "what may only be read gives nothing",
        &[("d.role >= 1", "d.role >= 2")],
    ),
    (
        "blobs.find_readable",
        "what is being removed gives blobs",
        &[("repository.state = 'active'", "true")],
    ),
];
