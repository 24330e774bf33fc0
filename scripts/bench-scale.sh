#!/usr/bin/env bash
# Whether a pull grows dearer with what is stored: scripts/bench.sh scale [OUT.md]
#
# One Postgres with a database for each size, a registry before each, asked in turn, round by round: a hot set of 1,000
# tags; any tag (of a million, where there are more) of the largest repository, which has half of all manifests; and the same again with nothing in any cache,
# neither Postgres' nor the system's (where we may empty that), at a rate that leaves the machine room.
#
# SCALE lists the sizes in manifests: the smallest is what the others are held against. Ten million are made in about
# fifteen minutes and 15 GB: SCALE="10000 1000000 10000000". ROUNDS, SECONDS_EACH and RATE (pulls a second with cold caches)
# set the rest.

source "$(dirname "$0")/bench-lib.sh"

OUT=${1:-/dev/stdout}
SCALE=${SCALE:-10000 1000000}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
RATE=${RATE:-400}
CLIENTS=64
# As many as the load generator picks from.
TAGS_MAX=1000000

bench_begin postgres

# --- The servers ------------------------------------------------------------------------------------------------------

POSTGRES_OPTIONS=(-c fsync=on -c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=30min -c maintenance_work_mem=512MB)
start_postgres "${POSTGRES_OPTIONS[@]}"

# The same server with nothing in its buffers, and nothing of it in the system's: whether the latter could be done.
restart_postgres() {
    local bin data=$SCRATCH/postgres
    bin=$(postgres_bin)
    stop_process "$POSTGRES_PID" INT
    sync
    { echo 3 > /proc/sys/vm/drop_caches; } 2> /dev/null || DROPPED=no
    (cd / && LC_ALL=C unprivileged "$bin/postgres" -D "$data" -p "$POSTGRES_PORT" -k '' \
        -c listen_addresses=127.0.0.1 -c max_connections=100 "${POSTGRES_OPTIONS[@]}") \
        >> "$SCRATCH/postgres.log" 2>&1 < /dev/null &
    POSTGRES_PID=$!
    at_end "stop_process $POSTGRES_PID INT"
    until_true 60 sql postgres 'SELECT 1' > /dev/null || die 'Postgres did not start again'
}
DROPPED=yes

declare -A LISTEN PASS KEY PID

# make SIZE: a database with so many manifests, and a registry before it.
make() {
    local size=$1 name=scale_$1
    start_portolan "$name" directory
    LISTEN[$size]=$REGISTRY PASS[$size]=$PASSWORD KEY[$size]=$PORTOLAN_SECRETS__KEY PID[$size]=$PORTOLAN_PID
    bench_load seed bench/big --scenario manifest-tag --tags 1 --clients 1 --seconds 1 --warm-up 0
    # Rows, as pushes would have left them: half of them in one repository, the others in repositories of a thousand. Two
    # sessions, because there are two cores.
    sql "$name" "
        INSERT INTO repository (namespace_id, path)
        SELECT namespace.id, 'bench/r' || n FROM namespace, generate_series(0, $((size / 2000))) AS n WHERE namespace.name = 'bench';
        CREATE UNLOGGED TABLE place AS
        SELECT row_number() OVER (ORDER BY id) - 1 AS nth, id FROM repository WHERE path LIKE 'bench/r%';
        ALTER TABLE place ADD PRIMARY KEY (nth);
        SELECT setval(pg_get_serial_sequence('manifest', 'id'), $((size + 1000000)));" > /dev/null
    rows "$name" "$size" 1 $((size / 2)) &
    local half=$!
    rows "$name" "$size" $((size / 2 + 1)) "$size"
    wait "$half" || die "$size manifests could not be made"
    sql "$name" 'DROP TABLE place'
    sql "$name" 'VACUUM ANALYZE'
    say "$size manifests made" >&2
}

# rows DATABASE SIZE FROM TO: the first half is tagged `t1`, `t2` … in one repository; `t0` was pushed.
rows() {
    local name=$1 half=$(($2 / 2)) from=$3 to=$4 first last
    for ((first = from; first <= to; first += 200000)); do
        last=$((first + 199999 < to ? first + 199999 : to))
        sql "$name" "
            WITH made AS MATERIALIZED (
                SELECT n, payload, sha256(payload) AS digest
                FROM generate_series($first, $last) AS n,
                LATERAL (SELECT convert_to('{\"schemaVersion\":2,\"annotations\":{\"number\":\"' || n || '\",\"padding\":\"' || repeat('x', 400) || '\"}}', 'UTF8') AS payload) AS text
            ), content AS (
                INSERT INTO manifest_content (digest, payload) SELECT digest, payload FROM made
            ), pushed AS (
                SELECT manifest.repository_id, manifest.media_type_id FROM manifest JOIN repository ON repository.id = manifest.repository_id
                WHERE repository.path = 'bench/big' LIMIT 1
            ), row AS (
                INSERT INTO manifest (id, repository_id, media_type_id, size_total, payload_size, layer_count, digest)
                OVERRIDING SYSTEM VALUE
                SELECT 1000000 + n, CASE WHEN n <= $half THEN pushed.repository_id ELSE place.id END, pushed.media_type_id, 0,
                    octet_length(payload), 0, digest
                FROM made CROSS JOIN pushed LEFT JOIN place ON place.nth = n % (SELECT count(*) FROM place)
                RETURNING id, repository_id
            )
            INSERT INTO tag (repository_id, manifest_id, name)
            SELECT repository_id, id, CASE WHEN id - 1000000 < $half THEN 't' || (id - 1000000) ELSE 'r' || id END FROM row"
    done
}

