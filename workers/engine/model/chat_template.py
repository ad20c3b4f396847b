"""The chat template of a model, tried before it is served.

A template may be there and still be of no use: it does not compile, is one of several, or reads messages in a form that
nobody sends, so that the prompt has none of their text.
"""

from pathlib import Path
from typing import Any

from pelton.workers.engine.errors import ModelLoadError

TEMPLATE_FILE = "chat_template.jinja"
_PROBE = "Pelton probe 4711"


def adopt_template(name: str, tokenizer: Any, folder: Path | None) -> None:
    """Give the tokenizer the template to use: its own; of named ones the default; else the file beside it.

    Raises ModelLoadError when there is none.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            raise ModelLoadError(
                f"model.path: {name} has several chat templates ({', '.join(sorted(template))}) and none is called "
                f"default; put the one to use into {TEMPLATE_FILE} beside its weights as the only one"
            )
        tokenizer.chat_template = template["default"]
    elif not template and folder is not None and (folder / TEMPLATE_FILE).is_file():
        tokenizer.chat_template = (folder / TEMPLATE_FILE).read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise ModelLoadError(
            f"model.path: the tokenizer of {name} has no chat template; choose an instruction-tuned model, or "
            f"put a {TEMPLATE_FILE} beside its tokenizer"
        )


def wants_parts(tokenizer: Any) -> bool:
    """Whether the template finds a message's text in a list of content parts only, not in a plain string.

    Raises ModelLoadError for a template that renders the text in neither form.
    """
    failures: list[str] = []
    for parts in (False, True):
        content = [{"type": "text", "text": _PROBE}] if parts else _PROBE
        try:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # noqa: BLE001 (a template can raise whatever Python can)
            failures.append(f"{type(error).__name__}: {error}")
            continue
        if _PROBE in prompt:
            return parts
    why = failures[0] if failures else "the prompt does not have the message's text in it"
    raise ModelLoadError(
        f"model.path: the model's chat template cannot render a user's message ({why}); put one that can into "
        f"{TEMPLATE_FILE} beside its tokenizer"
    )
