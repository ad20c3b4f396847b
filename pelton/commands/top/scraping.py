"""What workers say at their metrics ports."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from pelton.pipeline.lifecycle import State

TIMEOUT_S = 2.0
MAX_BYTES = 4_000_000
MAX_AT_ONCE = 32
USUAL_PORTS = range(9400, 9464)
"""Where workers are looked for on this machine; they take the first free ones."""

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One worker's series at one time (`time.monotonic`); `error` says why there are none."""

    url: str
    at: float
    state: str = ""
    error: str = ""
    series: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float | None:
        """One series' value; None where there is none."""
        return self.series.get((name, frozenset(labels.items())))

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values of a series with one label, by that."""
        return {dict(labels)[label]: value for (found, labels), value in self.series.items() if found == name}

    def first(self, name: str) -> float | None:
        """The value of a series of which there is one, whatever its labels."""
        return next((value for (found, _), value in self.series.items() if found == name), None)

    def labels(self, name: str) -> dict[str, str]:
        """The labels of a series of which there is one."""
        return next((dict(labels) for found, labels in self.series if found == name), {})


def base_url(given: str) -> str:
    """`host:port`, or an address with or without its path, as `http://host:port`. Raises `ValueError`."""
    whole = given if "://" in given else f"http://{given}"
    match = re.fullmatch(r"(https?://[^/?#\s]+)(/metrics)?/?", whole)
    if match is None:
        raise ValueError(f"{given!r} is no address of a metrics port: http://HOST:PORT")
    return match[1]


def found_here() -> list[str]:
    """Workers on this machine, on the ports they take by default."""
    scrapes = scrape([f"http://127.0.0.1:{port}" for port in USUAL_PORTS])
    return [each.url for each in scrapes if not each.error and each.labels("pelton_worker_info")]


def scrape(urls: Sequence[str]) -> list[Scrape]:
    """All of them at the same time, in their order."""
    if not urls:
        return []
    with ThreadPoolExecutor(min(len(urls), MAX_AT_ONCE)) as pool:
        return list(pool.map(_scrape, urls))


def _scrape(url: str) -> Scrape:
    at = time.monotonic()
    try:
        text, state = _get(f"{url}/metrics"), _get(f"{url}/readyz").strip()
        state = state if state in set(State) else ""
        return Scrape(url, at, state, series=_series(text))
    except (OSError, ValueError) as error:
        return Scrape(url, at, error=_reason(error))


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  # `base_url` lets only HTTP through
            body: bytes = answer.read(MAX_BYTES)
    except urllib.error.HTTPError as error:  # a worker that is not ready says so with its state
        with error:
            body = error.read(MAX_BYTES)
    return body.decode("utf-8", "replace")


def _series(text: str) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