# registry SIZE: a registry before that database that has nothing in its own cache.
registry() {
    local size=$1
    stop_process "${PID[$size]}"
    PORTOLAN_HTTP__LISTEN=${LISTEN[$size]} PORTOLAN_SECRETS__KEY=${KEY[$size]} \
        PORTOLAN_DATABASE__PRIMARY="postgres://portolan@127.0.0.1:$POSTGRES_PORT/scale_$size" \
        PORTOLAN_STORAGE__DIRECTORY__PATH="$SCRATCH/scale_$size-blobs" \
        PORTOLAN_ADMIN__USERNAME=$ADMIN PORTOLAN_ADMIN__PASSWORD=${PASS[$size]} \
        "$PORTOLAN" serve >> "$SCRATCH/scale_$size.log" 2>&1 < /dev/null &
    PID[$size]=$!
    at_end "stop_process ${PID[$size]}"
    until_true 30 curl -sf -o /dev/null "http://$PRIVATE/readyz" || die 'portolan did not start again'
}

for size in $SCALE; do
    make "$size"
    stop_process "${PID[$size]}"
done

# --- The rounds -------------------------------------------------------------------------------------------------------

# pull SIZE CASE TAGS OPTION..
pull() {
    local size=$1 name=$2 tags=$3
    shift 3
    REGISTRY=${LISTEN[$size]} PASSWORD=${PASS[$size]} bench_load "$name@$size@$round" bench/big --scenario manifest-tag \
        --tags-exist --tags "$tags" --seed "$round" --seconds "$SECONDS_EACH" "$@"
}

for ((round = 1; round <= ROUNDS; round++)); do
    for size in $SCALE; do
        tags=$((size / 2 < TAGS_MAX ? size / 2 : TAGS_MAX))
        registry "$size"
        pull "$size" hot 1000 --clients "$CLIENTS" --warm-up 2
        pull "$size" any "$tags" --clients "$CLIENTS" --warm-up 2
        restart_postgres
        registry "$size"
        # The first pull opens the connections.
        pull "$size" first 1 --clients 1 --warm-up 0 --max-requests 1
        pull "$size" cold "$tags" --clients 16 --rate "$RATE" --warm-up 0
        stop_process "${PID[$size]}"
    done
    say "round $round of $ROUNDS" >&2
done

# --- The table --------------------------------------------------------------------------------------------------------

table() {
    local name what size smallest
    smallest=$(say "$SCALE" | tr ' ' '\n' | sort -n | head -n 1)
    for name in hot any cold; do
        case $name in
            hot) what='1,000 hot tags, 64 clients' ;;
            any) what='any tag, 64 clients' ;;
            cold) what="any tag, cold caches, $RATE/s" ;;
        esac
        for size in $SCALE; do
            jq -rs --arg size "$size" --arg what "$what" --slurpfile least <(cat "$SCRATCH/$name@$smallest"@*.json) "$FIGURES"'
                (map(.[0])) as $own | ($least | map(.[0])) as $base
                | ($own | map(.p50_ms) | median) as $p50 | ($own | map(.p99_ms) | median) as $p99
                | "| \($what) | \($size) | \($own | map(.per_second) | median | figure) | \($p50 | figure) | \($p99 | figure) | \($p50 / ($base | map(.p50_ms) | median) | figure) | \($p99 / ($base | map(.p99_ms) | median) | figure) | \($own | map(.failed) | add) |"
            ' "$SCRATCH/$name@$size"@*.json
        done
    done
}

{
    measured 'clients, registries and Postgres' "$ROUNDS rounds of $SECONDS_EACH s, medians; the system's page cache was emptied for cold caches: $DROPPED."
    say '| pulled | manifests stored | pulls/s | p50 ms | p99 ms | p50 of the smallest | p99 of the smallest | failed |'
    say '|---|---|---|---|---|---|---|---|'
    table
} > "$OUT"
