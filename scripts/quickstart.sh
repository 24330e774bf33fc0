#!/usr/bin/env bash
# Builds Portolan and starts it: scripts/quickstart.sh DATA LISTEN. The process becomes `portolan quickstart`.

source "$(dirname "$0")/lib.sh"

"$ROOT/scripts/setup.sh" rust postgres
export CARGO_TARGET_DIR
CARGO_TARGET_DIR=$(target_dir)
portolan=$CARGO_TARGET_DIR/release/portolan
[ -x "$portolan" ] || say 'building Portolan; on two cores the first time takes some minutes'
cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package portolan-server --bin portolan
exec "$portolan" quickstart --data "$1" --listen "$2"
