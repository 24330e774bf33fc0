#!/usr/bin/env bash
# Real clients against a running binary: tests/clients/run.sh [SITE..]
#
# docker, podman, skopeo, crane, oras and regctl each log in, push to a private repository and pull from it, by password, as a
# robot and with an application token (helm too, where it is there); podman
# pushes an index; skopeo, crane, oras and regctl copy it whole and delete; oras and regctl attach and discover. Every
# check compares digests or bytes. What is pushed is made here: nothing is pulled from outside.
#
# The binary ($PORTOLAN, or the debug build) runs against a Postgres of its own and each SITE: directory, s3, lagging (a
# folder, and a read replica 300 ms behind), dead (a folder, and two read replicas of which one has died); all by default.
# With TARGET=host:port, ADMIN and PASSWORD set, the registry there is asked instead.

source "$(dirname "$0")/../../scripts/lib.sh"

PORTOLAN=${PORTOLAN:-$(target_dir)/debug/portolan}
HERE=$(cd "$(dirname "$0")" && pwd)
PASSED=0
FAILED=0

# check NAME COMMAND..: one line of the report; the output is shown when it failed.
check() {
    local name=$1 status=0
    shift
    timeout 180 bash -c 'set -euo pipefail; "$@"' check "$@" > "$SCRATCH/output" 2>&1 < /dev/null || status=$?
    verdict "$name" "$status"
}

# refused NAME COMMAND..: the opposite.
refused() {
    local name=$1 status=0
    shift
    timeout 60 "$@" > "$SCRATCH/output" 2>&1 < /dev/null && status=1
    verdict "$name" "$status"
}

# same NAME ONE OTHER
same() {
    local status=0
    printf 'one   %s\nother %s\n' "$2" "$3" > "$SCRATCH/output"
    [ -n "$2" ] && [ "$2" = "$3" ] || status=1
    verdict "$1" "$status"
}

verdict() {
    if [ "$2" = 0 ]; then
        PASSED=$((PASSED + 1))
        say "  ok      $1"
    else
        FAILED=$((FAILED + 1))
        say "  FAILED  $1"
        tail -n 15 "$SCRATCH/output" | sed 's/^/          /'
    fi
}

# What the registry itself says, asked without any of the clients.
ACCEPT='application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json,
 application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json'
manifest() { curl -sf -u "$ADMIN:$PASSWORD" -H "Accept: ${ACCEPT//$'\n'/}" "http://$REGISTRY/v2/$1/manifests/$2"; }
digest() { manifest "$1" "$2" > "$SCRATCH/manifest" && printf 'sha256:%s' "$(sha256sum < "$SCRATCH/manifest" | cut -d' ' -f1)"; }
status() { curl -s -o /dev/null -w '%{http_code}' -u "$ADMIN:$PASSWORD" -H "Accept: ${ACCEPT//$'\n'/}" "http://$REGISTRY/v2/$1"; }

# Layers that no other run has: one of a few bytes, one of several parts of an upload.
make_content() {
    mkdir -p "$SCRATCH/content/small" "$SCRATCH/content/large"
    head -c 32 /dev/urandom | base64 > "$SCRATCH/content/small/hello.txt"
    head -c 20000000 /dev/urandom > "$SCRATCH/content/large/random.bin"
    tar -C "$SCRATCH/content/small" -cf "$SCRATCH/content/small.tar" hello.txt
    tar -C "$SCRATCH/content/large" -cf "$SCRATCH/content/large.tar" random.bin
    printf 'FROM scratch\nCOPY small/hello.txt /hello.txt\nCOPY large/random.bin /random.bin\nCMD ["/hello.txt"]\n' \
        > "$SCRATCH/content/Dockerfile"
}

# Each client its own credentials, none of the user's.
separate_clients() {
    export DOCKER_CONFIG=$SCRATCH/$1/docker REGISTRY_AUTH_FILE=$SCRATCH/$1/containers.json
    export REGCTL_CONFIG=$SCRATCH/$1/regctl.json
    mkdir -p "$DOCKER_CONFIG"
}

run_site() {
    local store=$1
    say "clients against $1:"
    if [ -n "${TARGET:-}" ]; then
        REGISTRY=$TARGET
    else
        case $1 in
            s3) start_s3 ;;
            lagging | dead) store=directory ;;
        esac
        start_with_replicas "clients_$1" "$store" "$1"
    fi
    separate_clients "$1"
    local client
    for client in docker podman skopeo crane oras regctl visibility logins; do
        source "$HERE/$client.sh"
    done
    [ -n "${TARGET:-}" ] || stop_process "$PORTOLAN_PID"
    stop_replicas
}

[ -n "${TARGET:-}" ] || [ -x "$PORTOLAN" ] || die "$PORTOLAN is missing: cargo build"
for program in docker dockerd podman skopeo crane oras regctl curl jq; do
    command -v "$program" > /dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null ||
        die "$program is missing: scripts/setup.sh go tools clients"
done
scratch
make_content
[ -n "${TARGET:-}" ] || start_postgres
source "$HERE/daemon.sh"
[ "$#" -gt 0 ] || set -- directory s3 lagging dead
for site in "$@"; do
    run_site "$site"
done
say "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
