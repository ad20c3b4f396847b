"""Control strings are found like a plain search finds them, in time linear in the text, whatever both are."""

import functools
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pelton.pipeline.wire.chat import Message
from pelton.workers.prepare import control_strings
from pelton.workers.prepare.control_strings import ControlStrings
from pelton.workers.prepare.tokenizer import TokenizerCodec

T = TypeVar("T")

GEMMA_LIKE = (
    *(f"<unused{number}>" for number in range(6_242)),
    *(f"<loc{number:04}>" for number in range(130)),
    *("<bos>", "<eos>", "<pad>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"),
    *("<image_soft_token>", "[multimodal]", "<s>", "</s>"),
)
MIB = 1 << 20
WORST = {
    "beginnings": "<",
    "nearly": "<unused",
    "nearly, longer": "<unused624",
    "all of them": "<unused1><s>[multimodal]",
    "shortest": "<s>",
    "html": '<div class="a"><p>Hello <b>world</b></p></div>\n',
    "one word": "a",
    "no words": "\n",
}
ENCODED = MIB // 8
"""What is tokenised of each: that takes longer than all else."""
LIMIT_S = 10.0
"""The slowest takes half a second on a core of its own; a pattern of alternatives took half a minute for the first."""
LOCKED_S = 2.0
"""The longest that other threads may be kept waiting, by other processes too; 0.1 s on a machine with nothing else."""


def expected(strings: set[str], text: str) -> list[int]:
    """As a plain search has it."""
    return [at for at in range(len(text)) if any(len(string) > 1 and text.startswith(string, at) for string in strings)]


@given(
    st.sets(st.text("<ab[.*\n|", max_size=5), max_size=12),
    st.text("<ab[.*\n|x", max_size=60),
    st.integers(min_value=1, max_value=9),
)
def test_every_start_is_found(strings: set[str], text: str, slice_chars: int) -> None:
    """Overlapping ones, those that begin with another, and those that reach over the end of a slice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control_strings, "SLICE_CHARS", slice_chars)
        assert list(ControlStrings(strings).starts(text)) == expected(strings, text)


@given(st.sets(st.text("<ab", min_size=2, max_size=4), min_size=1, max_size=6), st.text("<abx", max_size=40))
def test_a_cut_leaves_no_control_string_in_any_piece(strings: set[str], text: str) -> None:
    """And the pieces are the text."""
    pieces = ControlStrings(strings).cut(text, "\ufdd0").split("\ufdd0")
    assert "".join(pieces) == text
    assert not any(string in piece for string in strings for piece in pieces)


def test_no_strings_find_nothing() -> None:
    """A tokenizer may have no control tokens, or some of one character only."""
    assert list(ControlStrings(["", "a"]).starts("aaa")) == []
    assert ControlStrings([]).cut("aaa", "|") == "aaa"


def test_the_pattern_is_small_for_thousands_of_strings() -> None:
    """It is built once a start and must not cost seconds itself."""
    began = time.thread_time()
    found = ControlStrings(GEMMA_LIKE)
    assert time.thread_time() - began < 2
    assert list(found.starts("a<unused6241><unused6242><s>")) == [1, 25]


def byte_level(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()


def one_word(tokenizer: Tokenizer) -> None:
    """As Gemma's and Llama 2's: the whole text is one word."""
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Replace("\u2581", " ")


def codec_of(model: models.Model, prepare: Callable[[Tokenizer], None]) -> tuple[TokenizerCodec, set[int]]:
    """A Gemma-like tokenizer around `model`, and the ids of its control tokens."""
    tokenizer = Tokenizer(model)
    prepare(tokenizer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in GEMMA_LIKE])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.chat_template = "{% for m in messages %}<start_of_turn>{{ m['content'] }}<end_of_turn>{% endfor %}"
    return TokenizerCodec(fast), set(fast.added_tokens_decoder)


ALPHABET = sorted({*pre_tokenizers.ByteLevel.alphabet(), "\u2581", "\n", " "})
MERGES = [("a", "a"), ("aa", "aa"), ("<", "<"), ("u", "n"), ("e", "d"), ("s", ">")]
VOCABULARY = {token: index for index, token in enumerate([*ALPHABET, *("".join(merge) for merge in MERGES)])}
KINDS: dict[str, Callable[[], tuple[TokenizerCodec, set[int]]]] = {
    "bytes": lambda: codec_of(models.BPE(vocab=VOCABULARY, merges=MERGES), byte_level),
    "one word": lambda: codec_of(models.BPE(vocab=VOCABULARY, merges=MERGES), one_word),
    "unigram": lambda: codec_of(models.Unigram([(token, -1.0) for token in VOCABULARY], unk_id=0), one_word),
}


@pytest.mark.parametrize("name", WORST)
def test_a_mebibyte_of_anything_is_searched_at_once(name: str) -> None:
    """However much it looks like control strings; other threads go on meanwhile."""
    codec, _ = KINDS["bytes"]()
    message = Message(role="user", content=repeated(name, MIB))
    began = time.perf_counter()
    _, locked_s = beside_a_clock(lambda: codec.render([message]))
    assert time.perf_counter() - began < LIMIT_S
    assert locked_s < LOCKED_S


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_texts_are_tokenised_in_bounded_time(kind: str) -> None:
    """Without keeping other threads from running, and into no control token but the template's two."""
    codec, control = KINDS[kind]()
    for name in WORST:
        text = repeated(name, ENCODED)
        began = time.perf_counter()
        tokens, locked_s = beside_a_clock(functools.partial(prompt, codec, text))
        taken_s = time.perf_counter() - began
        assert sum(token in control for token in tokens) == 2, name
        assert taken_s < LIMIT_S, (name, taken_s)
        assert locked_s < LOCKED_S, (name, locked_s)


def repeated(name: str, size: int) -> str:
    unit = WORST[name]
    return (unit * (size // len(unit) + 1))[:size]


def prompt(codec: TokenizerCodec, content: str) -> list[int]:
    [tokens] = codec.encode([codec.render([Message(role="user", content=content)])])
    return tokens


def beside_a_clock(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, done in a thread, and the longest that this one could not run meanwhile."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    locked, last = 0.0, time.perf_counter()
    while thread.is_alive():
        time.sleep(0.001)
        locked, last = max(locked, time.perf_counter() - last), time.perf_counter()
    return results[0], locked


def test_strings_are_taken_literally() -> None:
    """A control token may hold what means something in a regular expression."""
    strings = {"[gMASK]", "<|im.end|>", "(a|b)", "\\d+"}
    assert list(ControlStrings(strings).starts("<|imxend|> [gMASK] 17 \\d+")) == [11, 22]
