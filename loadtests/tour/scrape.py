"""`/metrics`, read as Prometheus reads it."""

from collections import defaultdict
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

SCRAPE_SECONDS = 10.0

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one moment, or their growth between two."""

    samples: dict[Series, float]

    @classmethod
    def of(cls, url: str) -> "Scrape":
        """Raises httpx.HTTPError."""
        answer = httpx.get(f"{url}/metrics", timeout=SCRAPE_SECONDS, trust_env=False)
        answer.raise_for_status()
        return cls.parse(answer.text)

    @classmethod
    def parse(cls, text: str) -> "Scrape":
        """From the text format."""
        families = text_string_to_metric_families(text)
        samples = (sample for family in families for sample in family.samples)
        return cls({(one.name, frozenset(one.labels.items())): one.value for one in samples})

    def since(self, earlier: "Scrape") -> "Scrape":
        """How much each series grew."""
        return Scrape({series: value - earlier.samples.get(series, 0.0) for series, value in self.samples.items()})

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of a name that have these labels."""
        wanted = labels.items()
        return sum(value for (found, told), value in self.samples.items() if found == name and wanted <= set(told))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The same by the values of one more label, as PromQL's `sum by`."""
        wanted = labels.items()
        sums: dict[str, float] = defaultdict(float)
        for (found, told), value in self.samples.items():
            if found == name and wanted <= set(told):
                sums[dict(told).get(label, "")] += value
        return dict(sums)
