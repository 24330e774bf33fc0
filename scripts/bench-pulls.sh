#!/usr/bin/env bash
# What Postgres costs a pull: scripts/bench.sh pulls [OUT.md]
#
# One server, one run: GET of a manifest by tag against GET of `/v2/`, which takes the same way through the server, token
# and all, and asks nobody. They are asked in turn, round by round, so that whatever else the machine does meets both:
# read the ratios. Beside it what the same statement costs with one query for each request over a pool of ten: by pgbench, and
# in one program with the lanes.
#
# ROUNDS, SECONDS_EACH and COLD (tags nobody has asked for) set the size of the run: about six minutes as they are.
# PORTOLAN names a program that is built already.

source "$(dirname "$0")/bench-lib.sh"

OUT=${1:-/dev/stdout}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-3}
COLD=${COLD:-1000000}
POOL=10

bench_begin rust postgres
# Whole statements in pg_stat_activity: the unbatched comparison takes its own from there.
start_postgres -c fsync=on -c shared_buffers=512MB -c track_activity_query_size=16384
PGBENCH=$(postgres_bin)/pgbench
[ -x "$PGBENCH" ] || PGBENCH=$(command -v pgbench) || die 'pgbench comes with the server of your distribution'

# --- The registry, and what is pulled ---------------------------------------------------------------------------------

# load RESULT REPOSITORY OPTION..: and what it costs Postgres.
load() { bench_load "$@" --pid "$POSTGRES_PID"; }

# Rows, not pushes: a million of those would take hours; this takes about a minute.
make_cold_tags() {
    load seed bench/cold --scenario manifest-tag --tags 1 --clients 1 --seconds 1 --warm-up 0
    cat > "$SCRATCH/cold.sql" <<SQL
BEGIN;
CREATE TEMPORARY TABLE cold ON COMMIT DROP AS
SELECT 't' || n AS name, sha256(payload) AS digest, payload
FROM generate_series(1, $COLD - 1) AS n,
LATERAL (SELECT convert_to('{"schemaVersion":2,"annotations":{"cold":"' || n || '","padding":"' || repeat('x', 1100) || '"}}', 'UTF8') AS payload) AS made;
INSERT INTO manifest_content (digest, payload) SELECT digest, payload FROM cold;
INSERT INTO manifest (repository_id, media_type_id, size_total, payload_size, layer_count, digest)
SELECT repository_id, media_type_id, 0, octet_length(payload), 0, cold.digest
FROM cold, (SELECT repository_id, media_type_id FROM manifest JOIN repository ON repository.id = repository_id WHERE path = 'bench/cold') AS pushed;
INSERT INTO tag (repository_id, manifest_id, name)
SELECT repository_id, manifest.id, cold.name FROM cold JOIN manifest USING (digest);
COMMIT;
VACUUM ANALYZE;
SQL
    "$PSQL" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$POSTGRES_PORT" -U portolan -d pulls -f "$SCRATCH/cold.sql"
}

start_portolan pulls directory
load hot bench/hot --scenario manifest-tag --tags 1000 --clients 1 --seconds 1 --warm-up 0
make_cold_tags
# Whoever has a token may pull from them as well.
for repository in bench/hot bench/cold; do
    "$PORTOLAN" admin repository visibility "$repository" public > /dev/null
done

# Anew, so that it has no connections but those that pulls need.
stop_process "$PORTOLAN_PID"
"$PORTOLAN" serve >> "$SCRATCH/pulls.log" 2>&1 < /dev/null &
PORTOLAN_PID=$!
at_end "stop_process $PORTOLAN_PID"
until_true 30 curl -sf -o /dev/null "http://$PRIVATE/readyz" || die 'portolan did not start again'

# --- The rounds -------------------------------------------------------------------------------------------------------

# trio CASE CLIENTS REPOSITORY OPTION..: the constant answer, then pulls with a token, then without.
trio() {
    local name=$1 clients=$2 repository=$3
    shift 3
    local common=(--clients "$clients" --seconds "$SECONDS_EACH" --warm-up 1 --tags-exist)
    load "constant@$name@$round" "$repository" --scenario ping "${common[@]}"
    connections_during load "pulls@$name@token@$round" "$repository" --scenario manifest-tag "${common[@]}" "$@" \
        >> "$SCRATCH/connections@$name@token"
    connections_during load "pulls@$name@anonymous@$round" "$repository" --scenario manifest-tag --anonymous "${common[@]}" "$@" \
        >> "$SCRATCH/connections@$name@anonymous"
}

for ((round = 1; round <= ROUNDS; round++)); do
    for clients in 1 16 64 256; do
        trio "1,000 tags@$clients" "$clients" bench/hot --tags 1000
    done
    trio '1 tag@1000' 1000 bench/hot --tags 1
    trio "$COLD tags@64" 64 bench/cold --tags "$COLD"
    trio "$COLD tags@256" 256 bench/cold --tags "$COLD"
    say "round $round of $ROUNDS" >&2
done

# --- One query for each request ---------------------------------------------------------------------------------------

