"""The prompts of sections: templates filled in, with errors that name the section.

A template comes with the job, from whoever may write to the topic: it can neither reach the process nor take long
(`pipeline/templates.py`), and what the sources say is never read as a template.
"""

from collections.abc import Mapping
from typing import Any

from pelton.pipeline.templates import TemplateFault
from pelton.pipeline.templates import fill as fill_template
from pelton.producers.reports.errors import PromptUnusable


def fill(template: str, values: Mapping[str, Any], *, section: str) -> str:
    """The prompt. Raises `PromptUnusable`, naming the section, the line and what is wrong."""
    try:
        return fill_template(template, values)
    except TemplateFault as fault:
        where = f", line {fault.line}" if fault.line else ""
        message = fault.message.rstrip(".")
        if message.endswith("is undefined"):
            message += f"; a prompt knows {', '.join(values)}"
        raise PromptUnusable(f"The prompt of section {section!r}{where}: {message}.") from None
