"""What a process tells of its metrics, as Prometheus reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """Values by sample name and labels, and each metric's type by its exposed name."""

    values: Mapping[tuple[str, Labels], float] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Scrape":
        values: dict[tuple[str, Labels], float] = {}
        types: dict[str, str] = {}
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue
            types[family.name + ("_total" if family.type == "counter" else "")] = family.type
            for sample in family.samples:
                values[sample.name, frozenset(sample.labels.items())] = sample.value
        return cls(values, types)

    def get(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels."""
        wanted = labels.items()
        return sum(value for (found, of), value in self.values.items() if found == name and wanted <= of)

    def label_names(self, name: str) -> set[str]:
        """Return the labels of a metric's samples, but for those of buckets."""
        return {label for (sample, labels) in self.values if sample in (name, f"{name}_count") for label, _ in labels}

    def names(self) -> Iterator[str]:
        """Yield every sample's name."""
        return iter({name for name, _ in self.values})


def scrape(url: str, key: str | None = None) -> Scrape:
    """Return what ``/metrics`` below an address tells."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    response = httpx.get(f"{url}/metrics", headers=headers, timeout=30, verify=False)
    response.raise_for_status()
    return Scrape.of(response.text)
