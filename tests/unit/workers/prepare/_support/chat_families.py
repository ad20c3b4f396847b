"""Tokenizers of single bytes with the marks of Qwen 3 and of GLM 4.5 and 4.7, and templates of the same wire format.

The templates are as small as they can be: what matters is who opens the reasoning, and what a call looks like.
"""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pelton.workers.prepare.tokenizer import TokenizerCodec

_QWEN = (
    "{% if tools %}<|im_start|>system\nTools:{% for t in tools %}\n{{ t | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_GLM = (
    "[gMASK]<sop>{% if tools %}<|system|>\nTools:{% for t in tools %}\n{{ t | tojson }}{% endfor %}{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<|observation|>\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% else %}<|{{ m.role }}|>\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}NL<tool_call>{{ c.function.name }}NL"
    "{% for k, v in c.function.arguments.items() %}<arg_key>{{ k }}</arg_key>NL"
    "<arg_value>{{ v if v is string else v | tojson }}</arg_value>NL{% endfor %}</tool_call>{% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}OFF{% else %}ON{% endif %}{% endif %}"
)
TEMPLATES = {
    "qwen3": _QWEN,
    "glm-4.5": _GLM.replace("NL", "\n").replace("OFF", "\n<think></think>\n").replace("ON", ""),
    "glm-4.7": _GLM.replace("NL", "").replace("OFF", "</think>").replace("ON", "<think>"),
}
CONTROL = {
    "qwen3": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    "glm-4.5": ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
}
CONTROL["glm-4.7"] = CONTROL["glm-4.5"]
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
ARGUMENTS = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")


def chat_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Marks are tokens of their own that are no control tokens, as those families have them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL[family]])
    marks = MARKS if family == "qwen3" else MARKS + ARGUMENTS
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in marks])
    end = "<|im_end|>" if family == "qwen3" else "<|endoftext|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    fast.chat_template = TEMPLATES[family]
    return fast


def chat_codec(family: str) -> tuple[TokenizerCodec, PreTrainedTokenizerFast]:
    tokenizer = chat_tokenizer(family)
    return TokenizerCodec(tokenizer), tokenizer
