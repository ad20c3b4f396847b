"""Use and memory of the GPU that a worker computes on, by NVIDIA's management library: the extra `pelton[nvml]`."""

import asyncio
import importlib
import logging
from typing import Any

from pelton.pipeline.metrics import Metrics
from pelton.workers.notices import Notice

log = logging.getLogger(__name__)

EVERY_S = 2.0
AGAIN_S = 60.0
"""After a failure, such as a driver that was renewed under us."""
_PERCENT = 100


async def keep_gpu_gauges(metrics: Metrics, gpu: str | None) -> None:
    """Set them for ever; `gpu` is the device's UUID. Without a GPU or the library there are no such series."""
    if gpu is None or (nvml := _library()) is None:
        await asyncio.Event().wait()
        return
    trouble = Notice(log)
    gauges = (metrics.gpu_utilization, metrics.gpu_memory_used, metrics.gpu_memory_total)
    while True:
        try:
            # A driver may take its time.
            await asyncio.to_thread(_read, nvml, metrics, gpu)
        except nvml.NVMLError as error:
            trouble.say("the state of GPU %s cannot be read: %s", gpu, error)
            for gauge in gauges:
                gauge.clear()
            await asyncio.sleep(AGAIN_S)
        else:
            trouble.over("the state of GPU %s can be read again", gpu)
            await asyncio.sleep(EVERY_S)


def _library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        log.info("no metrics of the GPU: pynvml cannot be imported; the extra pelton[nvml] has it")
        return None


def _read(nvml: Any, metrics: Metrics, gpu: str) -> None:
    """Raises `NVMLError`. What a part of a GPU (MIG) does not measure is left out."""
    nvml.nvmlInit()  # counts its calls: the driver is opened once
    try:
        device = nvml.nvmlDeviceGetHandleByUUID(gpu)
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
        metrics.gpu_memory_used.labels(gpu).set(memory.used)
        metrics.gpu_memory_total.labels(gpu).set(memory.total)
        try:
            rates = nvml.nvmlDeviceGetUtilizationRates(device)
        except nvml.NVMLError_NotSupported:
            return
        metrics.gpu_utilization.labels(gpu).set(rates.gpu / _PERCENT)
    finally:
        nvml.nvmlShutdown()
