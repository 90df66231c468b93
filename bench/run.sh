#!/usr/bin/env bash
# Runs the harness against the release binary of this checkout, beside its peers.
#   bench/run.sh --driver freshq rq-preload --measure C --jobs 1000
#   bench/run.sh beside --driver freshq-plain rq-preload    (throughput of two, in turns)
#   bench/run.sh reload --modules 5 50                      (a save, beside its floor)
# Needs bench/setup.sh once. Results go to bench/results.
set -euo pipefail
cd "$(dirname "$0")"
export FRESHQ="${FRESHQ:-$PWD/../target/release/freshq}" BENCH_DRIVERS="$PWD/freshq_driver.py"
export FRESHQ_CACHE_DIR="${FRESHQ_CACHE_DIR:-$(mktemp -d)}"
script=harness.py
case "${1:-}" in
beside | reload)
    script=$1.py
    shift
    ;;
esac
exec "${BENCH_ROOT:-/tmp/bench}/venv-rq/bin/python" "$script" "$@"
