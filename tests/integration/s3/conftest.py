"""An S3 that speaks over HTTP, in a process of its own; `make s3` installs it."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from pelton.stack.ports import free_port
from tests.integration.http.conftest import keys_file, server

__all__ = ["keys_file", "server"]
START_S = 60


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a folder in a bucket."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**credentials, "AWS_ENDPOINT_URL": url}.items():
            patch.setitem(os.environ, name, value)
        try:
            _await(f"{url}/moto-api/", process)
            yield "s3://pelton-files/store"
        finally:
            process.terminate()
            process.wait(10)


def _await(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  # our own address
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("moto's server does not start: run the tests by `make s3`")
