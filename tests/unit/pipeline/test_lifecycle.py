"""The worker's states: forward only, told once, and the ready file that shows them to a container."""

import asyncio
import itertools
from pathlib import Path

import pytest

from pelton.pipeline.lifecycle import Lifecycle, State, ready_file_marker


def test_a_worker_begins_starting_and_stays() -> None:
    """A new lifecycle is not ready, and nobody has to leave."""
    lifecycle = Lifecycle()
    assert lifecycle.state is State.STARTING
    assert not lifecycle.leaving


@pytest.mark.parametrize("states", list(itertools.product(State, repeat=3)))
def test_state_only_moves_forward_and_each_change_is_told_once(states: tuple[State, ...]) -> None:
    """Whatever order is asked for, the state never goes back and observers hear each state they enter once."""
    heard: list[State] = []
    lifecycle = Lifecycle(heard.append)
    order = list(State)
    furthest = State.STARTING
    for state in states:
        lifecycle.advance(state)
        furthest = max(furthest, state, key=order.index)
        assert lifecycle.state is furthest
        assert lifecycle.leaving == (furthest in (State.DRAINING, State.STOPPED))
    assert heard == sorted(set(heard), key=order.index)
    assert State.STARTING not in heard


@pytest.mark.parametrize("state", [State.DRAINING, State.STOPPED])
async def test_leaving_wakes_who_waits_for_it(state: State) -> None:
    """Both ways out, draining and stopping at once, release a task that waits to leave; becoming ready does not."""
    lifecycle = Lifecycle()
    waiter = asyncio.create_task(lifecycle.wait_leaving())
    lifecycle.advance(State.READY)
    await asyncio.sleep(0)
    assert not waiter.done()
    lifecycle.advance(state)
    await asyncio.wait_for(waiter, 5)


def test_state_is_entered_when_the_observer_hears_of_it() -> None:
    """An observer that looks at the lifecycle sees the state it was told, already leaving where that applies."""
    seen: list[tuple[State, State, bool]] = []
    lifecycle = Lifecycle(lambda state: seen.append((state, lifecycle.state, lifecycle.leaving)))
    lifecycle.advance(State.READY)
    lifecycle.advance(State.DRAINING)
    assert seen == [(State.READY, State.READY, False), (State.DRAINING, State.DRAINING, True)]


def test_ready_file_exists_exactly_while_ready(tmp_path: Path) -> None:
    """A health check that looks for the file sees a worker ready from READY until it drains."""
    ready = tmp_path / "ready"
    lifecycle = Lifecycle(ready_file_marker(ready))
    assert not ready.exists()
    lifecycle.advance(State.READY)
    assert ready.exists()
    lifecycle.advance(State.DRAINING)
    assert not ready.exists()
    lifecycle.advance(State.STOPPED)
    assert not ready.exists()


def test_ready_file_of_a_killed_worker_is_gone_while_the_next_one_starts(tmp_path: Path) -> None:
    """A worker that was killed leaves its file behind; its successor, still loading, must not pass for ready."""
    ready = tmp_path / "ready"
    ready.touch()
    Lifecycle(ready_file_marker(ready))
    assert not ready.exists()


def test_no_ready_file_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path the marker leaves nothing behind in any state."""
    monkeypatch.chdir(tmp_path)
    mark = ready_file_marker(None)
    for state in State:
        mark(state)
        assert list(tmp_path.iterdir()) == []
