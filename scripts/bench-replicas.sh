#!/usr/bin/env bash
# What replicas, and their lag, cost pushes, and what they give to reads: scripts/bench.sh replicas [OUT.md]
#
# One server for each case, one after the other, on a Postgres of this script. A push is a manifest that moves a tag, and
# so waits at the barrier; reads are manifests by tag with a token, from the repository that is pushed to. ROUNDS and
# SECONDS_EACH set the size of the run: about seven minutes as they are.

source "$(dirname "$0")/bench-lib.sh"

OUT=${1:-/dev/stdout}
ROUNDS=${ROUNDS:-2}
SECONDS_EACH=${SECONDS_EACH:-5}

bench_begin postgres
start_postgres -c fsync=on -c shared_buffers=256MB
CASE=0

# load RESULT SCENARIO CLIENTS [OPTION..]
load() {
    local name=$1 scenario=$2 clients=$3
    shift 3
    bench_load "$name" bench/replicas --tags 100 --scenario "$scenario" --clients "$clients" --seconds "$SECONDS_EACH" --warm-up 1 "$@"
}

# Reads that replicas served, and all.
reads() {
    curl -sf "http://$PRIVATE/metrics" | awk '
        /^portolan_pg_reads_total\{/ {all += $NF}
        /^portolan_pg_reads_total\{.*server="replica"/ {replicas += $NF}
        END {printf "%d %d\n", replicas, all}'
}

# measure_case NAME REPLICAS LAG DEAD: with so many replicas, each so many ms late, and so many of them dead.
measure_case() {
    local name=$1 replicas=$2 lag=$3 dead=$4 round served all served_before all_before most
    CASE=$((CASE + 1))
    start_replicas "$replicas"
    start_portolan "case$CASE" directory
    # What is read is there, and the server has read before.
    load warm manifest-tag 4
    [ "$replicas" = 0 ] || lag_replicas "$lag"
    for ((round = 0; round < dead; round++)); do
        stop_process "${REPLICA_PIDS[round]}" KILL 2> /dev/null
    done
    load "first@$CASE" manifest-put 4
    for ((round = 1; round <= ROUNDS; round++)); do
        load "put@$CASE@$round" manifest-put 4
        read -r served_before all_before < <(reads)
        most=$(connections_during load "get@$CASE@$round" manifest-tag 64 --tags-exist)
        read -r served all < <(reads)
    done
    jq -rn --arg name "$name" --argjson served $((served - served_before)) --argjson all $((all - all_before)) --argjson most "${most:-0}" "$FIGURES"'
        [inputs[0]] as $all_runs | $all_runs[0] as $first | $all_runs[1:] | group_by(.scenario)
        | map({key: .[0].scenario, value: .}) | from_entries
        | (.["manifest-put"]) as $put | (.["manifest-tag"]) as $get
        | "| \($name) | \($first.p99_ms | figure) | \($put | map(.p50_ms) | median | figure) | \($put | map(.p99_ms) | median | figure) | \($get | map(.per_second) | median | figure) | \($get | map(.p99_ms) | median | figure) | \(if $all == 0 then 0 else $served / $all * 100 | round end) % | \($most) | \([$put[], $get[] | .failed] | add) |"
    ' "$SCRATCH/first@$CASE.json" "$SCRATCH/put@$CASE"@*.json "$SCRATCH/get@$CASE"@*.json >> "$SCRATCH/table"
    stop_process "$PORTOLAN_PID"
    stop_replicas
    # Nobody else is to wait for what is gone.
    sql postgres "DROP DATABASE case$CASE WITH (FORCE)"
    say "$name" >&2
}

measure_case 'no replica' 0 0 0
measure_case 'one' 1 0 0
for lag in 50 300 2000; do
    measure_case "one, $lag ms late" 1 "$lag" 0
done
for lag in 0 50 300 2000; do
    measure_case "two, $lag ms late" 2 "$lag" 0
done
measure_case 'two, one of them dead' 2 0 1
measure_case 'one, dead' 1 0 1

{
    measured 'clients, registry and all servers' "$ROUNDS rounds of $SECONDS_EACH s, medians. Pushes by 4 clients, the first ones after the change in a column of their own; reads by 64."
    say '| replicas | push p99 ms, at first | push p50 ms | push p99 ms | reads/s | read p99 ms | reads served by replicas | most connections to the primary | failed |'
    say '|---|---|---|---|---|---|---|---|---|'
    cat "$SCRATCH/table"
} > "$OUT"
