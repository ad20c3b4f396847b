"""A short text of a grammar over bytes, chosen by a seed: what the simulated engine answers with."""

import random

from pelton.workers.engine.grammars.matching import Grammar, GrammarState
from pelton.workers.engine.grammars.vocabulary import BYTES_END

_ENDING = 0.5  # of the chance to end wherever the grammar allows it
_LETTERS, _DIGITS, _SPACES, _MARKS = (
    b"abcdefghijklmnopqrstuvwxyz", b"0123456789", b" \n\t\r", b"[]{}(),.:;<>@_+=/'|#&%$!?*~^`-",
)  # fmt: skip
_FEW = 4
_RARE = 0.002


def random_text(grammar: Grammar, seed: int, max_bytes: int) -> tuple[bytes, bool]:
    """A text and whether it is complete; `grammar` must be compiled for the vocabulary of bytes."""
    state, dice, said = grammar.start(), random.Random(seed), bytearray()  # noqa: S311  # nothing secret
    while len(said) < max_bytes and not state.ended and state.error is None:
        admitted = _admitted(state)
        may_end = BYTES_END in admitted
        if may_end and (len(admitted) == 1 or dice.random() < _ENDING):
            return bytes(said), True
        choices = [token for token in admitted if token != BYTES_END]
        if not choices:
            break
        # The longer a text, the likelier what closes it: strings and lists shall end.
        [token] = dice.choices(choices, _weights(choices, closing=0.3 + len(said) / 40))
        said.append(token)
        state.advance(token)
    return bytes(said), state.ended


def _admitted(state: GrammarState) -> list[int]:
    # Without numpy, which takes a tenth of the time that a simulated worker needs to start.
    bits = int.from_bytes(state.matcher.compute_bitmask(), "little")
    return [token for token in range(bits.bit_length()) if bits >> token & 1]


def _weights(tokens: list[int], closing: float) -> list[float]:
    """Each kind of character gets its share, so that few of one kind count as much as many of another."""
    kinds = [_kind(token) for token in tokens]
    few_marks, few_letters = kinds.count("mark") <= _FEW, kinds.count("letter") <= _FEW
    shares = {
        "quote": closing,
        "mark": closing if few_marks else _RARE,
        "letter": _RARE if few_letters and "digit" in kinds else 1.0,
        "digit": 0.5,
        "space": _RARE,
        "other": _RARE,
    }
    return [shares[kind] / kinds.count(kind) for kind in kinds]


def _kind(token: int) -> str:
    for kind, characters in (("letter", _LETTERS), ("digit", _DIGITS), ("space", _SPACES), ("mark", _MARKS)):
        if token in characters:
            return kind
    return "quote" if token == ord('"') else "other"
