#!/usr/bin/env bash
# Sees to what the other commands need, and installs what is missing: scripts/setup.sh NEED..
#
#   rust      cargo 1.95 or newer, and a C compiler. Rust itself is never installed: the line that gets it, exit 2
#   postgres  the programs of PostgreSQL 15 or newer
#   pooler    pgbouncer, for tests only
#   go        Go 1.26 or newer. Never installed: the line that gets it, exit 2
#   tools     pinned versions of the S3 server, the conformance suite and clients, built once into the cache
#   clients   docker, podman, skopeo, helm
#   sso       the identity provider that single sign-on is tested against, as tests/sso pins it, and a Node.js to run it:
#             the system's from 20 on, else one of its own (Debian 12 has 18)
#   directory slapd and its clients, for tests only
#   peers     the registries and the server that `make bench` measures beside ours
#
# Debian's packages are installed as root or through sudo; where neither is possible it says exactly what to
# install, and exits 1.

source "$(dirname "$0")/lib.sh"

RUST_NEEDED=1.95
GO_NEEDED=1.26
NODE_NEEDED=20
# For systems whose own is older; published for Linux on either processor.
NODE=node-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')@22.23.3

# name, package, version. Update them here, nowhere else.
TOOLS='
versitygw    github.com/versity/versitygw/cmd/versitygw                  v1.8.0
conformance  github.com/opencontainers/distribution-spec/conformance     v0.0.0-20260831232431-97274622c111
crane        github.com/google/go-containerregistry/cmd/crane            v0.22.1
oras         oras.land/oras/cmd/oras                                     v1.3.6
regctl       github.com/regclient/regclient/cmd/regctl                   v0.11.7
'
CLIENTS='
helm         helm.sh/helm/v3/cmd/helm                                     v3.22.0
'
PEERS='
registry     github.com/distribution/distribution/v3/cmd/registry        v3.1.2
'

MISSING=()

# at_least HAVE WANTED
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Lines for what is never installed from here; they are shown together.
GET=()

# Root needs no sudo; and a bare Debian has no curl.
[ "$(id -u)" = 0 ] && SUDO= || SUDO='sudo '
command -v curl > /dev/null && CURL= || CURL="${SUDO}apt-get update && ${SUDO}apt-get install -y curl ca-certificates && "

need_rust() {
    local have
    have=$(rustc --version 2> /dev/null | cut -d' ' -f2) || true
    command -v cargo > /dev/null || have=
    if [ -z "$have" ] || ! at_least "$have" "$RUST_NEEDED"; then
        GET+=("Rust $RUST_NEEDED or newer is needed${have:+, this is $have}. This gets it:")
        if [ -n "$have" ] && command -v rustup > /dev/null; then
            GET+=('  rustup update stable')
        else
            GET+=("  ${CURL}curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y")
        fi
    fi
    command -v cc > /dev/null || MISSING+=(gcc libc6-dev)
}

need_go() {
    local have machine
    have=$(go env GOVERSION 2> /dev/null | sed 's/^go//') || true
    if [ -z "$have" ] || ! at_least "$have" "$GO_NEEDED"; then
        machine=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
        GET+=("Go $GO_NEEDED or newer is needed${have:+, this is $have}. This gets it:"
            "  ${CURL}${SUDO}rm -rf /usr/local/go && curl -sSfL https://go.dev/dl/go1.26.8.linux-$machine.tar.gz | ${SUDO}tar -xz -C /usr/local")
    fi
}

need_postgres() {
    postgres_bin > /dev/null || MISSING+=(postgresql)
}

# Debian puts it where only root's PATH leads.
need_pooler() {
    command -v pgbouncer > /dev/null || [ -x /usr/sbin/pgbouncer ] || MISSING+=(pgbouncer)
}

# Any 2.5 or 2.6 will do. Debian puts it where only root's PATH leads.
need_directory() {
    command -v slapd > /dev/null || [ -x /usr/sbin/slapd ] || MISSING+=(slapd)
    command -v ldapmodify > /dev/null || MISSING+=(ldap-utils)
}

need_clients() {
    command -v dockerd > /dev/null || MISSING+=(docker.io)
    command -v podman > /dev/null || MISSING+=(podman)
    command -v skopeo > /dev/null || MISSING+=(skopeo)
    command -v curl > /dev/null || MISSING+=(curl)
    command -v jq > /dev/null || MISSING+=(jq)
}

