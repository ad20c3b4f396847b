"""Memory and processor time of processes, looked at while something else goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psutil


@dataclass(slots=True)
class Usage:
    """What one tree of processes took: at each of `at_s` its memory (RSS, MiB) and its cores since the last look."""

    pid: int
    at_s: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    _spent_s: float = 0.0

    def look(self, at_s: float) -> None:
        """Take one more sample. Does nothing where the process is gone."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            rss, spent = 0, 0.0
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    spent += times.user + times.system
                    rss += process.memory_info().rss
            passed = at_s - self.at_s[-1] if self.at_s else 0.0
            self.cores.append(max(0.0, spent - self._spent_s) / passed if passed else 0.0)
            self._spent_s = spent
            self.at_s.append(at_s)
            self.rss_mib.append(rss / 2**20)

    @property
    def mean_cores(self) -> float:
        return sum(self.cores[1:]) / max(1, len(self.cores) - 1)

    @property
    def peak_mib(self) -> float:
        return max(self.rss_mib, default=0.0)


@asynccontextmanager
async def watched(pids: Mapping[str, int], interval_s: float) -> AsyncIterator[dict[str, Usage]]:
    """The usage of each tree of processes by name, grown by a sample every `interval_s`."""
    usages = {name: Usage(pid) for name, pid in pids.items()}
    began = time.perf_counter()

    async def watch() -> None:
        while True:
            for usage in usages.values():
                usage.look(time.perf_counter() - began)
            await asyncio.sleep(interval_s)

    watching = asyncio.create_task(watch())
    try:
        yield usages
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
