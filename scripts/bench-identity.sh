#!/usr/bin/env bash
# What it costs to know who somebody is: scripts/bench.sh identity [OUT.md]
#
# What tokens and passwords cost a core; how many tokens a robot, and a user with a password that was right before, are
# given; and what two thousand logins a second, half of them with wrong passwords, do to those who pull meanwhile with a
# token that they have: pulls at a fixed rate, alone, beside the storm, and beside as many requests that ask for nothing
# (`GET /v2/`), in turn. What the last does is the machine's part: clients, registry and Postgres share its cores.
#
# ROUNDS, SECONDS_EACH, PULLS (a second) and LOGINS (a second, right and wrong together) set the size of the run.

source "$(dirname "$0")/bench-lib.sh"

OUT=${1:-/dev/stdout}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
PULLS=${PULLS:-1000}
LOGINS=${LOGINS:-2000}

bench_begin rust postgres
start_postgres -c fsync=on -c shared_buffers=256MB
start_portolan identity directory
PIDS=(--pid "$PORTOLAN_PID" --pid "$POSTGRES_PID")
bench_load seed bench/app --scenario manifest-tag --tags 1000 --clients 4 --seconds 1 --warm-up 0
ADMIN_PASSWORD=$PASSWORD

# as NAME PASSWORD RESULT OPTION..: a load with these credentials.
as() {
    local name=$1 password=$2 result=$3
    shift 3
    ADMIN=$name PASSWORD=$password bench_load "$result" bench/app --tags-exist "${PIDS[@]}" "$@"
}

# --- Who asks ---------------------------------------------------------------------------------------------------------

"$PORTOLAN" admin org create acme > /dev/null
ROBOT_SECRET=$("$PORTOLAN" admin robot create acme+deploy -o json | jq -r .secret)
USER_PASSWORD=$("$PORTOLAN" admin user create alice | sed -n 's/^password: //p')
# Whose password is guessed: from the network that everybody here is in, so that he is shut out of it, and nobody else.
"$PORTOLAN" admin user create bob > /dev/null

# --- The rounds -------------------------------------------------------------------------------------------------------

EACH=$((LOGINS / 2))
# Until the pulls are over.
MEANWHILE=(--clients 32 --rate "$EACH" --seconds $((SECONDS_EACH + 3)) --warm-up 0)

# Logins at a rate of their own, right and wrong.
storm() {
    (as alice "$USER_PASSWORD" "right@$round" --scenario token "${MEANWHILE[@]}") &
    (as bob none "wrong@$round" --scenario wrong-login "${MEANWHILE[@]}") &
}

# As many requests, of as many clients, that ask for nothing.
bustle() {
    (as alice "$USER_PASSWORD" "first@$round" --scenario ping "${MEANWHILE[@]}") &
    (as alice "$USER_PASSWORD" "second@$round" --scenario ping "${MEANWHILE[@]}") &
}

pulls() {
    as admin "$ADMIN_PASSWORD" "$1@$round" --scenario manifest-tag --tags 1000 --clients 16 --rate "$PULLS" \
        --seconds "$SECONDS_EACH" --warm-up 2
}

for ((round = 1; round <= ROUNDS; round++)); do
    as acme+deploy "$ROBOT_SECRET" "robot@$round" --scenario token --clients 16 --seconds "$SECONDS_EACH" --warm-up 1
    as alice "$USER_PASSWORD" "user@$round" --scenario token --clients 16 --seconds "$SECONDS_EACH" --warm-up 1
    pulls alone
    bustle
    pulls bustle
    wait -n || true
    wait -n || true
    storm
    pulls beside
    # Somebody's load that is refused so often that it gives up says so; the pulls are what counts.
    wait -n || true
    wait -n || true
    say "round $round of $ROUNDS" >&2
done

# --- The tables -------------------------------------------------------------------------------------------------------

row() {
    jq -rs --arg what "$1" "$FIGURES"'
        map(.[0]) | "| \($what) | \(map(.per_second) | median | figure) | \(map(.p50_ms) | median | figure) | \(map(.p99_ms) | median | figure) | \(map(.server_cpu_us_per_operation) | median | figure) | \(map(.server_peak_resident_bytes // 0) | max / 1048576 | figure) | \(map(.failed) | add) |"
    ' "${@:2}"
}

{
    measured 'clients, registry and Postgres' "$ROUNDS rounds of $SECONDS_EACH s, medians; CPU and memory are the registry's and Postgres' together."
    (cd "$ROOT" && cargo bench --quiet --locked --package portolan-auth --bench cost)
    say
    say '| what | per second | p50 ms | p99 ms | CPU us each | peak MiB | failed |'
    say '|---|---|---|---|---|---|---|'
    row 'tokens of a robot, 16 clients' "$SCRATCH"/robot@*.json
    row 'tokens of a user whose password was right before, 16 clients' "$SCRATCH"/user@*.json
    row "pulls at $PULLS/s, alone" "$SCRATCH"/alone@*.json
    row "pulls at $PULLS/s, beside $LOGINS requests a second for nothing" "$SCRATCH"/bustle@*.json
    row "pulls at $PULLS/s, beside the storm" "$SCRATCH"/beside@*.json
    row "the storm: $EACH right passwords a second" "$SCRATCH"/right@*.json
    row "the storm: $EACH wrong passwords a second" "$SCRATCH"/wrong@*.json
} > "$OUT"
