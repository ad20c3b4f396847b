"""A Prometheus and an Alertmanager with the files of configs/prometheus, quicker and on other addresses."""

import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import orjson
import yaml

from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.process import ChildProcess
from tests.monitoring.binaries import ALERTMANAGER, program

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "prometheus"
READY_S = 30
QUICKER = {"[15m]": "[60s]", "[5m]": "[10s]", "[2m]": "[10s]", "[1m]": "[10s]"}


def quicker(expression: str) -> str:
    """The same over a shorter time."""
    for usual, short in QUICKER.items():
        expression = expression.replace(usual, short)
    return expression


def alerts() -> list[dict[str, Any]]:
    """The rules as they are."""
    return [rule for group in yaml.safe_load((CONFIGS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


def panel_queries() -> dict[str, str]:
    """Every query of every board, by board, panel and letter."""
    return {
        f"{path.stem} / {panel['title']} {target['refId']}": target["expr"]
        for path in sorted((ROOT / "configs" / "grafana" / "dashboards").glob("*.json"))
        for panel in orjson.loads(path.read_bytes())["panels"]
        for target in panel["targets"]
    }


class Monitoring:
    """Both servers, from `start` to the end of the context."""

    def __init__(self, folder: Path, targets: Sequence[str]) -> None:
        self._folder = folder
        self._targets = targets
        self._open = ExitStack()
        self._port, self._alertmanager_port = free_port(), free_port()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start_alertmanager(stack)
            self._start_prometheus(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def query(self, expression: str) -> list[float]:
        """The values of an instant query. Raises `OSError` where it cannot be asked."""
        found = _get(f"http://{LOOPBACK}:{self._port}/api/v1/query", query=expression)
        return [float(series["value"][1]) for series in found["data"]["result"]]

    def firing(self) -> set[str]:
        """Names of alerts that fire now."""
        found = _get(f"http://{LOOPBACK}:{self._port}/api/v1/alerts")
        return {each["labels"]["alertname"] for each in found["data"]["alerts"] if each["state"] == "firing"}

    def announced(self) -> set[str]:
        """Names of alerts that Alertmanager holds active."""
        found = _get(f"http://{LOOPBACK}:{self._alertmanager_port}/api/v2/alerts")
        return {each["labels"]["alertname"] for each in found if each["status"]["state"] == "active"}

    def scraped(self) -> Mapping[str, str]:
        """Targets that are down, and why."""
        found = _get(f"http://{LOOPBACK}:{self._port}/api/v1/targets")
        return {
            each["scrapeUrl"]: each["lastError"] for each in found["data"]["activeTargets"] if each["health"] != "up"
        }

    def _start_alertmanager(self, stack: ExitStack) -> None:
        command = [
            program(*ALERTMANAGER),
            f"--config.file={CONFIGS / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'alertmanager'}",
            f"--web.listen-address={LOOPBACK}:{self._alertmanager_port}",
            "--cluster.listen-address=",
        ]
        self._run(stack, "Alertmanager", command, f"http://{LOOPBACK}:{self._alertmanager_port}/-/ready")

    def _start_prometheus(self, stack: ExitStack) -> None:
        config = yaml.safe_load((CONFIGS / "prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["alerting"]["alertmanagers"] = [
            {"static_configs": [{"targets": [f"{LOOPBACK}:{self._alertmanager_port}"]}]}
        ]
        [job] = config["scrape_configs"]
        config["scrape_configs"] = [{"job_name": job["job_name"], "static_configs": [{"targets": list(self._targets)}]}]
        rules = quicker((CONFIGS / "alerts.yml").read_text())
        (self._folder / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 2s", rules))
        path = self._folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        command = [
            program("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
            "--rules.alert.resend-delay=2s",  # what fires before Alertmanager is found is sent again soon
        ]
        self._run(stack, "Prometheus", command, f"http://{LOOPBACK}:{self._port}/-/ready")

    def _run(self, stack: ExitStack, name: str, command: list[str], ready: str) -> None:
        process = ChildProcess(name, command, log_file=self._folder / f"{name.lower()}.log", grace_s=10)
        stack.callback(process.stop)
        process.wait_ready(lambda: _answers(ready), READY_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own server
            return bool(answer.status == 200)
    except OSError:
        return False


def _get(url: str, **query: str) -> Any:
    whole = f"{url}?{urllib.parse.urlencode(query)}" if query else url
    with urllib.request.urlopen(whole, timeout=10) as answer:  # noqa: S310  # our own server
        return orjson.loads(answer.read())
