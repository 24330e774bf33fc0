#!/usr/bin/env bash
# Figures of Portolan and of its peers from one run: scripts/bench.sh peers [OUT.md]
#
# Every server runs at once and they are asked in turn, scenario by scenario and round by round. ROUNDS, SECONDS_EACH and
# CLIENTS set the size of the run, 0 rounds for memory and start alone; LARGE=1 adds the uploads of 2 GiB. A round leaves 8 GiB of pushes behind, which go before
# those uploads begin (16 GiB at a time).

source "$(dirname "$0")/bench-lib.sh"

OUT=${1:-/dev/stdout}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
CLIENTS=${CLIENTS:-16}
LARGE=${LARGE:-1}

bench_begin go postgres tools peers
RUNS=$SCRATCH/runs
mkdir "$RUNS"

# --- The servers. Each has a URL, credentials (or none) and the processes that do its work. --------------------------

declare -A URL USER_OF PASSWORD_OF PIDS

start_peers() {
    local port kind
    for kind in docker-registry distribution distribution-s3; do
        port=$(free_port)
        peer_config "$kind" "$port" > "$SCRATCH/$kind.yml"
        if [ "$kind" = docker-registry ]; then
            docker-registry serve "$SCRATCH/$kind.yml" > "$SCRATCH/$kind.log" 2>&1 < /dev/null &
        else
            registry serve "$SCRATCH/$kind.yml" > "$SCRATCH/$kind.log" 2>&1 < /dev/null &
        fi
        at_end "stop_process $!"
        URL[$kind]=http://127.0.0.1:$port
        PIDS[$kind]=$!
        until_true 30 curl -sf -o /dev/null "http://127.0.0.1:$port/v2/" || die "$kind did not start"
    done
    PIDS[distribution-s3]+=" $S3_PID"
}

peer_config() {
    printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: "127.0.0.1:%s"}\nstorage:\n' "$2"
    printf '  delete: {enabled: true}\n  cache: {blobdescriptor: inmemory}\n'
    if [ "$1" = distribution-s3 ]; then
        printf '  redirect: {disable: true}\n  s3: {accesskey: "%s", secretkey: "%s", region: us-east-1, bucket: portolan, rootdirectory: /peer, regionendpoint: "http://127.0.0.1:%s", forcepathstyle: true, secure: false}\n' \
            "$S3_ACCESS_KEY" "$S3_SECRET_KEY" "$S3_PORT"
    else
        printf '  filesystem: {rootdirectory: "%s"}\n' "$SCRATCH/$1-data"
    fi
}

# The floor: an HTTP server that answers every manifest and small blob with one constant body.
start_floor() {
    local port body
    port=$(free_port)
    body=$(head -c 1200 /dev/zero | tr '\0' x)
    cat > "$SCRATCH/nginx.conf" <<CONF
worker_processes auto; pid $SCRATCH/nginx.pid; error_log $SCRATCH/nginx.log; daemon off;
events { worker_connections 4096; }
http {
    access_log off; client_max_body_size 0; client_body_temp_path $SCRATCH/nginx-body; keepalive_requests 1000000000;
    server {
        listen 127.0.0.1:$port;
        location = /v2/ { return 200 '{}'; }
        location / {
            if (\$request_method = PUT) { return 201; }
            if (\$request_method = POST) { add_header Location /v2/floor/blobs/uploads/1 always; return 202; }
            return 200 '$body';
        }
    }
}
CONF
    nginx -p "$SCRATCH" -c "$SCRATCH/nginx.conf" > /dev/null 2>&1 < /dev/null &
    at_end "stop_process $!"
    URL[nginx]=http://127.0.0.1:$port
    PIDS[nginx]=$!
    until_true 30 curl -sf -o /dev/null "http://127.0.0.1:$port/v2/" || die 'nginx did not start'
}

# start_measured NAME STORE: Portolan under a name of its own, and a public repository in it.
start_measured() {
    start_portolan "$1" "$2"
    URL[$1]=http://$REGISTRY
    USER_OF[$1]=$ADMIN
    PASSWORD_OF[$1]=$PASSWORD
    PIDS[$1]="$PORTOLAN_PID $POSTGRES_PID"
    [ "$2" != s3 ] || PIDS[$1]+=" $S3_PID"
    measure "$1" bench/public - --scenario manifest-put --max-requests 1 --clients 1 --warm-up 0
    "$PORTOLAN" admin repository visibility bench/public public > /dev/null
}

# measure SERVER REPOSITORY RESULT OPTION..: one run of the load generator; RESULT - keeps nothing.
measure() {
    local server=$1 repository=$2 result=$3 options=() pid
    shift 3
    [ -z "${USER_OF[$server]:-}" ] || options+=(--username "${USER_OF[$server]}" --password "${PASSWORD_OF[$server]}")
    for pid in ${PIDS[$server]}; do options+=(--pid "$pid"); done
    [ "$result" = - ] || options+=(--json "$RUNS/$result.json")
    "$PORTOLAN" bench "${URL[$server]}" --repository "$repository" "${options[@]}" "$@" > "$SCRATCH/bench.out" 2>&1 || {
        tail -n 5 "$SCRATCH/bench.out" >&2
        say "warning: $server did not finish $*" >&2
    }
}

start_postgres -c fsync=on -c shared_buffers=256MB
start_s3
start_measured portolan directory
start_measured portolan_s3 s3
start_peers
start_floor

# --- The rounds -----------------------------------------------------------------------------------------------------

SMALL=(manifest-tag manifest-digest manifest-head blob-1k)
REST=(blob-1m manifest-put push-1m tag-list token)
HEAVY=(blob-256m push-256m)

