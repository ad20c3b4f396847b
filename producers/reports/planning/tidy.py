"""What a model leaves behind when it is cut off or runs in circles, taken away before anybody judges the text."""

import re

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MIN_REPEATED_CHARS = 20


def tidy(text: str, *, cut_off: bool) -> str:
    """Without sentences and lines that repeat an earlier one word for word and, of a text that was cut off, without the
    unfinished end, unless nothing else is there.
    """
    text = text.strip()
    if cut_off:
        ends = [found.end() for found in re.finditer(r"[.!?](?=\s)|\n", text)]
        text = text[: ends[-1]].strip() if ends else text
    kept: list[str] = []
    seen: set[str] = set()
    at = 0
    for gap in [*_SENTENCE.finditer(text), None]:
        sentence, between = (text[at : gap.start()], gap.group()) if gap else (text[at:], "")
        at = gap.end() if gap else at
        key = " ".join(re.sub(r"^[-*•\d.\s]+", "", sentence).lower().split())
        if key in seen and len(key) >= _MIN_REPEATED_CHARS:
            continue
        seen.add(key)
        kept += [sentence, between]
    return "".join(kept).strip()
