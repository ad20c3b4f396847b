"""A thread as a future of the event loop."""

import asyncio
import threading
from collections.abc import Callable


def start_thread(body: Callable[[], None], name: str) -> asyncio.Future[None]:
    """Run `body` on a thread; the future ends with it and carries what it raised.

    The thread is a daemon so that one that is stuck, as in a kernel, cannot keep a dead worker's process alive.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            body()
        except BaseException as error:  # noqa: BLE001  # whatever ends the thread is for who awaits it
            loop.call_soon_threadsafe(_fail, done, error)
        else:
            loop.call_soon_threadsafe(_succeed, done)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


def ends_with(done: asyncio.Future[None], task: asyncio.Task[None]) -> None:
    """Tie a task to the future: it ends when that is done, and an error of its own is the future's."""
    task.add_done_callback(lambda ended: _fail_with(done, ended))
    done.add_done_callback(lambda _: task.cancel())


def _fail(done: asyncio.Future[None], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail_with(done: asyncio.Future[None], task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _fail(done, error)
