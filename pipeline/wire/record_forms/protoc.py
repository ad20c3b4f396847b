"""The text of .proto files, compiled by Google's own compiler in a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pelton.pipeline.outside_text import shown
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema, UnusableSchema

if TYPE_CHECKING:  # of the extra pelton[schemas]
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

COMPILE_S = 30.0
_MAIN = "pelton_record.proto"


def compiled_files(registered: RegisteredSchema) -> "list[FileDescriptorProto]":
    """The files of a schema, each after those that it imports, its own last. Raises `UnusableSchema`.

    Google's well-known types (`google/protobuf/...`) need not be among the references.
    """
    with tempfile.TemporaryDirectory(prefix="pelton-proto-") as folder:
        root = Path(folder)
        _written(root / _MAIN, registered.text)
        for reference in registered.references:
            _written(root / _checked(reference.name), reference.text)
        return _compiled(root)


def _compiled(root: Path) -> "list[FileDescriptorProto]":
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415  # of the extra pelton[schemas]
    from grpc_tools import protoc  # noqa: PLC0415  # likewise

    target = root / "pelton_record.descriptors"
    well_known = Path(protoc.__file__).with_name("_proto")
    command = [sys.executable, "-P", "-m", "grpc_tools.protoc", f"-I{root}", f"-I{well_known}", "--include_imports"]
    try:
        # In a process of its own: what is wrong with a file is written to the standard error of the process.
        done = subprocess.run(  # noqa: S603  # our own arguments; the text is in files
            [*command, f"--descriptor_set_out={target}", _MAIN],
            capture_output=True, check=False, timeout=COMPILE_S, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnusableSchema(f"its .proto file is not compiled within {COMPILE_S:g} s") from None
    if done.returncode:
        raise UnusableSchema(f"its .proto file cannot be compiled: {shown(done.stderr.strip())}")
    return list(FileDescriptorSet.FromString(target.read_bytes()).file)


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name == _MAIN:
        raise UnusableSchema(f"its reference {name!r} is no name of a file beside it")
    return path


def _written(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:
        raise UnusableSchema(f"its reference {path.name!r} cannot be written to a file: {error}") from None
