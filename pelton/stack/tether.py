"""Runs a command that must not outlive the process that asked for it, however that process ends.

Started by `process.ChildProcess` with its file name, so that only the standard library is loaded. It prints the
command's process id on its standard output and gives the command its standard error as both outputs. Its standard
input is the tether: nothing is ever written there, and the end of file means that the parent is gone.

- SIGTERM: ends the command, then exits.
- The parent is gone: ends the command, deletes the folder named by `--remove`, then exits.
- The command exits: exits with its status (128 + the signal's number when a signal ended it).
"""

import argparse
import contextlib
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import threading

# A forked copy of the parent can hold the other end of the standard input open, so the parent's id is looked at too.
_LOOK_S = 1.0

_TOLD, _ORPHANED, _ENDED = "asked to stop", "the parent is gone", "the command has ended"


def main() -> int:
    options = _options()
    parent = os.getppid()
    # Everything that can happen goes through here. A signal handler that raised would leave gaps to die in.
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: events.put(_TOLD))
    child = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603  # as asked
    waiter = threading.Thread(target=_wait, args=(child, events), daemon=True)
    waiter.start()
    threading.Thread(target=_watch, args=(parent, events), daemon=True).start()
    with contextlib.suppress(OSError):  # nobody is left to read it
        os.write(sys.stdout.fileno(), b"%d\n" % child.pid)
    event = events.get()
    if event != _ENDED:
        _end(child, waiter, options.grace)
    if event == _ORPHANED and options.remove:
        shutil.rmtree(options.remove, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grace", type=float, required=True, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--remove", help="a folder to delete if the parent disappears")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _wait(child: subprocess.Popen[bytes], events: queue.SimpleQueue[str]) -> None:
    child.wait()
    events.put(_ENDED)


def _watch(parent: int, events: queue.SimpleQueue[str]) -> None:
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], _LOOK_S)[0]:
            break
    events.put(_ORPHANED)


def _end(child: subprocess.Popen[bytes], waiter: threading.Thread, grace_s: float) -> None:
    child.terminate()
    child.send_signal(signal.SIGCONT)  # a frozen process can obey only once it is thawed
    waiter.join(grace_s)
    if waiter.is_alive():
        child.kill()
        waiter.join()


if __name__ == "__main__":
    sys.exit(main())
