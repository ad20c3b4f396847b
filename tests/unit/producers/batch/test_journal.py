"""Journal and output: whatever a crash leaves of them is read as what was written before it."""

import resource

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.batch.append_only_file import AppendOnlyFile
from pelton.producers.batch.file import InputSummary, LineFault, refused_line
from pelton.producers.batch.journal import Header, Journal
from pelton.producers.batch.results import LineState, Results, RunNames
from pelton.producers.errors import BatchError
from pelton.producers.kafka.request_sender import Acknowledged

LINES = 50
CONTENT = InputSummary(sha256="5" * 64, size=1_000, lines=LINES, requests=LINES)
HEADER = Header(
    run_id="0123456789abcdef",
    input_sha256=CONTENT.sha256,
    cluster_id="k",
    request_topic="requests",
    request_offsets={0: 100, 1: 200},
    reply_topic="replies",
    reply_partition=1,
    reply_offset=70,
)
NAMES = RunNames(HEADER.run_id)

acknowledgements = st.tuples(st.integers(1, LINES), st.integers(0, 3), st.integers(0, 10_000))
checkpoints = st.tuples(st.integers(0, LINES), st.integers(0, 10_000))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def write(out, entries):
    """Write a journal of `entries`: threes are acknowledgements, twos checkpoints."""
    with Journal(out) as journal:
        journal.begin(HEADER)
        for entry in entries:
            if len(entry) == 3:
                journal.acknowledged(entry[0], Acknowledged(*entry[1:]))
            else:
                journal.checkpoint(*entry)
        return journal.path


def expected(entries):
    sent, offsets = set(), dict(HEADER.request_offsets)
    for line, partition, offset in (entry for entry in entries if len(entry) == 3):
        sent.add(line)
        offsets[partition] = max(offset + 1, offsets.get(partition, 0))
    return sent, offsets, [entry for entry in entries if len(entry) == 2]


def load(out):
    with Journal(out) as journal:
        record = journal.load(CONTENT)
    if record is None:
        return None
    sent = {line for line, state in enumerate(record.sent) if state == LineState.SENT}
    assert record.header == HEADER
    return sent, record.next_offsets, record.checkpoints


@given(entries=st.lists(acknowledgements | checkpoints, max_size=12), data=st.data())
def test_a_journal_cut_anywhere(entries, data, tmp_path_factory):
    """It tells of exactly the entries whose end was written, and goes on from there."""
    out = tmp_path_factory.mktemp("journal") / "out.jsonl"
    path = write(out, entries)
    whole = path.read_bytes()
    kept = whole[: data.draw(st.integers(0, len(whole)), label="cut at")]
    path.write_bytes(kept)
    complete = kept.count(b"\n")
    if complete == 0:
        assert load(out) is None
        assert path.read_bytes() == b""
        return
    assert load(out) == expected(entries[: complete - 1])
    with Journal(out) as journal:
        journal.acknowledged(1, Acknowledged(0, 20_000))
    assert load(out) == expected([*entries[: complete - 1], (1, 0, 20_000)])


@given(answers=st.lists(st.booleans(), min_size=1, max_size=LINES), data=st.data())
def test_an_output_cut_anywhere(answers, data, tmp_path_factory):
    """The lines that are whole are done and counted, the others are not."""
    out = tmp_path_factory.mktemp("results") / "out.jsonl"
    states = bytearray(LINES + 1)
    with Results(out, NAMES, states) as results:
        for line, good in enumerate(answers, start=1):
            response = {"status_code": 200 if good else 500}
            entry = {"id": NAMES.result_id(line), "custom_id": str(line), "response": response, "error": None}
            results.add([(orjson.dumps(entry) + b"\n", good)])
        assert (results.answered, results.failed) == (sum(answers), len(answers) - sum(answers))
    whole = out.read_bytes()
    kept = whole[: data.draw(st.integers(0, len(whole)), label="cut at")]
    out.write_bytes(kept)
    complete = kept.count(b"\n")
    with Results(out, NAMES, states) as results:
        assert (results.answered, results.count) == (sum(answers[:complete]), complete)
    assert [line for line in range(LINES + 1) if states[line] == LineState.DONE] == list(range(1, complete + 1))
    assert out.read_bytes() == b"".join(whole.splitlines(keepends=True)[:complete])


def test_where_to_read_replies_from(out):
    """From the last checkpoint that the output still covers; one that was outdated by a later run is not believed."""
    write(out, [(0, 70), (5, 150), (9, 290), (2, 100)])
    with Journal(out) as journal:
        record = journal.load(CONTENT)
    assert [record.replies_from(results) for results in (0, 1, 2, 9, 50)] == [70, 70, 100, 100, 100]
    record.checkpoints.clear()
    assert record.replies_from(9) == HEADER.reply_offset


def test_a_journal_of_another_input(out):
    """It is refused by the digest, before anything else in it is looked at."""
    write(out, [(LINES, 0, 0)])
    other = InputSummary(sha256="6" * 64, size=1, lines=1, requests=1)
    with Journal(out) as journal, pytest.raises(BatchError, match="belongs to another input"):
        journal.load(other)


