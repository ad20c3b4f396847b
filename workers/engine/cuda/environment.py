"""What the machine must have for kernels, and where they are kept; looked at before the first one is compiled."""

import gc
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from pelton.workers.engine.errors import ModelLoadError

_COMPILE_S = 60

# Between two looks of Python whether another thread wants to run. A thread that waited for the device gets its turn
# after this time at the latest; Python's own 5 ms are as long as a step.
_SWITCH_S = 1e-3


def check_compiler() -> None:
    """Raises ModelLoadError where no C program can be compiled against Python: Triton does so at its first launch.

    It looks for a compiler as Triton does: `CC`, then gcc, then clang.
    """
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise ModelLoadError(
            "model.device: running on a GPU needs a C compiler, and neither CC, gcc nor clang is there; install gcc "
            "(on Debian and Ubuntu: apt-get install gcc libc6-dev), or set model.device to cpu"
        )
    scheme = sysconfig.get_default_scheme()
    include = sysconfig.get_paths(scheme="posix_prefix" if scheme == "posix_local" else scheme)["include"]
    command = [compiler, "-fsyntax-only", "-x", "c", "-I", include, "-"]
    try:
        done = subprocess.run(  # noqa: S603 (the compiler that Triton will run)
            command, input="#include <Python.h>\n", capture_output=True, text=True, timeout=_COMPILE_S, check=False
        )
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        raise ModelLoadError(
            f"model.device: running on a GPU needs a C compiler and Python's headers, and {compiler} could not compile "
            f"a line with them ({problem.splitlines()[0]}); install gcc, libc6-dev and python3-dev, or set "
            "model.device to cpu"
        )


def keep_kernels(folder: Path | None) -> None:
    """Have all that is compiled from here on kept in `folder`; a choice of the user's own stays."""
    if folder is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def settle_process() -> None:
    """Make what was loaded so far no affair of the garbage collector's, and let threads take turns soon.

    A full collection looks at every object of the libraries and of the model: some 180 ms in which no step is launched.
    For a process that serves one model, once it is warm.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))
