"""Writes what the Helm chart knows from the gateway's code: the catalogue of variants, and the schema of its values.

Both are committed; a unit test says when they are out of step with the code.
"""

import json
import subprocess
import sys
from pathlib import Path

from deploy.dev.chart_schema import values_schema
from gateway.config.variant_names import spellings
from gateway.routing.catalog import VARIANTS

CHART = Path(__file__).resolve().parents[2] / "helm" / "gemma-gateway"
CATALOG = CHART / "files" / "catalog.json"
SCHEMA = CHART / "values.schema.json"


def catalog_text() -> str:
    """`variants` by name, as `gateway models` has them; `spellings`: from each beginning of a name to its variant."""
    listed = subprocess.run([sys.executable, "-m", "gateway", "models", "--json"], capture_output=True, check=True)
    value = {
        "variants": {entry["variant"]: entry for entry in json.loads(listed.stdout)},
        "spellings": {spelling: variant.name for spelling, variant in sorted(spellings(VARIANTS).items())},
    }
    return json.dumps(value, indent=1) + "\n"


def schema_text() -> str:
    """The chart's values.schema.json."""
    return json.dumps(values_schema(CHART / "values.yaml"), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files anew."""
    for path, text in ((CATALOG, catalog_text()), (SCHEMA, schema_text())):
        path.write_text(text)
        print(f"wrote {path.relative_to(CHART.parents[1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