round=1
while [ "$round" -le "$ROUNDS" ]; do
    for scenario in "${SMALL[@]}" "${REST[@]}" "${HEAVY[@]}"; do
        for server in portolan portolan_s3 docker-registry distribution distribution-s3 nginx; do
            case $scenario in
                *-256m) options=(--clients 2 --max-requests 6 --warm-up 0 --seconds 60) ;;
                *) options=(--clients "$CLIENTS" --warm-up 1 --seconds "$SECONDS_EACH") ;;
            esac
            options+=(--scenario "$scenario")
            case $server/$scenario in
                nginx/manifest-* | nginx/blob-1k) ;;
                nginx/*) continue ;;
                portolan*/*) ;;
                */token) continue ;;
            esac
            measure "$server" bench/private "$round@$server@$scenario" "${options[@]}"
            case $server/$scenario in
                portolan*/manifest-put | portolan*/push-* | portolan*/token) ;;
                portolan*) measure "$server" bench/public "$round@$server-anonymous@$scenario" "${options[@]}" --anonymous ;;
            esac
        done
        say "round $round of $ROUNDS: $scenario" >&2
    done
    round=$((round + 1))
done

# --- The table ------------------------------------------------------------------------------------------------------

table() {
    say "| scenario | server | op/s | of Portolan's | p50 ms | p99 ms | server CPU us/op | peak MiB | failed |"
    say '|---|---|---|---|---|---|---|---|---|'
    jq -rs "$FIGURES"'
        group_by([.scenario, .server])
        | map({scenario: .[0].scenario, server: .[0].server, rate: (map(.per_second) | median),
               p50: (map(.p50_ms) | median), p99: (map(.p99_ms) | median),
               cpu: (map(.server_cpu_us_per_operation) | median),
               peak: (map(.server_peak_resident_bytes // 0) | max / 1048576), failed: (map(.failed) | add)})
        | . as $all | .[]
        | . as $row | ($all[] | select(.scenario == $row.scenario and .server == "portolan") | .rate) as $ours
        | "| \(.scenario) | \(.server) | \(.rate | figure) | \(.rate / $ours | figure) | \(.p50 | figure) | \(.p99 | figure) | \(.cpu | figure) | \(.peak | figure) | \(.failed) |"
    ' "$@"
}

# Each result's file is ROUND@SERVER@SCENARIO.json; the server becomes a member of the row.
label_rows() {
    local run server
    for run in "$RUNS"/*@*.json; do
        server=$(basename "$run" | cut -d@ -f2)
        jq --arg server "$server" '.[0] | .server = $server' "$run" > "$run.row"
    done
}

# Ends every server of the rounds but Postgres and S3, and removes what was pushed to them.
make_room() {
    local server pid
    for server in portolan portolan_s3 docker-registry distribution distribution-s3 nginx; do
        pid=${PIDS[$server]%% *}
        stop_process "$pid"
        rm -rf "$SCRATCH/$server-blobs" "$SCRATCH/$server-data" "$SCRATCH/s3/data/portolan/$server"
    done
    rm -rf "$SCRATCH/s3/data/portolan/peer"
}

# --- Memory, start ---------------------------------------------------------------------------------------------------

resident() { awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$1/status"; }
peak() { awk '/^VmHWM/ {print int($2 / 1024)}' "/proc/$1/status"; }

idle_and_large() {
    local idle large status store
    for store in directory s3; do
        start_portolan "memory_$store" "$store"
        idle=$(resident "$PORTOLAN_PID")
        say "- Portolan on $store, idle: $idle MiB."
        [ "$LARGE" = 1 ] || continue
        URL[memory]=http://$REGISTRY USER_OF[memory]=$ADMIN PASSWORD_OF[memory]=$PASSWORD PIDS[memory]=$PORTOLAN_PID
        measure memory bench/large large-$store --scenario push-2g --clients 8 --max-requests 8 --warm-up 0 --seconds 900
        large=$(peak "$PORTOLAN_PID")
        status=$(jq -r '.[0] | "\(.succeeded) of 8 succeeded, \(.mib_per_second | round) MiB/s"' "$RUNS/large-$store.json" 2> /dev/null) ||
            status='none succeeded'
        say "- Portolan on $store, 8 uploads of 2 GiB at once: peak $large MiB, $((large - idle)) above idle ($status)."
        stop_process "$PORTOLAN_PID"
        rm -rf "$SCRATCH/memory_$store-blobs" "$SCRATCH/s3/data/portolan/memory_$store"
    done
}

# From the start of the process to its first 200, schema and Postgres there.
cold_start() {
    local begin end
    stop_process "$PORTOLAN_PID"
    begin=$(date +%s%N)
    "$PORTOLAN" serve > "$SCRATCH/cold.log" 2>&1 < /dev/null &
    at_end "stop_process $!"
    until curl -sf -o /dev/null "http://$PRIVATE/readyz"; do
        [ $(($(date +%s%N) - begin)) -lt 30000000000 ] || die 'no answer within 30 s'
    done
    end=$(date +%s%N)
    say "- Cold start of \`serve\`, process start to the first 200: $(((end - begin) / 1000000)) ms."
}

{
    measured 'clients, servers and Postgres' "$ROUNDS rounds of $SECONDS_EACH s, $CLIENTS clients, medians. \`portolan\` and \`portolan_s3\`: bearer token, private repository; \`…-anonymous\`: public. Peers: no authentication at all."
    [ "$ROUNDS" = 0 ] || { label_rows; table "$RUNS"/*.row; say; }
} > "$OUT"
# What was measured is there, whatever becomes of the rest; and the rest needs the room.
make_room
{
    idle_and_large
    cold_start
} >> "$OUT"
