"""Stop strings are found in the token where they end, however the text is cut into tokens."""

from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.stop_strings import StopStrings

texts = st.text(alphabet="ab€é日 ", max_size=12)


def decode_bytes(tokens: list[int]) -> str:
    """One token for each byte; 256 and above have no text, as skipped special tokens."""
    return bytes(token for token in tokens if token < 256).decode(errors="replace")


def tokens_until_stop(tokens: list[int], stop: tuple[str, ...]) -> int | None:
    watcher = StopStrings(stop, decode_bytes)
    return next((index + 1 for index, token in enumerate(tokens) if watcher.push(token)), None)


@given(before=texts, stop=st.text(alphabet="ab€é日 ", min_size=1, max_size=5), after=texts)
def test_a_stop_string_is_found_with_its_last_byte(before: str, stop: str, after: str) -> None:
    """The first token after which the whole text holds the stop string is the one that stops."""
    data = (before + stop + after).encode()
    complete = next(n for n in range(len(data) + 1) if stop in data[:n].decode(errors="replace"))
    assert tokens_until_stop(list(data), (stop,)) == complete


@given(text=texts, stop=st.text(alphabet="xy€é", min_size=1, max_size=5))
def test_nothing_else_stops(text: str, stop: str) -> None:
    """Text without the stop string goes on to its end."""
    if stop not in text:
        assert tokens_until_stop(list(text.encode()), (stop,)) is None


def test_any_of_several_stops() -> None:
    """The earliest of the stop strings counts."""
    assert tokens_until_stop(list(b"one two three"), ("three", "two")) == len("one two")


def test_tokens_without_text_do_not_break_a_match() -> None:
    """A skipped special token in the midst of a stop string does not hide it."""
    assert tokens_until_stop([*b"E", 300, *b"ND"], ("END",)) == 4


def test_bytes_that_never_become_characters_are_passed_over() -> None:
    """Broken UTF-8 does not hold the search up, nor grow what is decoded."""
    longest = 0

    def decode(tokens: list[int]) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return decode_bytes(tokens)

    watcher = StopStrings(("END",), decode)
    found = [watcher.push(token) for token in [*b"\xff" * 1_000, *b"END"]]
    assert found.index(True) == 1_002
    assert longest <= 8
