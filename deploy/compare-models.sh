#!/usr/bin/env bash
# What a change of dbt models does to the tables of the lake, as Markdown for a pull request:
#   deploy/compare-models.sh BASE NAME >comment.md
# BASE is the git revision that the lake is built from. NAME is a name for a branch of the lake, which
# is made, and stays: `lotus-lake branch NAME --drop` removes it. LAKE_* and AWS_* say where the lake is.
# A change that loses tables, columns or rows exits with 3, unless LABELS, the labels of the pull request
# with commas between them, has destructive-change.
set -euo pipefail
if [ $# != 2 ]; then
    sed -n 's/^# //p' "$0" >&2
    exit 2
fi
base=$1 name=$2
cd "$(dirname "$0")/.."
[ ! -d .venv ] || PATH=$PWD/.venv/bin:$PATH
export LAKE_PROJECT_DIR=${LAKE_PROJECT_DIR:-$PWD} PYTHONPATH=$PWD/plugins
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_dbt() { # FOLDER TARGET ARGUMENTS...
    (cd "$1/include/dbt" && dbt --no-use-colors "${@:3}" --target-path "$work/$2" --log-path "$work/logs" >&2)
}

# How the project was, to know what has changed.
mkdir "$work/checkout"
git archive "$base" include | tar -x -C "$work/checkout"
run_dbt "$work/checkout" checkout/include/dbt/target parse
lotus-lake branch "$name" >&2
LAKE_BRANCH=$name run_dbt . after run --full-refresh --select state:modified+ --state "$work/checkout/include/dbt/target"
refuse=(--refuse-destructive)
case ",${LABELS:-}," in *,destructive-change,*) refuse=() ;; esac
lotus-lake diff main "$name" --markdown --since "$work/checkout" "${refuse[@]}"
