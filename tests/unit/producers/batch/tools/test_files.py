"""Batch files checked, split and compared: every line is accounted for."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pelton.cli import app
from pelton.pipeline.wire.all_faults import MAX_FAULTS, all_faults
from pelton.producers.batch.tools.check import Fault, check
from pelton.producers.batch.tools.diff import diff
from pelton.producers.batch.tools.split import split
from pelton.producers.errors import BatchError

BODY: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def line(custom_id: str, **body: Any) -> bytes:
    asked = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": {**BODY, **body}}
    return orjson.dumps(asked) + b"\n"


def faults_of(path: Path, **options: Any) -> list[Fault]:
    found: list[Fault] = []
    check(path, found.append, max_request_bytes=10_000, **options)
    return found


def test_every_fault_of_every_line_is_named(tmp_path: Path) -> None:
    """By line and field; the sound lines are counted."""
    file = tmp_path / "in.jsonl"
    bad = {"temperature": "hot", "colour": "blue", "stream": True, "messages": [BODY["messages"][0], {"role": "user"}]}
    file.write_bytes(line("a") + line("b", **bad) + b"{nonsense\n\n" + line("a") + line("c", max_tokens=None, n=2))
    found: list[Fault] = []
    checked = check(file, found.append, max_request_bytes=10_000)
    assert {(fault.line, fault.field, fault.code) for fault in found} == {
        (2, "body.temperature", "invalid_value"),
        (2, "body.colour", "unknown_parameter"),
        (2, "body.stream", "unsupported_parameter"),
        (2, "body.messages[1].content", "missing_required_parameter"),
        (3, "", "invalid_json_line"),
        (5, "", "duplicate_custom_id"),
    }
    assert (checked.requests, checked.faulty, checked.faults) == (5, 3, 6)
    assert (checked.answer_tokens, checked.open_ended) == (5, 2)
    assert checked.prompt_tokens > 20


def test_another_model_is_a_fault_where_one_is_named(tmp_path: Path) -> None:
    """`default` suits every worker."""
    file = tmp_path / "in.jsonl"
    file.write_bytes(line("a") + line("b", model="ours") + line("c", model="theirs"))
    assert faults_of(file) == []
    assert [(fault.line, fault.field) for fault in faults_of(file, model="ours")] == [(3, "body.model")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
FIELDS = ["model", "messages", "temperature", "n", "stop", "tools", "stream", "response_format", "odd", "max_tokens"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_looking_for_faults_ends(body: Any) -> None:
    """Whatever the body is: with none for a sound one, and no fault twice."""
    faults = all_faults(orjson.dumps(body), max_bytes=10_000)
    assert len(faults) <= MAX_FAULTS
    told = [(fault.param, fault.message) for fault in faults]
    assert len(set(told)) == len(told)


@given(
    st.lists(
        st.binary(min_size=1, max_size=30).filter(lambda raw: b"\n" not in raw and not raw.isspace()), max_size=40
    ),
    st.integers(1, 9),
    st.integers(31, 120),
)
def test_parts_joined_are_the_file(tmp_path_factory: Any, lines: list[bytes], most: int, size: int) -> None:
    """No part is above its bounds, none is empty, and no line is cut, lost or doubled."""
    folder = tmp_path_factory.mktemp("split")
    source = folder / "in.jsonl"
    kept = [raw.rstrip(b"\r").removeprefix(b"\xef\xbb\xbf") for raw in lines]
    kept = [raw for raw in kept if raw and not raw.isspace()]
    source.write_bytes(b"\n".join(kept))
    parts = split(source, folder, lines=most, size=size)
    assert b"".join(part.path.read_bytes() for part in parts) == b"".join(raw + b"\n" for raw in kept)
    assert all(1 <= part.lines <= most and part.size <= size for part in parts)
    assert {path.name for path in folder.iterdir()} == {"in.jsonl", *(part.path.name for part in parts)}


def test_a_part_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """And nothing unfinished is left."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(line("a") + line("b") + line("c"))
    (tmp_path / "in-0002.jsonl").write_text("mine")
    with pytest.raises(BatchError, match=r"in-0002\.jsonl exists"):
        split(source, tmp_path, lines=1)
    assert (tmp_path / "in-0002.jsonl").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_what_has_no_answer_is_named(tmp_path: Path) -> None:
    """Over several outputs: missing, failed, doubled, and what nobody asked."""
    source, one, other = tmp_path / "in", tmp_path / "one", tmp_path / "other"
    source.write_bytes(b"".join(map(line, "abcd")))
    answer = {"response": {"status_code": 200, "body": {}}, "error": None}
    failed = {"response": {"status_code": 500, "body": {}}, "error": None}
    one.write_bytes(b"".join(orjson.dumps({"custom_id": i, **o}) + b"\n" for i, o in [("a", answer), ("b", failed)]))
    other.write_bytes(
        b"".join(orjson.dumps({"custom_id": i, **o}) + b"\n" for i, o in [("d", failed), ("d", answer), ("z", answer)])
        + b'{"custom_id": "torn'
    )
    told: list[tuple[int, str | None, str]] = []
    found = diff(source, [one, other], lambda *each: told.append(each))
    assert told == [(2, "b", "failed"), (3, "c", "missing")]
    assert (found.requests, found.answered, found.failed, found.missing) == (4, 2, 1, 1)
    assert (found.doubled, found.foreign, found.complete) == (1, 1, False)


def test_the_commands_tell_by_their_exit_codes(tmp_path: Path) -> None:
    """0 where nothing is wrong, 1 where something is, 2 where a file cannot be read."""
    good, bad, out = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "out.jsonl"
    good.write_bytes(line("a"))
    bad.write_bytes(line("a", n=0))
    out.write_bytes(orjson.dumps({"custom_id": "a", "response": {"status_code": 200}, "error": None}) + b"\n")
    run = CliRunner().invoke
    for arguments, code in (
        (["check", str(good)], 0),
        (["check", str(bad), "--json"], 1),
        (["check", str(tmp_path / "none")], 2),
        (["split", str(good), "--to", str(tmp_path)], 0),
        (["diff", str(good), str(out)], 0),
        (["diff", str(good), str(good)], 1),
    ):
        assert run(app, ["files", *arguments]).exit_code == code, arguments
    result = run(app, ["files", "check", str(bad), "--json"])
    assert orjson.loads(result.stdout.splitlines()[0])["field"] == "body.n"
