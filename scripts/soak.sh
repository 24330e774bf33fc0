#!/usr/bin/env bash
# The long counts of what `make test` runs shortened. The end is a dated block for bench/RESULTS.md.

source "$(dirname "$0")/lib.sh"

KILL_ROUNDS=${KILL_ROUNDS:-200}
FUZZ_SECONDS=${FUZZ_SECONDS:-300}
SIMULATED_SEEDS=${SIMULATED_SEEDS:-100000}
WORLDS=${WORLDS:-5000}
STORM_RATE=${STORM_RATE:-2000}
CLUSTER_ROUNDS=${CLUSTER_ROUNDS:-30}
# Another schedule every day, and the same all day long.
CLUSTER_SEED=${CLUSTER_SEED:-$(date -u +%Y%m%d)}

"$ROOT/scripts/setup.sh" rust go postgres pooler directory clients sso tools
cd "$ROOT"
export CARGO_TARGET_DIR KILL_ROUNDS
CARGO_TARGET_DIR=$(target_dir)
export PORTOLAN=$CARGO_TARGET_DIR/debug/portolan
ROWS=()
FAILED=0

# soak NAME COMMAND..
soak() {
    local name=$1 start=$SECONDS outcome=passed
    shift
    say "--- $name"
    "$@" < /dev/null || { outcome=FAILED; FAILED=1; }
    ROWS+=("| $name | $((SECONDS - start)) s | $outcome |")
}

soak build cargo build --locked --workspace --bins
soak "grammars, $FUZZ_SECONDS s each" env "PORTOLAN_FUZZ_SECONDS=$FUZZ_SECONDS" \
    cargo test --locked --package portolan-oci --package portolan-auth --test it --release
soak "headers, $FUZZ_SECONDS s each" env "PORTOLAN_FUZZ_SECONDS=$FUZZ_SECONDS" \
    cargo test --locked --package portolan-server --bin portolan --release -- hostile::
soak "rights in $WORLDS random worlds" env "PORTOLAN_WORLDS=$WORLDS" \
    cargo test --locked --package portolan-metadata --test it --release -- worlds::
# The promise: medians of 2,000 requests each, less than 5 % apart.
soak 'what the clock tells' env PORTOLAN_TIMING_SAMPLES=2000 \
    cargo test --locked --package portolan-server --test it --release -- timing:: --nocapture --test-threads 1
# A hundred times the seeds of `make test`.
soak "floor leases simulated with $SIMULATED_SEEDS seeds" env "PORTOLAN_SEEDS=$SIMULATED_SEEDS" \
    cargo test --locked --package portolan-pg --lib --release -- sim::
soak "server killed in $KILL_ROUNDS rounds of pushes, each store" \
    cargo test --locked --package portolan-server --test it -- kill:: --nocapture
soak "replicas under $CLUSTER_ROUNDS schedules of faults" \
    env "CLUSTER_ROUNDS=$CLUSTER_ROUNDS" "CLUSTER_SEED=$CLUSTER_SEED" \
    cargo test --locked --package portolan-server --test it -- cluster:: --nocapture
# Optimised, because the load generator and twenty processes share the cores: the promise is about these rates.
soak "twenty processes lose their database at $STORM_RATE requests per second" \
    env "STORM_RATE=$STORM_RATE" STORM_SECONDS=20 STORM_RECOVERY_MS=2000 STORM_REST=75 \
    cargo test --locked --package portolan-server --test it --release -- storm:: --nocapture
soak 'conformance, both stores, 1.1 and dev' conformance/run.sh

say
say "### Soak, $(date -u +%Y-%m-%d), $(git rev-parse --short HEAD), $(nproc) cores"
say
say '| what | time | outcome |'
say '| --- | --- | --- |'
printf '%s\n' "${ROWS[@]}"
exit "$FAILED"
