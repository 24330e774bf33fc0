#!/usr/bin/env bash
# Figures: scripts/bench.sh [PART] [OUT.md], every part where none is named, one after the other into one page.
#
#   peers     Portolan and other registries, side by side
#   pulls     what Postgres costs a pull
#   replicas  what replicas and their lag cost pushes, and what they give to reads
#   pooler    what a pgbouncer before the primary adds to a pull
#   identity  what it costs to know who somebody is, and what a storm of logins does to pulls
#   scale     whether a pull grows dearer with what is stored
#
# All servers run on this machine and are asked in turn, round by round, so that whatever else it does meets all of them
# alike: read the ratios, not the figures. Postgres is durable. ROUNDS and SECONDS_EACH set the size of each part, which
# says itself what else does; PORTOLAN names a program that is built already.

source "$(dirname "$0")/lib.sh"

PARTS=(peers pulls replicas pooler identity scale)
case ${1:-} in
    peers | pulls | replicas | pooler | identity | scale)
        PARTS=("$1")
        shift
        ;;
esac
OUT=${1:-/dev/stdout}

scratch
for part in "${PARTS[@]}"; do
    say "--- $part" >&2
    "$ROOT/scripts/bench-$part.sh" "$SCRATCH/$part.md"
    # What is there is there, whatever becomes of the next.
    [ "$part" = "${PARTS[0]}" ] || say >> "$SCRATCH/all.md"
    cat "$SCRATCH/$part.md" >> "$SCRATCH/all.md"
    [ "$OUT" = /dev/stdout ] || cp "$SCRATCH/all.md" "$OUT"
done
[ "$OUT" != /dev/stdout ] || cat "$SCRATCH/all.md"
