"""The newcomer's first command."""

import json
import subprocess
import sys
from itertools import pairwise

from pelton.demo.questions import questions


def test_the_demo_answers_every_question_and_exits_0():
    """From nothing to answers: a broker, a cache and a worker of its own, every question answered by the real model."""
    ran = subprocess.run(
        [sys.executable, "-m", "pelton", "demo", "--requests", "2", "--json"],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["answered"] == result["requests"] == 2
    assert [exchange["question"] for exchange in result["exchanges"]] == [asked.text for asked in questions(2)]
    assert all(exchange["new_tokens"] > 0 and exchange["answer"] for exchange in result["exchanges"])
    assert 0 < result["mean_batch_fill"] <= 1
    assert result["generated_tokens_per_s"] > 0


def test_the_sample_has_questions_enough_and_repeats_in_order():
    """The shipped sample gives as many questions as are asked for; neighbours come from different tables."""
    asked = questions(500)
    assert len(asked) == 500
    assert asked[240] == asked[0]
    assert all(one.prompt.split("\n\n")[0] != other.prompt.split("\n\n")[0] for one, other in pairwise(asked[:40]))
    assert all(question.gold and question.body()["messages"][1]["content"] == question.prompt for question in asked)
