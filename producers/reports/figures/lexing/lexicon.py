"""The words and signs around numbers: currencies, scales, units, months, and what numbers merely name."""

import re

CURRENCY_SIGNS = {
    "US$": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD", "HK$": "HKD", "S$": "SGD", "NZ$": "NZD",
    "R$": "BRL", "NT$": "TWD", "MX$": "MXN", "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW",
    "₽": "RUB", "₺": "TRY", "₪": "ILS", "₫": "VND", "฿": "THB", "₦": "NGN", "₱": "PHP", "Rs.": "INR", "Rs": "INR",
    "RMB": "CNY",
}  # fmt: skip
CURRENCY_CODES = frozenset({
    "USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "AUD", "CAD", "HKD", "SGD", "NZD", "SEK", "NOK", "DKK", "ZAR",
    "BRL", "MXN", "KRW", "TWD", "RUB", "TRY", "PLN", "CZK", "HUF", "ILS", "THB", "IDR", "MYR", "PHP", "VND", "AED",
    "SAR", "NGN", "KES", "EGP", "ARS", "CLP", "COP",
})  # fmt: skip
CURRENCY_NAMES = {
    "dollar": "USD", "euro": "EUR", "pound sterling": "GBP", "pound": "GBP", "sterling": "GBP", "yen": "JPY",
    "yuan": "CNY", "renminbi": "CNY", "rupee": "INR", "franc": "CHF", "krona": "SEK", "krone": "NOK", "won": "KRW",
}  # fmt: skip
# Signs that several countries write: a text's "$" may well be a table's "A$".
DOLLARS = frozenset({"USD", "AUD", "CAD", "HKD", "SGD", "NZD", "TWD", "MXN"})

SCALES = {
    "hundred": 2, "thousand": 3, "k": 3, "lakh": 5, "million": 6, "mn": 6, "mln": 6, "mm": 6, "mio": 6, "m": 6,
    "crore": 7, "billion": 9, "bn": 9, "bln": 9, "mrd": 9, "b": 9, "trillion": 12, "tn": 12, "trn": 12,
}  # fmt: skip
# Single letters count only when they are written on to the number.
ATTACHED_SCALES = frozenset({"k", "m", "b"})

NOUN_UNITS = {
    "day": "days", "week": "weeks", "month": "months", "year": "years", "yr": "years", "hour": "hours",
    "share": "shares", "unit": "units", "employee": "employees", "cent": "cents", "pence": "pence",
    "tonne": "tonnes", "barrel": "barrels", "store": "stores", "vessel": "vessels", "customer": "customers",
}  # fmt: skip

MONTHS = {
    name: number
    for number, names in enumerate(
        ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
         "september sept sep", "october oct", "november nov", "december dec"),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
QUARTERS = {"first": 1, "second": 2, "third": 3, "fourth": 4}

# "note 5", "IFRS 9", "Level 3": the number is a name. Words that also precede amounts ("total") do not belong here.
NAMED_BY_NUMBER = frozenset({
    "note", "notes", "section", "sections", "item", "items", "page", "pages", "level", "levels", "topic", "topics",
    "asc", "asu", "ifrs", "ias", "sfas", "fas", "fin", "rule", "form", "article", "exhibit", "chapter", "table",
    "figure", "step", "tier", "stage", "scope", "phase", "type", "class", "series", "part", "no", "nos", "no.",
    "number", "line", "paragraph", "schedule", "appendix", "annex", "version", "footnote", "basel", "clause", "act",
    "regulation", "volume", "issue", "box", "suite", "floor", "category", "grade", "model", "sab", "aasb", "frs",
    "ssap", "eitf", "statement", "interpretation", "nasdaq",
})  # fmt: skip

UNITS_OF_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19, "one": 1, "zero": 0,
}  # fmt: skip
TENS_OF_WORDS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip

# Longest first, so that "US$" is not read as "$".
CURRENCY = (
    "|".join(re.escape(sign) for sign in sorted(CURRENCY_SIGNS, key=len, reverse=True))
    + "|"
    + "|".join(f"{code}(?![A-Za-z])" for code in sorted(CURRENCY_CODES))
)
SCALE = "|".join(f"{word}s?" for word in sorted(SCALES, key=len, reverse=True) if word not in ATTACHED_SCALES)
MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
DASHES = "\\-\u2010\u2011\u2012\u2013\u2014\u2212"  # hyphens, figure, en and em dash, minus: for the inside of [...]


# Things that accounts write as negative and that are told without their minus.
SPENT = (
    r"\b(?:expens\w*|costs?|loss\w*|depreciation|amorti[sz]\w*|charges?|allowance\w*|provision\w*|paid|payments?|purchas\w*|"
    r"repurchas\w*|outflows?|used|impair\w*|write\w*|additions?|expenditures?|deficit)\b"
)


def currency_of(text: str) -> str:
    """The ISO code of a sign or code."""
    return CURRENCY_SIGNS.get(text) or (
        text.upper() if text.upper() in CURRENCY_CODES else CURRENCY_SIGNS.get(text.upper(), "")
    )