# What Debian 12 has is too old; that of Debian 13 will do.
need_sso() {
    command -v node > /dev/null || MISSING+=(nodejs)
    command -v npm > /dev/null || MISSING+=(npm)
}

# The versions are those of tests/sso/package-lock.json, with the digest of each.
install_sso() {
    local wanted=$ROOT/tests/sso folder=$CACHE/sso
    cmp -s "$wanted/package-lock.json" "$folder/package-lock.json" && [ -f "$folder/.complete" ] && return
    say 'installing the identity provider of the tests'
    mkdir -p "$folder"
    rm -f "$folder/.complete"
    cp "$wanted/package.json" "$wanted/package-lock.json" "$folder/"
    (cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts < /dev/null > /dev/null) ||
        die 'the identity provider of the tests could not be installed'
    touch "$folder/.complete"
}

need_peers() {
    command -v docker-registry > /dev/null || MISSING+=(docker-registry)
    command -v nginx > /dev/null || MISSING+=(nginx-light)
    command -v curl > /dev/null || MISSING+=(curl)
    command -v jq > /dev/null || MISSING+=(jq)
}

install_packages() {
    [ "${#MISSING[@]}" -gt 0 ] || return 0
    local command=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${MISSING[@]}") sudo=()
    if ! command -v apt-get > /dev/null; then
        die "these are missing, and there is no apt-get to install them with: ${MISSING[*]} (names of Debian's packages)"
    fi
    if [ "$(id -u)" != 0 ]; then
        # With a terminal sudo may ask for the password; without one it must not wait for it.
        if command -v sudo > /dev/null && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
            sudo=(sudo)
        else
            die "these are missing: ${MISSING[*]}; install them as root, then start again:
  apt-get update && apt-get install -y ${MISSING[*]}"
        fi
    fi
    # Without a configuration of its own nothing of it starts on this machine: tests bring theirs.
    if [[ " ${MISSING[*]} " == *' slapd '* ]]; then
        say 'slapd slapd/no_configuration boolean true' | "${sudo[@]}" debconf-set-selections
    fi
    say "installing ${MISSING[*]}"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q < /dev/null > /dev/null ||
        say 'the package lists could not be updated; going on with those that are there'
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${command[@]}" < /dev/null > /dev/null ||
        die "the installation of ${MISSING[*]} failed"
}

# Whether the program FILE was built from MODULE PATH at VERSION.
is_pinned() {
    local file=$1 package=$2 version=$3
    [ -x "$file" ] && go version -m "$file" 2> /dev/null |
        awk -v package="$package" -v version="$version" \
            '$1 == "path" && $2 == package { path = 1 } $1 == "mod" && $3 == version { mod = 1 } END { exit !(path && mod) }'
}

# install_tools LIST
install_tools() {
    local name package version elsewhere
    mkdir -p "$CACHE/bin"
    while read -r name package version; do
        [ -n "$name" ] || continue
        is_pinned "$CACHE/bin/$name" "$package" "$version" && continue
        elsewhere=$(go env GOPATH)/bin/$name
        if is_pinned "$elsewhere" "$package" "$version"; then
            cp "$elsewhere" "$CACHE/bin/.$name" && mv "$CACHE/bin/.$name" "$CACHE/bin/$name"
            continue
        fi
        say "building $name $version"
        GOBIN=$CACHE/bin go install "$package@$version" < /dev/null || die "$name could not be built"
    done <<< "$1"
}

tools=
sso=
for need in "$@"; do
    case $need in
        rust | go | postgres | pooler | directory) "need_$need" ;;
        sso) need_sso; sso=yes ;;
        tools) tools+=$TOOLS ;;
        clients) need_clients; tools+=$CLIENTS ;;
        peers) need_peers; tools+=$PEERS ;;
        *) die "unknown need: $need" ;;
    esac
done
if [ "${#GET[@]}" -gt 0 ]; then
    printf '%s\n' "${GET[@]}" 'Then start again.' >&2
    exit 2
fi
install_packages
[ -z "$tools" ] || install_tools "$tools"
[ -z "$sso" ] || install_sso
