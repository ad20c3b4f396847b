"""What is waited for is said where nobody sees a spinner."""

import io

from rich.console import Console

from pelton.stages import stage


def test_off_a_terminal_a_stage_is_a_line() -> None:
    said = io.StringIO()
    with stage(Console(file=said), "Starting Kafka …"):
        assert said.getvalue() == "Starting Kafka …\n"