# CPU ticks of Postgres, its processes of now and of before.
postgres_ticks() {
    # Some end between the list of them and their turn.
    { cat /proc/[0-9]*/stat 2> /dev/null || true; } | sed 's/^\([0-9]*\) (.*) /\1 /' |
        awk -v root="$POSTGRES_PID" '$1 == root || $3 == root {ticks += $12 + $13 + $14 + $15} END {print ticks}'
}

# The lanes cannot do this: they are two, by design. So Postgres is given the statement of a pull, word for word and with
# one key each, by a client that costs less than a registry does: the rate is more than any registry could reach this way.
unbatched() {
    local statement account generation before after
    account=$(sql pulls "SELECT id FROM account WHERE name = '$ADMIN'")
    generation=$(sql pulls "SELECT generation FROM account WHERE name = '$ADMIN'")
    statement=$(cat "$SCRATCH/statement")
    {
        printf '\\set n random(0, %s)\n' $((COLD - 1))
        say "$statement;" | sed -e "s/\$1/ARRAY['bench\/cold']/; s/\$2/ARRAY['bench']/; s/\$3/ARRAY[$account::int8]/; s/\$4/ARRAY[$generation::int8]/; s/\$5/ARRAY[NULL::int8]/; s/\$6/ARRAY['t' || :n]/"
    } > "$SCRATCH/unbatched.sql"
    before=$(postgres_ticks)
    PGOPTIONS='-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off' timeout 120 "$PGBENCH" -n -M prepared -c "$POOL" -j 2 -T "$((SECONDS_EACH * ROUNDS))" -f "$SCRATCH/unbatched.sql" \
        -h 127.0.0.1 -p "$POSTGRES_PORT" -U portolan pulls > "$SCRATCH/pgbench.out" 2>&1 || { cat "$SCRATCH/pgbench.out" >&2; die 'pgbench failed'; }
    after=$(postgres_ticks)
    awk -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" '
        /^number of transactions actually processed/ {sub(/.*: /, ""); done = $0 + 0}
        /^tps/ {rate = $3}
        /^latency average/ {latency = $4}
        END {printf "%d %.2f %.1f\n", rate, latency, ticks / hertz * 1e6 / done}' "$SCRATCH/pgbench.out"
}

# The statement of a pull, as the server sees it while there are some.
find_statement() {
    sql pulls "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'portolan/%' AND query LIKE '%tag.name = k.tag%' LIMIT 1" > "$SCRATCH/statement"
    [ -s "$SCRATCH/statement" ]
}
load last bench/cold --scenario manifest-tag --tags 1 --clients 4 --seconds 10 --warm-up 0 --tags-exist &
LAST=$!
until_true 9 find_statement || die 'the statement of a pull is nowhere to be seen'
wait "$LAST"
read -r RATE LATENCY CPU < <(unbatched)

# --- The table --------------------------------------------------------------------------------------------------------

rows() {
    local file name clients caller connections
    for file in "$SCRATCH"/pulls@*@1.json; do
        name=$(basename "$file" @1.json)
        name=${name#pulls@}
        connections=$(sort -n "$SCRATCH/connections@$name" | tail -n 1)
        caller=${name##*@}
        name=${name%@*}
        clients=${name##*@}
        jq -rn --arg name "${name%@*}" --arg caller "$caller" --argjson clients "$clients" --argjson connections "${connections:-0}" "$FIGURES"'
            [inputs[0]] | group_by(.scenario) | map({key: .[0].scenario, value: .}) | from_entries
            | (.ping | map(.per_second) | median) as $constant | (.["manifest-tag"] | map(.per_second) | median) as $pulls
            | "\($clients) | \($name) | \($caller) | \($constant | figure) | \($pulls | figure) | \($pulls / $constant | figure) | \(.ping | map(.p99_ms) | median | figure) | \(.["manifest-tag"] | map(.p99_ms) | median | figure) | \($connections) | \(.["manifest-tag"] | map(.server_cpu_us_per_operation) | median | figure) | \([.[][] | .failed] | add) |"
        ' "$SCRATCH/constant@$name"@*.json "$SCRATCH/pulls@$name@$caller"@*.json
    done | sort -t'|' -k2,2 -k1,1n -k3,3r | sed 's/^/| /'
}

{
    measured 'clients, registry and Postgres' "$ROUNDS rounds of $SECONDS_EACH s, medians. The constant answer is given to a token."
    say '| clients | of | as | constant answer/s | pulls/s | ratio | p99 ms constant | p99 ms pulls | most connections | Postgres CPU ms for 1,000 pulls | failed |'
    say '|---|---|---|---|---|---|---|---|---|---|---|'
    rows
    say
    say "The same statement, one key a query, $POOL connections, $COLD tags, no registry before it: $RATE/s, $LATENCY ms on average, Postgres CPU $CPU ms for 1,000."
    say
    say 'The read alone, without HTTP, by the lanes and by a pool of ten connections with one key a query, in one program:'
    say
    (cd "$ROOT" && cargo bench --quiet --locked --package portolan-metadata --bench reads)
} > "$OUT"
