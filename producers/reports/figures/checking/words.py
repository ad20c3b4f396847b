"""Words of labels and sentences, made comparable."""

import re
from collections.abc import Container

_WORD = re.compile(r"[A-Za-z]{2,}|&")
_STOP = frozenset({
    "the", "of", "and", "in", "to", "for", "on", "at", "by", "from", "as", "an", "is", "are", "was", "were", "be",
    "been", "with", "that", "this", "which", "its", "it", "their", "our", "we", "or", "per", "what", "how", "much",
    "many", "does", "did", "do", "has", "had", "have", "who", "whom", "whose", "when", "where", "why", "between",
    "during", "within", "over", "under", "into", "than", "then", "there", "these", "those", "any", "all", "each",
    "both", "also", "such", "other's", "not", "no", "if", "can", "could", "would", "should", "may", "will",
    "amount", "amounts", "value", "values", "company", "group", "year", "years", "ended", "period",
    "periods", "fiscal", "months", "month", "quarter", "respectively", "following", "total's", "million",
    "millions", "thousand", "thousands", "billion", "billions", "percent", "percentage", "cent", "usd", "eur",
    "gbp", "january", "february", "march", "april", "june", "july", "august", "september", "october", "november",
    "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
})  # fmt: skip
_SUFFIXES = (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", ""))
_SHORTEST_STEM = 3

# Reports and their readers have several words for one thing.
_SAME = (
    "debt liabilities borrowings loans",
    "profit income earnings",
    "revenue sales turnover",
    "employees staff headcount workforce personnel",
    "shareholder stockholder",
    "cost expense charge",
    "receivable debtor",
    "payable creditor",
    "buyback repurchase",
    "tax taxation",
    "comp comparable like-for-like",
    "capex capital expenditure",
    "opex operating expense",
    "inventory stock",
    "thereafter after beyond",
)


def stems(text: str) -> frozenset[str]:
    """The content words of a text, without their endings."""
    return frozenset(stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP and word != "&")


def stem(word: str) -> str:
    for suffix, instead in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM and not word.endswith("ss"):
            return (word[: -len(suffix)] + instead).rstrip("e")
    return word.rstrip("e") if len(word) > _SHORTEST_STEM else word


def known(words: frozenset[str], vocabulary: Container[str]) -> frozenset[str]:
    """The words, with those that the source never uses replaced by what it may say instead."""
    said = set(words)
    for word in words:
        if word not in vocabulary:
            said.update(_INSTEAD.get(word, ()))
    return frozenset(said)


_INSTEAD = {
    stem(word): frozenset(stem(other) for other in group.split() if other != word)
    for group in _SAME
    for word in group.split()
}
