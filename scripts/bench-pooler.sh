#!/usr/bin/env bash
# What a pgbouncer before the primary adds to a pull: scripts/bench.sh pooler [OUT.md]
#
# Two processes over one database, one with and one without the pooler, asked in turn for the same manifests by tag. With
# one client every pull is a round trip of its own, so the difference is what a trip costs more; with more clients pulls
# share trips. ROUNDS and SECONDS_EACH set the size of the run: one minute as they are.

source "$(dirname "$0")/bench-lib.sh"

OUT=${1:-/dev/stdout}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-3}

bench_begin postgres pooler
start_postgres -c fsync=on -c shared_buffers=256MB

start_pooler() {
    local folder=$SCRATCH/pooler
    POOLER_PORT=$(free_port)
    mkdir "$folder"
    say '"portolan" ""' > "$folder/users"
    cat > "$folder/pgbouncer.ini" <<INI
[databases]
* = host=127.0.0.1 port=$POSTGRES_PORT
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $POOLER_PORT
unix_socket_dir =
auth_type = trust
auth_file = $folder/users
pool_mode = transaction
INI
    # Debian puts it where only root's PATH leads.
    (cd / && PATH=$PATH:/usr/sbin unprivileged pgbouncer "$folder/pgbouncer.ini") > "$SCRATCH/pooler.log" 2>&1 < /dev/null &
    at_end "stop_process $!"
    until_true 30 sql pooler 'SELECT 1' "$POOLER_PORT" || { cat "$SCRATCH/pooler.log" >&2; die 'pgbouncer did not start'; }
}

start_portolan pooler directory
declare -A AT=([direct]=$REGISTRY)
bench_load seed bench/pooler --scenario manifest-tag --tags 1000 --clients 1 --seconds 1 --warm-up 0

# As docs/pooler.md says; the other process sets the same for each of its sessions.
for setting in "statement_timeout = '500ms'" "plan_cache_mode = 'force_generic_plan'" "enable_seqscan = 'off'" "jit = 'off'" \
    "synchronous_commit = 'on'" \
    "idle_in_transaction_session_timeout = '10s'"; do
    sql pooler "ALTER ROLE portolan IN DATABASE pooler SET $setting"
done
start_pooler
listen=$(free_port)
AT[pooler]=127.0.0.1:$listen
PRIVATE=127.0.0.1:$(free_port)
PORTOLAN_DATABASE__DIRECT=$PORTOLAN_DATABASE__PRIMARY \
    PORTOLAN_DATABASE__PRIMARY=postgres://portolan@127.0.0.1:$POOLER_PORT/pooler \
    PORTOLAN_HTTP__LISTEN=${AT[pooler]} PORTOLAN_HTTP__PRIVATE_LISTEN=$PRIVATE \
    "$PORTOLAN" serve > "$SCRATCH/pooled.log" 2>&1 < /dev/null &
at_end "stop_process $!"
until_true 30 curl -sf -o /dev/null "http://$PRIVATE/readyz" || { cat "$SCRATCH/pooled.log" >&2; die 'portolan did not become ready'; }
! grep 'ALTER ROLE' "$SCRATCH/pooled.log" >&2 || die 'the role lacks a setting'

for ((round = 1; round <= ROUNDS; round++)); do
    for clients in 1 16; do
        for way in direct pooler; do
            REGISTRY=${AT[$way]}
            bench_load "$way@$clients@$round" bench/pooler --scenario manifest-tag --tags 1000 --tags-exist \
                --clients "$clients" --seconds "$SECONDS_EACH" --warm-up 1
        done
    done
    say "round $round of $ROUNDS" >&2
done

{
    measured 'clients, registries, pgbouncer and Postgres' "$ROUNDS rounds of $SECONDS_EACH s, medians. Manifests by tag with a token."
    say '| clients | pulls/s direct | pulls/s through pgbouncer | p50 ms direct | p50 ms through pgbouncer | p50 ms added | p99 ms direct | p99 ms through pgbouncer | failed |'
    say '|---|---|---|---|---|---|---|---|---|'
    for clients in 1 16; do
        jq -rn --argjson clients "$clients" --slurpfile direct <(cat "$SCRATCH/direct@$clients"@*.json) --slurpfile pooler <(cat "$SCRATCH/pooler@$clients"@*.json) "$FIGURES"'
            [$direct[][]] as $direct | [$pooler[][]] as $pooler
            | def of(runs; name): runs | map(.[name]) | median;
            "| \($clients) | \(of($direct; "per_second") | figure) | \(of($pooler; "per_second") | figure) | \(of($direct; "p50_ms") | figure) | \(of($pooler; "p50_ms") | figure) | \(of($pooler; "p50_ms") - of($direct; "p50_ms") | figure) | \(of($direct; "p99_ms") | figure) | \(of($pooler; "p99_ms") | figure) | \([$direct[], $pooler[] | .failed] | add) |"'
    done
} > "$OUT"
