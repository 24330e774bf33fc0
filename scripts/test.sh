#!/usr/bin/env bash
# Everything a change must pass: formatting, lints, unit and integration tests, the conformance suite against both
# stores, real clients, a server killed in the middle of pushes, processes over replicas that lag, die and are promoted
# (cluster), and twenty processes that lose their database (storm). A suite that fails does not stop the others.
# The end is a table of times and one line, `N passed, M failed`.

source "$(dirname "$0")/lib.sh"

KILL_ROUNDS=${KILL_ROUNDS:-10}

"$ROOT/scripts/setup.sh" rust go postgres pooler directory clients sso tools
cd "$ROOT"
export CARGO_TARGET_DIR CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
CARGO_TARGET_DIR=$(target_dir)
export PORTOLAN=$CARGO_TARGET_DIR/debug/portolan
LOGS=$CARGO_TARGET_DIR/test-logs
mkdir -p "$LOGS"

for component in fmt clippy; do
    cargo "$component" --version > /dev/null 2>&1 && continue
    command -v rustup > /dev/null && rustup component add rustfmt clippy < /dev/null > /dev/null 2>&1 && continue
    echo 'rustfmt and clippy are needed. This gets them, then start again:' >&2
    echo '  rustup component add rustfmt clippy' >&2
    exit 2
done

# The kept folder of CI may hold our crates as built from another checkout. Cargo goes by the time of a file, so every
# file is made newer than what is there: the dependencies are taken from it, our own crates never.
if [ "${CI:-}" = true ]; then
    find . -path ./.git -prune -o -path ./target -prune -o -type f -print0 | xargs -0 touch
    # Left by older versions of everything; a cold build is cheaper than a full disk.
    if [ "$(du -sm "$CARGO_TARGET_DIR" | cut -f1)" -gt 15000 ]; then
        rm -rf "$CARGO_TARGET_DIR"
        mkdir -p "$LOGS"
    fi
fi

TABLE=()
PASSED=0
FAILED=0
STARTED=$SECONDS

# suite NAME MINUTES COMMAND..: runs it, shows it, counts what it says at its end. A command that says no numbers is one test.
suite() {
    local name=$1 minutes=$2 start=$SECONDS status=0 counts passed failed seconds
    shift 2
    say "--- $name"
    timeout --kill-after=30 "${minutes}m" "$@" < /dev/null 2>&1 | tee "$LOGS/$name.log" || status=$?
    # Cargo's lines, or the last line of our own scripts.
    counts=$(sed -E 's/\x1b\[[0-9;]*m//g' "$LOGS/$name.log" | awk '
        /^test result: / { passed += $4; failed += $6; found = 1 }
        /^[0-9]+ passed, [0-9]+ failed$/ { own_passed = $1; own_failed = $3; own = 1 }
        END { if (found) print passed, failed; else if (own) print own_passed, own_failed; else print "0 0 none" }')
    read -r passed failed none <<< "$counts"
    if [ "$status" = 0 ]; then
        [ -z "$none" ] || passed=1
    elif [ "$failed" = 0 ]; then
        # It failed without saying so in numbers: did not build, was killed, took too long.
        failed=1
        [ "$status" != 124 ] || say "$name took more than $minutes minutes"
    fi
    seconds=$((SECONDS - start))
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    TABLE+=("$(printf '%-14s %5d s %7d passed %5d failed' "$name" "$seconds" "$passed" "$failed")")
}

suite format 2 cargo fmt --all --check
suite build 20 cargo build --locked --workspace --bins
suite lints 20 cargo clippy --locked --workspace --all-targets -- -D warnings
# The rounds of the killed server and what needs the cores for itself have suites of their own below.
suite tests 30 cargo test --locked --workspace --no-fail-fast -- \
    --skip kill:: --skip storm::a_fleet --skip cluster::faults --skip cluster::shares --skip cluster::pooler \
    --skip timing::the_clock
# About a minute: a few seconds for each target, on every core. `make soak` takes longer.
suite fuzz 5 env "PORTOLAN_FUZZ_SECONDS=${FUZZ_SECONDS:-4}" \
    cargo test --locked --package portolan-oci --package portolan-auth --test it
suite hostile 5 env "PORTOLAN_FUZZ_SECONDS=${FUZZ_SECONDS:-4}" \
    cargo test --locked --package portolan-server --bin portolan -- hostile::
# On cores of its own: it measures.
suite timing 8 cargo test --locked --package portolan-server --test it -- timing:: --nocapture --test-threads 1
suite conformance 10 conformance/run.sh
suite clients 10 tests/clients/run.sh
suite kill 15 env "KILL_ROUNDS=$KILL_ROUNDS" \
    cargo test --locked --package portolan-server --test it -- kill:: --nocapture
suite cluster 8 cargo test --locked --package portolan-server --test it -- cluster:: --nocapture
suite storm 5 cargo test --locked --package portolan-server --test it -- storm:: --nocapture

say
printf '%s\n' "${TABLE[@]}"
printf '%-14s %5d s\n\n' all "$((SECONDS - STARTED))"
say "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
