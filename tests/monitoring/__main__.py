"""See with a real Prometheus that every panel has data, and that every alert fires and is cleared.

    make monitoring-check

Checks the files with promtool and amtool first. Then Kafka, Valkey, two workers and a load run, Prometheus scrapes them
with configs/prometheus (windows and waiting times shortened), every query of every board is run, and each alert is
provoked. Takes some six minutes. Exit codes: 0 all is as it should be; 1 something is not; 2 Prometheus is not here.
"""

import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from rich.console import Console

from pelton.stack.stack import LocalStack, StackConfig
from tests.monitoring.binaries import ALERTMANAGER, Missing, check, program
from tests.monitoring.prometheus import CONFIGS, Monitoring, alerts, panel_queries, quicker
from tests.monitoring.provocations import PROVOCATIONS, Stage
from tests.monitoring.scene import Load, Scene

GOOD, BAD, ABSENT = 0, 1, 2
DATA_S = 60
FIRE_S = 90
CLEAR_S = 100
EXPORTER_QUERY = "sum(pelton_topic_backlog_requests)"
"""The scaler's, in configs/kubernetes."""

console = Console(stderr=True, soft_wrap=True)


def main() -> int:
    """Returns the exit code."""
    try:
        for names in (("prometheus",), ("promtool",), ("amtool",), ALERTMANAGER):
            program(*names)
    except Missing as error:
        console.print(f"monitoring-check: {error}", style="red", markup=False)
        return ABSENT
    faults = _files()
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="pelton-monitoring-")))
        scene = Scene(open_.enter_context(LocalStack(StackConfig())), folder)
        monitoring = open_.enter_context(Monitoring(folder, scene.targets))
        faults += asyncio.run(_live(scene, monitoring))
        if faults:
            for log in sorted(folder.glob("*.log")):
                console.print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}", markup=False, style="dim")
    for fault in faults:
        console.print(f"WRONG {fault}", style="red", markup=False)
    console.print(f"{len(faults)} wrong", style="red" if faults else "green")
    return BAD if faults else GOOD


def _files() -> list[str]:
    promtool, amtool = program("promtool"), program("amtool")
    checks = [
        check("prometheus.yml", promtool, "check", "config", CONFIGS / "prometheus.yml"),
        check("alerts.yml", promtool, "check", "rules", CONFIGS / "alerts.yml"),
        check("alertmanager.yml", amtool, "check-config", CONFIGS / "alertmanager.yml"),
        *(check(path.name, promtool, "test", "rules", path) for path in sorted((CONFIGS / "tests").glob("*.yml"))),
    ]
    _said("configuration, rules and their tests", f"{len(checks)} checks")
    return [fault for fault in checks if fault is not None]


async def _live(scene: Scene, monitoring: Monitoring) -> list[str]:
    faults = [await _fires(monitoring, "PeltonNoWorkers")]
    async with AsyncExitStack() as open_:
        await open_.enter_async_context(scene.exporter())
        workers = await open_.enter_async_context(AsyncExitStack())
        simulated = await workers.enter_async_context(scene.broken_by_request())
        load = await open_.enter_async_context(Load(scene.stack.kafka.bootstrap_servers))
        with_model = await open_.enter_async_context(AsyncExitStack())
        await with_model.enter_async_context(scene.with_model())
        running = asyncio.create_task(load.run())
        open_.callback(running.cancel)
        faults.append(await _clears(monitoring, "PeltonNoWorkers"))
        faults += await _panels(monitoring)
        faults.append(await _fires(monitoring, "PeltonPagesShort"))
        await with_model.aclose()
        faults.append(await _clears(monitoring, "PeltonPagesShort"))
        stage = Stage(scene, load, workers, simulated)
        for alert, provoke in PROVOCATIONS.items():
            async with provoke(stage):
                faults.append(await _fires(monitoring, alert))
                if alert == "PeltonRequestsFail":
                    faults.append(await _fires(monitoring, "PeltonDeadLetters"))
            faults.append(await _clears(monitoring, alert))
        faults.append(await _clears(monitoring, "PeltonDeadLetters"))
        if running.done():
            faults.append(f"the load ended: {running.exception()!r}")
    told = {"PeltonNoWorkers", "PeltonPagesShort", "PeltonDeadLetters", *PROVOCATIONS}
    faults += [f"nothing provokes {rule['alert']}" for rule in alerts() if rule["alert"] not in told]
    return [fault for fault in faults if fault]


async def _panels(monitoring: Monitoring) -> list[str]:
    """Each query has to give a number, once."""
    wanted = panel_queries() | {"the scaler": EXPORTER_QUERY}
    began = time.monotonic()
    while wanted and time.monotonic() - began < DATA_S:
        for name, query in list(wanted.items()):
            values = await asyncio.to_thread(monitoring.query, quicker(query))
            if any(not math.isnan(value) for value in values):
                del wanted[name]
        await asyncio.sleep(1)
    down = await asyncio.to_thread(monitoring.scraped)
    _said("panels with data", f"{len(panel_queries()) + 1 - len(wanted)} of {len(panel_queries()) + 1} queries")
    return [f"no data for {name}: {query}" for name, query in wanted.items()] + [
        f"{url} is not scraped: {error}" for url, error in down.items()
    ]


async def _fires(monitoring: Monitoring, alert: str) -> str:
    """Until Prometheus has it firing and Alertmanager has it active."""
    firing = await _until(lambda: alert in monitoring.firing(), FIRE_S)
    announced = firing is not None and await _until(lambda: alert in monitoring.announced(), FIRE_S) is not None
    if firing is None or not announced:
        return f"{alert} does not fire" if firing is None else f"{alert} is not announced"
    _said(f"{alert} fires", f"after {firing:.0f} s")
    return ""


async def _clears(monitoring: Monitoring, alert: str) -> str:
    cleared = await _until(lambda: alert not in monitoring.firing(), CLEAR_S)
    if cleared is None:
        return f"{alert} is not cleared"
    _said(f"{alert} is cleared", f"after {cleared:.0f} s")
    return ""


async def _until(condition: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds until it is so; None where it is not in time."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < limit_s:
        if await asyncio.to_thread(condition):
            return passed
        await asyncio.sleep(0.5)
    return None


def _said(what: str, how: str) -> None:
    console.print(f"{time.strftime('%H:%M:%S')}  {what:<42} {how}", markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
