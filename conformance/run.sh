#!/usr/bin/env bash
# Runs the conformance suite of the distribution specification: conformance/run.sh [SITE..]
#
# Against a binary of this checkout ($PORTOLAN, or the debug build), a Postgres of its own and each SITE, all by default:
#
#   directory  blobs in a folder
#   s3         blobs in an S3 server, streamed; and once more redirected
#   lagging    a folder, and a read replica that replays everything 300 ms late
#   dead       a folder, and two read replicas of which one has died
#
# at the versions 1.1 and dev (with replicas, where each write waits for them, at 1.1), with every optional setting on. It passes when nothing failed and nothing was skipped or
# disabled. Set RESULTS to a folder to keep the reports.

source "$(dirname "$0")/../scripts/lib.sh"

PORTOLAN=${PORTOLAN:-$(target_dir)/debug/portolan}
[ -x "$PORTOLAN" ] || die "$PORTOLAN is missing: cargo build"
command -v conformance > /dev/null || die 'the suite is missing: scripts/setup.sh go tools'
[ "$#" -gt 0 ] || set -- directory s3 lagging dead

scratch
RESULTS=${RESULTS:-$SCRATCH/results}
passed=0
failed=0

# attribute NAME FILE: a number of the report's only suite; what is not there is zero.
attribute() {
    local value
    value=$(sed -n "/<testsuite /{s/.* $1=\"\([0-9]*\)\".*/\1/p;q}" "$2")
    say "${value:-0}"
}

# Runs one version; adds to `passed` and `failed`, what was skipped or disabled being failed here.
# The third argument names a variant, for the report.
run_suite() {
    local site=$1${3:+ $3} version=$2 results=$RESULTS/$1-$2${3:+-$3} status=0 tests failures skipped disabled
    mkdir -p "$results"
    OCI_REGISTRY=$REGISTRY OCI_TLS=disabled OCI_USERNAME=$ADMIN OCI_PASSWORD=$PASSWORD \
        OCI_REPO1=conformance-${version//./-}/one OCI_REPO2=conformance-${version//./-}/two \
        OCI_VERSION=$version OCI_RESULTS_DIR=$results OCI_CONFIGURATION=/dev/null \
        OCI_API_BLOBS_UPLOAD_CANCEL=true OCI_API_MANIFESTS_TAG_PARAM=true \
        OCI_API_BLOBS_DIGEST_HEADER=${BLOB_DIGEST_HEADER:-true} OCI_API_MANIFESTS_DIGEST_HEADER=true OCI_DATA_SPARSE=true \
        timeout 300 conformance > "$results/output" 2>&1 || status=$?
    # Without a whole report there is nothing that could have passed.
    if [ ! -s "$results/junit.xml" ] || [ ! -s "$results/results.yaml" ]; then
        tail -n 20 "$results/output"
        say "$site, version $version: no results (exit $status)"
        failed=$((failed + 1))
        return
    fi
    tests=$(attribute tests "$results/junit.xml")
    failures=$(($(attribute failures "$results/junit.xml") + $(attribute errors "$results/junit.xml")))
    skipped=$(attribute skipped "$results/junit.xml")
    # The settings and the verdicts by API and kind of data: `false`, `Disabled`, `Skip`, `Unknown` are not passes.
    disabled=$(grep -c -E ': (false|Disabled|Unknown|Skip)$' "$results/results.yaml") || true
    # What was switched off on purpose: the setting, and its line in the verdicts.
    [ "${BLOB_DIGEST_HEADER:-true}" = true ] || disabled=$((disabled - 1))
    say "$site, version $version: $tests cases, $failures failed, $skipped skipped, $disabled disabled (exit $status)"
    if [ "$failures" != 0 ] || [ "$skipped" != 0 ] || [ "$disabled" != 0 ] || [ "$status" != 0 ]; then
        grep -h 'level=WARN' "$results/output" | head -n 40 || true
        grep -E ': (false|Disabled|Unknown|Skip|FAIL)$' "$results/results.yaml" || true
    fi
    passed=$((passed + tests - failures - skipped))
    failed=$((failed + failures + skipped + disabled))
    [ "$status" = 0 ] || [ "$failures" != 0 ] || failed=$((failed + 1))
}

# Data that may be refused by the specification and is so by default.
export PORTOLAN_LIMITS__SPARSE_IMAGES=true
start_postgres
for site in "$@"; do
    store=$site
    case $site in
        s3) start_s3 ;;
        lagging | dead) store=directory ;;
    esac
    # The bytes come from us: a header of ours cannot be on an answer of the bucket's, and the suite asks for one.
    export PORTOLAN_STORAGE__REDIRECT=false
    start_with_replicas "conformance_$site" "$store" "$site"
    run_suite "$site" 1.1
    case $site in
        directory | s3) run_suite "$site" dev ;;
    esac
    stop_process "$PORTOLAN_PID"
    stop_replicas
    [ "$site" = s3 ] || continue
    # Once more as most will run it, redirected to the bucket, without that header on blobs: the one setting off.
    export PORTOLAN_STORAGE__REDIRECT=true
    start_portolan conformance_redirected s3
    BLOB_DIGEST_HEADER=false run_suite s3 1.1 redirected
    stop_process "$PORTOLAN_PID"
done

say "$passed passed, $failed failed"
[ "$failed" = 0 ]
