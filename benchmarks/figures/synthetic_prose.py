"""Invented paragraphs whose numbers are asked for."""

import random
from decimal import Decimal
from typing import Any


def told(rng: random.Random, year: int, *, looked_at: bool) -> tuple[str, list[dict[str, Any]]]:
    """A paragraph and questions about its numbers, in one of two wordings."""
    new, old, third = (round(Decimal(str(rng.uniform(2, 900))), 1) for _ in range(3))
    tax = round(Decimal(str(rng.uniform(5, 40))), 2)
    ends = {"a": year - 1, "b": year}
    if looked_at:
        text = (
            f"Restructuring costs were ${new} million and ${old} million in {year} and {year - 1}, respectively. "
            f"The discount rate used for leases was {tax}%. The sale of a warehouse brought ${third} million."
        )
        asked = [
            rng.choice((
                ("What were the restructuring costs in {b}?", f"${new}", "million", "prose value"),
                ("What was the discount rate used for leases?", f"{tax}", "percent", "prose value"),
            )),
            ("What was the change in restructuring costs from {a} to {b}?", f"{new - old}", "million", "prose change"),
        ]  # fmt: skip
    else:
        text = (
            f"Capital expenditure rose to ${new} million in {year} from ${old} million in {year - 1}. "
            f"As of year-end {year}, ${third} million of the credit facility was undrawn, "
            f"at an interest rate of {tax}%."
        )
        change = "By what percentage did capital expenditure change from {a} to {b}?"
        asked = [
            rng.choice((
                ("How much capital expenditure was there in {a}?", f"${old}", "million", "prose value"),
                ("The undrawn part of the credit facility was", f"${third}", "million", "prose value"),
                ("What was the interest rate of the facility?", f"{tax}", "percent", "prose value"),
            )),
            (change, f"{(new / old - 1) * 100:.2f}", "percent", "prose change"),
        ]  # fmt: skip
    return text, [
        {
            "question": question.format(**ends),
            "answer": answer,
            "scale": scale,
            "derivation": operation,
            "answer_type": "arithmetic",
            "operation": operation,
        }
        for question, answer, scale, operation in asked
    ]
