"""How sentences ask for figures, in two sets: one to develop the check with, one to estimate it with.

{x}, {y} and {z} are things, {t} a total, {c} a column with its preposition, {a} and {b} an earlier and a later period,
{n} a bound. A wording that begins with + says the direction, and is only for figures above zero.
"""

Wordings = dict[str, tuple[str, ...]]

LOOKED_AT: Wordings = {
    "value": ("What was {x} {c}?", "How much {x} was recorded {c}?", "What is the amount of {x} {c}?"),
    "change": (
        "What was the change in {x} between {a} and {b}?",
        "What was the increase / (decrease) in {x} from {a} to {b}?",
    ),
    "percent change": (
        "What was the percentage change in {x} between {a} and {b}?",
        "What is the percentage increase / (decrease) in {x} from {a} to {b}?",
    ),
    "average over time": ("What was the average {x} for {a} and {b}?", "What is the average {x} between {a} and {b}?"),
    "sum over time": ("What was the total {x} in {a} and {b}?",),
    "sum of things": ("What was the sum of {x} and {y} {c}?", "What is the total of {x} and {y} {c}?"),
    "sum of three": ("What was the total amount of {x}, {y} and {z} {c}?",),
    "difference": ("+What was the difference between {x} and {y} {c}?",),
    "share": (
        "What percentage of {t} was {x} {c}?",
        "What was {x} as a percentage of {t} {c}?",
        "What is the proportion of {x} over {t} {c}?",
    ),
    "share of two": ("What percentage of {t} was {x} and {y} combined {c}?",),
    "all but one": ("What was {t} excluding {x} {c}?",),
    "ratio": ("What is the ratio of {x} to {y} {c}?",),
    "count of things": ("How many items of {t} were above {n} {c}?",),
    "count of periods": ("How many years did {x} exceed {n}?",),
    "change of share": ("What was the change in {x} as a percentage of {t} from {a} to {b}?",),
    "change of sum": ("What was the percentage change in the total of {x} and {y} from {a} to {b}?",),
    "average of things": ("What was the average of {x} and {y} {c}?",),
    "average of all": ("What is the average {t}?", "What is the average {t} across all of them?"),
    "count of all": ("How many {t} are listed in the table?",),
    "sum of all": ("What is the total of {t} {c}?",),
    "product": ("What is the total value of the shares {x}?",),
}
NOT_LOOKED_AT: Wordings = {
    "value": ("{x} {c} amounted to", "For {x}, the company reported {c}", "How high was {x} {c}?", "{c}, {x} came to"),
    "change": (
        "By how much did {x} change from {a} to {b}?",
        "From {a} to {b}, {x} moved by",
        "+From {a} to {b}, {x} climbed by",
        "Compute the variation in {x} from {a} to {b}.",
    ),
    "percent change": (
        "How much did {x} change from {a} to {b} in percent?",
        "+{x} grew from {a} to {b} by",
        "What was the growth rate of {x} from {a} to {b}?",
        "Calculate the relative change of {x} between {a} and {b}:",
    ),
    "average over time": ("Averaged over {a} and {b}, {x} was", "What was the mean of {x} across {a} and {b}?"),
    "sum over time": ("Over {a} and {b} together, {x} came to", "How much was {x} in {a} and {b} combined?"),
    "sum of things": ("{c}, {x} and {y} together were", "How much were {x} and {y} combined {c}?"),
    "sum of three": ("{x}, {y} and {z} added up to {c}", "What do {x}, {y} and {z} sum to {c}?"),
    "difference": (
        "+How much higher was {x} than {y} {c}?",
        "+{c}, {x} exceeded {y} by",
        "+How large was the gap between {x} and {y} {c}?",
    ),
    "share": (
        "What share of {t} did {x} represent {c}?",
        "{c}, the part of {x} in {t} was",
        "{x} divided by {t} {c}, as a percentage, is",
    ),
    "share of two": (
        "Together, {x} and {y} accounted {c} for a part of {t} of", "What share of {t} were {x} and {y} {c}?",
    ),
    "all but one": ("Without {x}, {t} {c} would have been", "What is {t} less {x} {c}?"),
    "ratio": ("What is {x} divided by {y} {c}?", "How many times {y} was {x} {c}?"),
    "count of things": ("How many of the lines in {t} were larger than {n} {c}?",),
    "count of periods": ("In how many of the years was {x} greater than {n}?",),
    "change of share": ("By how many percentage points did the share of {x} in {t} change from {a} to {b}?",),
    "change of sum": ("From {a} to {b}, {x} and {y} together changed in percent by",),
    "average of things": ("{c}, {x} and {y} averaged", "What did {x} and {y} average {c}?"),
    "average of all": ("The mean {t} is", "What is the {t} on average?"),
    "count of all": ("What is the number of {t}?",),
    "sum of all": ("Altogether, {t} {c} was worth", "How much is {t} worth in total {c}?"),
    "product": ("Multiplied by their price, the shares {x} were worth",),
}  # fmt: skip
