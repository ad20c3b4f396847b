"""True sentences of TAT-QA, and wrong ones: one digit, the scale, the sign, a period or the unit altered."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DIGIT, SCALE, SIGN, PERIOD, UNIT = "digit", "scale", "sign", "period", "unit"
KINDS = (DIGIT, SCALE, SIGN, PERIOD, UNIT)
_ANSWER = re.compile(r"[-–−(]?\s*[$€£¥]?\s*[-(]?[\d,]*\.?\d+\)?\s*%?\)?( ?(million|billion|thousand))?")  # noqa: RUF001  # dashes as filings have them
# Of other periods the answer may well be the same.
_SAME_ELSEWHERE = frozenset({"count of things", "count of periods"})
_YEAR = re.compile(r"(?<![\d,.$])((?:19|20)\d\d)(?!\d|[,.]\d)")
_SCALE = re.compile(r"thousand|million|billion")
# "FY19", "2018/19", "2023-2024": years that are not written out, or of which one makes no sense without the other.
_CURRENCIES = (("$", "USD"), ("€", "EUR"), ("£", "GBP"), ("¥", "JPY"), ("₩", "KRW"))
_SHORT_YEAR = re.compile(r"\bF(?:Y|iscal )?\s?\d\d\b|\d{4}\s?[-–/]\s?\d")  # noqa: RUF001  # dashes as filings have them


@dataclass(frozen=True, slots=True)
class Statement:
    """A text whose last number, from `start` on, is the answer."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question with one number as its answer, written with its scale or percent sign."""

    context: str
    text: str
    answer: str
    derivation: str
    answer_type: str
    operation: str


def questions(record: dict[str, Any]) -> Iterator[Question]:
    """The questions of a record that one number answers; a bare year is a date, not an amount."""
    for question in record.get("questions", ()):
        given = question["answer"]
        answers = given if isinstance(given, list) else [given]
        answer = str(answers[0]).strip() if len(answers) == 1 else ""
        is_year = _YEAR.fullmatch(answer) and question["answer_type"] != "arithmetic"
        if _ANSWER.fullmatch(answer) and not is_year:
            written = _with_scale(answer, question["scale"])
            operation = question.get("operation") or _operation(question)
            text, derivation = question["question"].strip(), question["derivation"]
            yield Question(record["uid"], text, written, derivation, question["answer_type"], operation)


def _operation(question: dict[str, Any]) -> str:
    """What the gold answer was computed by, read from its derivation."""
    if question["answer_type"] != "arithmetic":
        return "count" if question["answer_type"] == "count" else "value"
    derivation = re.sub(r"(?<![\d)%\s])\s*[-–−]\s*(?=[\d$(])", "", question["derivation"])  # noqa: RUF001  # signs are no operation
    subtracts, divides, adds = (re.search(sign, derivation) for sign in (r"[-–−]", r"/|÷", r"\+"))  # noqa: RUF001  # likewise
    if divides:
        of_sum = adds and re.search(r"/\s*\d\s*(?:$|[-)])", derivation)
        return "average" if of_sum else "percentage change" if subtracts else "ratio or share"
    if adds:
        return "sum and difference" if subtracts else "sum"
    return "difference or change" if subtracts else "product" if re.search(r"[*×x]", derivation) else "other"  # noqa: RUF001


def _with_scale(answer: str, scale: str) -> str:
    if scale == "percent":
        return answer if "%" in answer else f"{answer}%"
    return f"{answer} {scale}" if scale and scale not in answer else answer


def statement(question: str, answer: str) -> Statement:
    """The answer in its question's sentence."""
    return Statement(f"{question} {answer}", len(question) + 1)


def altered(question: Question, record: dict[str, Any], kind: str, rng: random.Random) -> Statement | None:
    """A wrong statement of one kind, or None where the question offers nothing to alter in that way."""
    if kind == PERIOD:
        if question.operation in _SAME_ELSEWHERE:
            return None
        text = _other_period(question.text, record, rng)
        return statement(text, question.answer) if text else None
    answer = _ALTER[kind](question, record, rng)
    return statement(question.text, answer) if answer and answer != question.answer else None


def _other_digit(question: Question, _record: dict[str, Any], rng: random.Random) -> str:
    places = [match.start() for match in re.finditer(r"\d", question.answer)]
    place = rng.choice(places)
    others = [
        digit for digit in "0123456789" if digit != question.answer[place] and (digit != "0" or place != places[0])
    ]
    return question.answer[:place] + rng.choice(others) + question.answer[place + 1 :]


def _other_scale(question: Question, _record: dict[str, Any], rng: random.Random) -> str:
    found = _SCALE.search(question.answer)
    if not found:
        return ""
    others = [word for word in ("thousand", "million", "billion") if word != found.group()]
    return question.answer.replace(found.group(), rng.choice(others))


def _other_sign(question: Question, _record: dict[str, Any], _rng: random.Random) -> str:
    answer = question.answer
    if re.search(r"[-–−(]", answer):  # noqa: RUF001  # dashes as filings have them
        return re.sub(r"[-–−()]", "", answer).strip()  # noqa: RUF001  # likewise
    return f"-{answer}" if re.search(r"[1-9]", answer) else ""


def _other_unit(question: Question, record: dict[str, Any], rng: random.Random) -> str:
    answer = question.answer
    source = str(record["table"]) + str(record["paragraphs"])
    foreign = [sign for sign, code in _CURRENCIES if sign not in source and code not in source]
    if "%" in answer:
        wrong = [f"{rng.choice(foreign)}{answer.replace('%', ' million')}"]
        if "/" in question.derivation:
            wrong.append(answer.replace("%", " percentage points"))
        return rng.choice(wrong)
    signs = re.search(r"[$€£¥]", answer)
    if signs:
        return answer.replace(signs.group(), rng.choice(foreign))
    wrong = [re.sub(r"(?=\d)", rng.choice(foreign), answer, count=1)]
    if _SCALE.search(answer):
        wrong.append(re.sub(r" (?:thousand|million|billion)", "%", answer))
    return rng.choice(wrong)


def _other_period(text: str, record: dict[str, Any], rng: random.Random) -> str:
    """One year of the question, wherever it names it, becomes another: one of the source if it has more."""
    years = sorted({match.group(1) for match in _YEAR.finditer(text)})
    if not years or _SHORT_YEAR.search(text):
        return ""
    old = rng.choice(years)
    of_source = sorted({match.group(1) for match in _YEAR.finditer(str(record["table"]))} - set(years))
    new = rng.choice(of_source or [str(int(min(years)) - 1), str(int(max(years)) + 1)])
    return _YEAR.sub(lambda match: new if match.group(1) == old else match.group(1), text)


_ALTER = {DIGIT: _other_digit, SCALE: _other_scale, SIGN: _other_sign, UNIT: _other_unit}
