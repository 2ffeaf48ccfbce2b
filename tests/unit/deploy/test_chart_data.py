"""What the Helm chart knows from the gateway's code is what the code says."""

from deploy.dev.chart_data import CATALOG, SCHEMA, catalog_text, schema_text


def test_the_chart_has_the_catalogue() -> None:
    """The variants that engines are derived from; `deploy/dev/chart-data` writes them anew."""
    assert CATALOG.read_text() == catalog_text()


def test_the_chart_mirrors_the_configuration() -> None:
    """Every field of `gateway/config/model.py` is a value of the chart."""
    assert SCHEMA.read_text() == schema_text()
