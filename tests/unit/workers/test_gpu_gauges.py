"""Metrics of the GPU, with NVIDIA's library played at its seam."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pelton.pipeline.metrics import Metrics
from pelton.workers import gpu_gauges
from pelton.workers.gpu_gauges import keep_gpu_gauges

GPU = "GPU-8f1c"


class Nvml(ModuleType):
    """One GPU; `broken` has the driver gone, `part` is a part of a GPU, which measures no use."""

    class NVMLError(Exception):
        """As the library has it."""

    class NVMLError_NotSupported(NVMLError):  # noqa: N801  # the library's name
        """Likewise."""

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.broken = self.part = False
        self.opened = 0

    def nvmlInit(self) -> None:  # noqa: N802  # the library's names, here and below
        if self.broken:
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= not self.broken

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != GPU:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetMemoryInfo(self, _: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=6_000, total=80_000)

    def nvmlDeviceGetUtilizationRates(self, _: str) -> SimpleNamespace:  # noqa: N802
        if self.part:
            raise self.NVMLError_NotSupported("Not Supported")
        return SimpleNamespace(gpu=87, memory=40)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    found = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", found)
    monkeypatch.setattr(gpu_gauges, "EVERY_S", 0.005)
    monkeypatch.setattr(gpu_gauges, "AGAIN_S", 0.005)
    return found


def shown(metrics: Metrics) -> dict[str, float]:
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return {sample.name: sample.value for sample in samples if sample.name.startswith("pelton_gpu")}


async def until(metrics: Metrics, wanted: dict[str, float]) -> None:
    async with asyncio.timeout(5):
        while shown(metrics) != wanted:  # noqa: ASYNC110  # a gauge has no event
            await asyncio.sleep(0.002)


MEMORY = {"pelton_gpu_memory_used_bytes": 6_000.0, "pelton_gpu_memory_total_bytes": 80_000.0}
ALL = {**MEMORY, "pelton_gpu_utilization_ratio": 0.87}


async def test_use_and_memory_are_shown_and_go_with_the_driver(nvml: Nvml) -> None:
    """While it cannot be read there is no series, not an old one; it comes back by itself, and nothing stays open."""
    metrics = Metrics()
    keeping = asyncio.create_task(keep_gpu_gauges(metrics, GPU))
    try:
        await until(metrics, ALL)
        nvml.broken = True
        await until(metrics, {})
        nvml.broken = False
        await until(metrics, ALL)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
    assert nvml.opened <= 1  # a look may be under way


async def test_a_part_of_a_gpu_shows_what_it_measures(nvml: Nvml) -> None:
    """Its memory."""
    nvml.part = True
    metrics = Metrics()
    keeping = asyncio.create_task(keep_gpu_gauges(metrics, GPU))
    await until(metrics, MEMORY)
    keeping.cancel()


@pytest.mark.parametrize("gpu", [None, GPU], ids=["no GPU", "no library"])
async def test_without_gpu_or_library_there_is_no_series(gpu: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the task stays, as all parts of a worker do."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    metrics = Metrics()
    keeping = asyncio.create_task(keep_gpu_gauges(metrics, gpu))
    done, _ = await asyncio.wait([keeping], timeout=0.05)
    assert not done
    assert shown(metrics) == {}
    keeping.cancel()
