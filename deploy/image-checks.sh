# shellcheck shell=bash
# Run inside the image by deploy/image.sh, as its user.
set -euo pipefail

say() { printf '%-28s %s\n' "$1" "$2"; }
fail() { printf 'error: %s\n' "$1" >&2 && exit 1; }

[ "$(id -u)" = 50000 ] || fail "the user is $(id -u), not 50000"
say "user" "$(id -u), group $(id -g)"

for name in tests samples docs deploy .git .venv .lake/image include/airbyte requirements-dev.txt; do
    [ ! -e "$name" ] || fail "$name does not belong in the image"
done
for module in pytest mypy ruff hypothesis; do
    ! python -c "import $module" 2>/dev/null || fail "$module does not belong in the image"
done

say "python" "$(python -c 'import platform; print(platform.python_version())')"
say "airflow" "$(airflow version)"
say "dbt" "$(dbt --version | sed -n 's/.*installed: *//p')"

# Only the bucket is missing here.
lotus-lake doctor --json >/tmp/doctor.json 2>/dev/null || true
python - <<'PYTHON'
import json

checks = {check["check"]: check for check in json.load(open("/tmp/doctor.json"))}
needed = ("installed versions are the pinned ones", "extensions are those of duckdb",
          "project files fit together", "dbt manifest is current", "catalog opens")
for name in needed:
    print(f"{name:<40} {checks[name]['state']}: {checks[name]['text']}")
bad = {name for name, check in checks.items() if check["state"] == "problem"} - {"bucket is listed"}
if bad or any(checks[name]["state"] != "ok" for name in needed):
    raise SystemExit(f"error: {bad or checks}")
PYTHON

for module in lotus_lake.airflow.{enriched,maintenance,operations,reconcile,sensors,streams} \
    airflow.providers.{celery,cncf.kubernetes,fab} \
    asyncpg psycopg2 redis; do
    output=$(python -c "import $module" 2>&1) || fail "$module cannot be imported: $output"
done

lotus-lake dictionary >/tmp/dictionary.html || fail "no data dictionary"
for word in fct_sales stg_shopify__orders; do
    grep -q "$word" /tmp/dictionary.html || fail "the data dictionary lacks $word"
done
say "data dictionary" "$(stat -c %s /tmp/dictionary.html) bytes"

export PYTHONWARNINGS=ignore
manifest=include/dbt/target/manifest.json
made=$(stat -c %Y "$manifest")
airflow db migrate >/tmp/migrate.log 2>&1 || { cat /tmp/migrate.log && fail "airflow db migrate"; }
airflow dags list --local --output json 2>/dev/null >/tmp/dags.json
errors=$(airflow dags list-import-errors --local 2>/dev/null || true)
[ "$errors" = "No data found" ] || fail "import errors: $errors"
python - <<'PYTHON'
import json
from pathlib import Path

listed = {dag["dag_id"] for dag in json.load(open("/tmp/dags.json"))}
streams = {
    f"{path.parent.name}__{path.stem}"
    for path in Path("include/streams").glob("*/[!_]*.json")
    if json.loads(path.read_text()).get("selected", True)
}
wanted = streams | {"lake_alerts", "lake_approvals", "lake_maintenance", "lake_operations", "lake_reconcile"}
if not streams or not wanted <= listed:
    raise SystemExit(f"error: no Dag for {sorted(wanted - listed) or 'any stream'}")
print(f"{len(listed)} Dags, {len(streams)} of streams; no import errors")
PYTHON
[ "$(stat -c %Y "$manifest")" = "$made" ] || fail "the baked manifest is not used: dbt parsed the project again"
say "manifest" "baked in, $(stat -c %s "$manifest") bytes, and used as it is"
