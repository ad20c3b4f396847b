"""Inputs that are no plain file of UTF-8: read as if they were one, or named in one sentence."""

import gzip
import io
import os
import sys
import threading
from pathlib import Path

import orjson
import pytest

from pelton.producers.batch.file import read_requests, survey
from pelton.producers.batch.input_file import STANDARD_INPUT, readable_input
from pelton.producers.batch.retry_failed import without_answer
from pelton.producers.errors import BatchError
from pelton.producers.http.batches.checking import check_input

LINES = [
    {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
    for name in ("a", "b ä €", "c 👍")
]
TEXT = "".join(orjson.dumps(line).decode() + "\r\n" for line in LINES)
IDS = [line["custom_id"] for line in LINES]


def ids(path: Path) -> list[str | None]:
    return [line.custom_id for line in read_requests(path)]


def test_a_plain_file_is_read_where_it_lies(tmp_path: Path) -> None:
    """No copy of what may be many gigabytes."""
    plain = tmp_path / "in.jsonl"
    plain.write_text(TEXT)
    with readable_input(plain) as found:
        assert found == plain


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8-sig"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_other_encodings_are_read(encoding: str, packed: bool, tmp_path: Path) -> None:
    """With and without a byte order mark, packed or not: the same lines, and the same run as of the UTF-8 file."""
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.write_text(TEXT, newline="")
    content = TEXT.encode(encoding)
    other.write_bytes(gzip.compress(content) if packed else content)
    with readable_input(other) as found:
        assert ids(found) == IDS
        if encoding != "utf-8-sig":  # whose mark stays, as it does in a file that is not copied
            assert survey(found) == survey(plain)
    assert encoding == "utf-8-sig" or not found.exists()


def test_a_stream_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process substitution and standard input can be read once: the copy can be read again, and goes when done."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(TEXT))
    writer.start()
    with readable_input(pipe) as found:
        assert ids(found) == ids(found) == IDS
    writer.join()
    assert not found.exists()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    with readable_input(STANDARD_INPUT) as found:
        assert ids(found) == IDS


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\x28\xb5\x2f\xfdrest", "is compressed with zstd: unpack it first"),
        (b"PK\x03\x04rest", "is compressed with zip: unpack it first"),
        (gzip.compress(gzip.compress(b"{}")), "is compressed with gzip inside gzip: unpack it first"),
        (gzip.compress(TEXT.encode())[:-12], "is a gzip file that is cut or damaged"),
        (TEXT.encode("utf-16")[:-1], "begins as UTF-16 and is not"),
    ],
    # Named by hand: a gzip stream holds the time, and two processes that run the suite must agree on the names.
    ids=["zstd", "zip", "gzip-twice", "gzip-cut", "utf-16-cut"],
)
def test_what_cannot_be_read_is_named(content: bytes, named: str, tmp_path: Path) -> None:
    """One sentence with the path, not one error for each line."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(content)
    with pytest.raises(BatchError, match=named) as raised, readable_input(source):
        pass
    assert str(source) in str(raised.value)


def test_who_cannot_copy_names_the_form(tmp_path: Path) -> None:
    """The survey of a run, and the check of an uploaded file."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(BatchError, match="is UTF-16, where a file of UTF-8 lines is needed"):
        survey(source)
    (fault,) = check_input(source, max_requests=10).faults
    assert (fault.code, fault.message) == ("invalid_file", "The input file is UTF-16: upload a file of UTF-8 lines.")


def test_only_what_has_no_answer_is_kept(tmp_path: Path) -> None:
    """Of an earlier output the answered lines go; failed, refused and missing ones stay, with their numbers."""
    source, earlier = tmp_path / "in.jsonl", tmp_path / "earlier.jsonl"
    source.write_text(TEXT)
    answered = {"id": "1", "custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": None}
    failed = {"id": "2", "custom_id": "b ä €", "response": {"status_code": 504, "body": {}}, "error": None}
    earlier.write_bytes(orjson.dumps(answered) + b"\n" + orjson.dumps(failed) + b"\n")
    with without_answer(source, earlier) as found:
        assert [(line.number, line.custom_id) for line in read_requests(found)] == [(2, IDS[1]), (3, IDS[2])]
    with without_answer(source, None) as found:
        assert found == source
    earlier.write_text("[]\n")
    with pytest.raises(BatchError, match="is no output of a batch: line 1"), without_answer(source, earlier):
        pass
