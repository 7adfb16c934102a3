"""Reads the metrics of an engine of ours."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def engine_values(text: str) -> dict[str, int]:
    """Return the values without labels in the text of `/metrics`, by name."""
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {each.name: int(each.value) for each in samples if not each.labels}
