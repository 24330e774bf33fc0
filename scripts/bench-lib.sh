# shellcheck shell=bash
# Shared by the parts of `scripts/bench.sh`: the program, the load, and who counts connections meanwhile.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# bench_begin NEED..: installs what is missing, builds, and makes a scratch folder. A program that is built already needs
# no Rust.
bench_begin() {
    local needs=(rust "$@")
    [ -z "${PORTOLAN:-}" ] || needs=("$@")
    "$ROOT/scripts/setup.sh" "${needs[@]}"
    export CARGO_TARGET_DIR
    CARGO_TARGET_DIR=$(target_dir)
    [ -n "${PORTOLAN:-}" ] || (cd "$ROOT" && cargo build --quiet --locked --release --bin portolan)
    PORTOLAN=${PORTOLAN:-$CARGO_TARGET_DIR/release/portolan}
    PSQL=$(postgres_bin)/psql
    [ -x "$PSQL" ] || PSQL=psql
    scratch
}

# bench_load RESULT REPOSITORY OPTION..: one run of the load generator against REGISTRY; the result is $SCRATCH/RESULT.json.
bench_load() {
    local name=$1 repository=$2
    shift 2
    timeout 300 "$PORTOLAN" bench "http://$REGISTRY" --repository "$repository" --username "$ADMIN" --password "$PASSWORD" \
        --json "$SCRATCH/$name.json" "$@" > "$SCRATCH/load.out" 2>&1 ||
        { tail -n 5 "$SCRATCH/load.out" >&2; die "the load $name failed"; }
}

# connections_during COMMAND..: the most connections of registries that the primary sees at a moment meanwhile, on the
# standard output.
connections_during() {
    local watcher
    : > "$SCRATCH/watched"
    # The watcher's own connection is another program's.
    printf "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'portolan/%%' \\\\watch 0.2\n" |
        "$PSQL" -X -q -A -t -h 127.0.0.1 -p "$POSTGRES_PORT" -U portolan -d postgres > "$SCRATCH/watched" 2> /dev/null &
    watcher=$!
    until_true 10 test -s "$SCRATCH/watched" || die 'nobody counts the connections'
    "$@"
    kill "$watcher" 2> /dev/null || true
    wait "$watcher" 2> /dev/null || true
    grep -E '^[0-9]+$' "$SCRATCH/watched" | sort -n | tail -n 1
}

# measured WHO WHAT: the line above a table.
measured() {
    say "Measured $(date -u +%Y-%m-%d) with \`scripts/bench.sh $(basename "$0" .sh | cut -d- -f2)\`: $(nproc) cores shared by $1 ($("$(postgres_bin)/postgres" --version)), $2"
    say
}

# What each table's jq program begins with.
# shellcheck disable=SC2034
FIGURES='
    def median: sort | if length == 0 then null else .[(length - 1) / 2 | floor] end;
    def figure: if . == null then "-" elif . >= 100 then round elif . >= 10 then (. * 10 | round / 10) else (. * 100 | round / 100) end;
'
