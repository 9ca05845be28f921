"""The catalogue: the names that the design uses have a metric, and the limits are those of SPEC §22."""

from nebula_resource.metrics import TextRenderer
from nebula_resource.metrics.catalogue import CATALOGUE
from nebula_resource.metrics.tenants import MAX_TENANTS

DESIGN = {
    "pool.size", "pool.available", "pool.in_use", "pool.acquire_duration_ms", "resource.health_check.duration_ms",
    "resource.health_check.status", "resource.create.duration_ms", "resource.cleanup.count", "scopes.active",
    "scopes.created", "scopes.cleaned_up",
}  # fmt: skip  # one list of names


def test_every_name_of_the_design_has_its_metric() -> None:
    """The reference lists them beside it; those that say a time say it in seconds."""
    told = {name: metric for metric in CATALOGUE.values() for name in metric.seeds}
    assert told.keys() >= DESIGN
    for name in DESIGN:
        if name.endswith("_ms"):
            assert told[name].name.endswith("_seconds"), name


def test_names_are_as_prometheus_wants_them() -> None:
    """Our prefix, base units, and ``_total`` on counters alone."""
    for metric in CATALOGUE.values():
        assert metric.series_name.startswith("nebula_resource_")
        assert metric.series_name.endswith("_total") is (metric.kind == "counter"), metric.name
        assert not metric.name.endswith(("_ms", "_us", "_minutes", "_mb", "_percent")), metric.name
        assert not {"tenant_id", "user", "workflow", "execution", "action"} & set(metric.labels)
        assert ("tenant" in metric.labels) is metric.name.startswith("tenant_"), metric.name


def test_the_limits_are_those_of_the_specification() -> None:
    """Ten thousand series beyond the fixed ones, fifty tenants."""
    assert (TextRenderer().budget.left, MAX_TENANTS) == (10_000, 50)
