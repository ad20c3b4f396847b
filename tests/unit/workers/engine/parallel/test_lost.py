"""A part that does not answer ends the engine, with one sentence and within a bound."""

import signal
from pathlib import Path

import pytest

from pelton.workers.engine.api import EngineRequest, SamplingParams
from pelton.workers.engine.errors import EngineLostError, ModelLoadError
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.processes import spawn
from tests.unit.workers.engine._support.parts import Parts
from tests.unit.workers.engine._support.reference import prompt_of


@pytest.mark.timeout(120)
def test_a_part_that_hangs_ends_the_engine(tmp_path: Path) -> None:
    """The step is given up in time; the cause is told once, and each later step raises it; the frozen one goes too."""
    told: list[Exception] = []
    followers = Followers.start(spawn(2), "cpu", told.append, wait_s=1.0)
    try:
        engine = Parts(followers, tmp_path).engine("llama")
        process = followers._followers[0].started.process
        process.send_signal(signal.SIGSTOP)
        engine.add(EngineRequest(0, prompt_of(9, 1), SamplingParams(4)))
        with pytest.raises(EngineLostError, match=r"engine\.tensor_parallel: a step failed.* out of step") as raised:
            engine.step()
        assert told == [raised.value]
        assert process.wait(5) == -signal.SIGKILL
        with pytest.raises(EngineLostError) as again:
            engine.step()
        assert again.value is raised.value
        assert told == [raised.value]
        # Who is gone is named where a model is loaded, too, and not what comes of it.
        with pytest.raises(ModelLoadError, match="the process of rank 1 was ended by SIGKILL"):
            Parts(followers, tmp_path).engine("llama")
    finally:
        followers.close()
