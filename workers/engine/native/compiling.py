"""The kernels' library: compiled by the machine's C compiler for its processor, once, and loaded."""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent / "sources"
# Sums may be reordered only where a kernel says so, and NaN stays NaN.
_FLAGS = (
    "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-fno-math-errno", "-fno-trapping-math",
    "-Wno-psabi", "-shared", "-fPIC",
)  # fmt: skip
_COMPILE_S = 120

_kept_in: Path | None = None


class CannotCompileError(RuntimeError):
    """Why there are no kernels here."""


def keep_library_in(folder: Path) -> None:
    """Where it is looked for and kept from here on; before that, among the temporary files of this user."""
    global _kept_in  # noqa: PLW0603 (a process has one)
    _kept_in = folder


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None where they cannot be had; the log says why, once."""
    started_with = torch.get_num_threads()
    try:
        found = ctypes.CDLL(str(_compiled()))
    except (CannotCompileError, OSError) as error:
        log.info("Steps are computed by PyTorch's own operations, which takes longer: %s.", error)
        return None
    try:
        # A library with threads of its own would wait for cores on which PyTorch's threads spin.
        torch.set_num_threads(started_with + 1)
        shared = found.threads() == started_with + 1
    finally:
        torch.set_num_threads(started_with)
    if not shared:
        log.info("Steps are computed by PyTorch's own operations: the C compiler has another OpenMP than PyTorch.")
        return None
    return found


def _compiled() -> Path:
    """The library's file. Raises CannotCompileError, OSError."""
    if sys.platform != "linux" or not torch.cpu.get_capabilities().get("avx2"):
        raise CannotCompileError("the C kernels are for Linux on x86 processors with AVX2")
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        raise CannotCompileError("there is no C compiler (on Debian and Ubuntu: apt-get install gcc libc6-dev)")
    sources = sorted(_SOURCES.iterdir())
    made_of = (compiler, *_FLAGS, str(sorted(torch.cpu.get_capabilities().items())), *map(Path.read_text, sources))
    name = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    target = _own_folder() / f"{name}.so"
    if not target.exists():
        _compile(compiler, [str(source) for source in sources if source.suffix == ".c"], target)
    return target


def _compile(compiler: str, sources: list[str], target: Path) -> None:
    """Raises CannotCompileError, OSError."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [compiler, *_FLAGS, *sources, "-o", str(made), "-lm"]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=True)  # noqa: S603 (the machine's own)
        except subprocess.CalledProcessError as error:
            first = (error.stderr.strip() or f"exit status {error.returncode}").splitlines()[0]
            raise CannotCompileError(f"{compiler} could not compile the C kernels ({first})") from error
        except subprocess.TimeoutExpired as error:
            raise CannotCompileError(f"{compiler} took more than {_COMPILE_S} s for the C kernels") from error
        made.replace(target)  # at once: another process may load it meanwhile


def _own_folder() -> Path:
    """The folder, which nobody else can write to. Raises CannotCompileError, OSError."""
    folder = _kept_in or Path(tempfile.gettempdir()) / f"pelton-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=_kept_in is not None, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise CannotCompileError(f"{folder} belongs to somebody else, or others can write to it; remove it")
    return folder
