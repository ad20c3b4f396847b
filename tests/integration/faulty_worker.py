"""A pool's worker whose engine raises or hangs on marked requests: `python faulty_worker.py --child FD FD IDENTITY`."""

import asyncio
import sys
import time
from typing import Any

from pelton.logs import configure_logging
from pelton.pipeline.settings.loading import load_settings
from pelton.workers import served_model
from pelton.workers.engine.simulated.engine import SimulatedEngine
from pelton.workers.engine.simulated.text import decode_tokens
from pelton.workers.process import Parent, serve

HANG_S = 60


class FaultyEngine(SimulatedEngine):
    def step(self) -> list[Any]:
        for running in self._joining:
            text = decode_tokens(running.request.prompt)
            if "RAISE" in text:
                raise RuntimeError("the engine was told to fail")
            if "HANG" in text:
                time.sleep(HANG_S)
        return super().step()


def main() -> None:
    _, link_fd, journal_fd, identity = sys.argv[1:]
    configure_logging(verbose=False)
    setattr(served_model, "SimulatedEngine", FaultyEngine)  # noqa: B010  # the name is imported there, not exported
    asyncio.run(serve(load_settings(), Parent(int(link_fd), int(journal_fd), identity)))


if __name__ == "__main__":
    main()