@pytest.mark.parametrize(
    "content",
    [
        b"no json\n",
        b"[]\n",
        b'{"pelton_journal": 2}\n',
        b'{"something": "else"}\n',
        HEADER.model_dump_json().encode() + b'\n{"line": 51, "partition": 0, "offset": 0}\n',
        HEADER.model_dump_json().encode() + b'\n{"line": 5, "partition": 0}\n',
        HEADER.model_dump_json().encode() + b'\n{"results": 5}\n',
        HEADER.model_dump_json().encode() + b"\n\n",
    ],
)
def test_a_file_that_is_no_journal_of_ours(content, out):
    """Another program's file, a later version's, or a damaged one: said, not guessed at."""
    out.with_name("out.jsonl.journal").write_bytes(content)
    with pytest.raises(BatchError, match="journal"), Journal(out) as journal:
        journal.load(CONTENT)


def test_an_output_of_another_run(out):
    """Results that are not of the journal's run are not touched."""
    foreign = refused_line(RunNames("f" * 16).result_id(1), "a", LineFault("x", "y"))
    out.write_bytes(foreign)
    with pytest.raises(BatchError, match="not of the run"):
        Results(out, NAMES, bytearray(LINES + 1))
    assert out.read_bytes() == foreign


def test_one_process_at_a_time(out):
    """A second opening is refused while the first lasts, and possible after."""
    with Journal(out), pytest.raises(BatchError, match="Another process"):
        Journal(out)
    with Journal(out):
        pass


def test_a_file_that_cannot_be_opened(tmp_path):
    """A folder that does not exist: said with the path and the reason."""
    with pytest.raises(BatchError, match=r"nowhere.*No such file"):
        Journal(tmp_path / "nowhere" / "out.jsonl")


def test_a_torn_line_longer_than_one_look(tmp_path):
    """The end of the last whole line is found however far back it lies."""
    path = tmp_path / "lines"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    with AppendOnlyFile(path, begins=b'{"a"') as file:
        assert list(file.entries()) == [{"a": 1}]


def test_a_write_that_fails_half_way(tmp_path):
    """It is an error that names the file; what was written of the line is gone when the file is opened again."""
    path = tmp_path / "lines"
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    with AppendOnlyFile(path, begins=b'{"a"') as file:
        file.append([b'{"a": 1}\n'])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, usual[1]))
        try:
            with pytest.raises(BatchError, match=f"{path} cannot be written: File too large"):
                file.append([b"x" * 200 + b"\n"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert path.stat().st_size == 100
    with AppendOnlyFile(path, begins=b'{"a"') as file:
        assert list(file.entries()) == [{"a": 1}]


@pytest.mark.parametrize(
    "content",
    [b"my own notes, without a final newline", b"{}", b'{"a": 1}\n{"b', b"\n", b"\x00" * 100_000, b'{"pelton'],
)
def test_a_file_of_somebody_elses_stays_as_it_is(tmp_path, content):
    """It only happens to have the journal's name. What a crash of ours left of a first line is ours."""
    path = tmp_path / "out.jsonl.journal"
    path.write_bytes(content)
    if content == b'{"pelton':
        Journal(tmp_path / "out.jsonl").close()
        assert path.read_bytes() == b""
        return
    with pytest.raises(BatchError, match="no file of a batch run"):
        Journal(tmp_path / "out.jsonl")
    assert path.read_bytes() == content


def test_what_a_crash_left_of_the_first_line_is_ours(tmp_path):
    """It is cut off like any torn line."""
    path = tmp_path / "out.jsonl.journal"
    path.write_bytes(b'{"pelton')
    Journal(tmp_path / "out.jsonl").close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("correlation_id", "line"),
    [
        (NAMES.correlation_id(7), 7),
        (b"0123456789abcdef-", None),
        (b"0123456789abcdef-x7", None),
        (b"0123456789abcdef-\xb2", None),
        (b"0123456789abcde-7", None),
        (b"7", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_whose_correlation_id(correlation_id, line):
    """Only this run's own ids name a line, whatever others put into theirs."""
    assert NAMES.line_of(correlation_id) == line


@pytest.mark.parametrize("result_id", [None, 7, "", "batch_req_", "batch_req_other-1", "0123456789abcdef-1"])
def test_whose_result_id(result_id):
    """Only this run's own result ids name a line."""
    assert NAMES.line_of_result(result_id) is None
    assert NAMES.line_of_result(NAMES.result_id(12)) == 12


def test_a_run_that_never_began_leaves_no_journal(out):
    """One that began does, and so does somebody else's empty file."""
    with Journal(out) as journal:
        path = journal.path
        assert path.exists()
    assert not path.exists()
    path.touch()
    Journal(out).close()
    assert path.exists()
    path.unlink()
    write(out, [])
    assert path.exists()


def test_a_journal_that_was_removed_while_it_was_opened(out, monkeypatch):
    """What is written into a file without a name is lost: the second process is refused, as one that came earlier."""
    first = Journal(out)
    lock = AppendOnlyFile._lock

    def lock_late(journal):
        first.close()
        lock(journal)

    monkeypatch.setattr(AppendOnlyFile, "_lock", lock_late)
    with pytest.raises(BatchError, match="Another process"):
        Journal(out)
