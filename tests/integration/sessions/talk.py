"""A conversation as its user sees it. The simulated engine's answers begin with a digest of what it read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pelton.pipeline.wire.chat import Message
from pelton.producers.client import InferenceClient
from pelton.producers.errors import ReplyError
from pelton.producers.replies import Reply
from pelton.workers.engine.simulated.text import signature
from pelton.workers.prepare.simulated_codec import SimulatedCodec


def read_by_model(messages: Sequence[Message]) -> str:
    """How an answer begins that was given to exactly these messages, in this order."""
    return signature(SimulatedCodec().render(messages))


@dataclass
class Talk:
    """One session. It keeps what was said, and so knows what each answer must have been given to."""

    client: InferenceClient
    session: str
    tenant: str | None = None
    said: list[Message] = field(default_factory=list)

    async def ask(self, text: str, *, timeout_s: float = 60, **fields: Any) -> str:
        """The answer's text; what is said in vain is as if it had not been said. Raises `ReplyError`."""
        completion = await self.client.complete(
            [{"role": "user", "content": text}],
            session=self.session,
            tenant=self.tenant,
            timeout_s=timeout_s,
            **fields,
        )
        answer = completion.choices[0].message.content or ""
        self.said += [Message(role="user", content=text), Message(role="assistant", content=answer)]
        return answer

    async def says(self, text: str, **options: Any) -> str:
        """Ask, and make sure that the model has read all that was said, in order, once."""
        expected = read_by_model([*self.said, Message(role="user", content=text)])
        answer = await self.ask(text, **options)
        assert answer.startswith(expected), f"the answer to {text!r} was given to another history"
        return answer

    async def send(self, text: str, **options: Any) -> Reply:
        """Ask, and leave it open what comes of it."""
        body = {"model": "default", "messages": [{"role": "user", "content": text}], "temperature": 0}
        return await self.client.request(body, session=self.session, tenant=self.tenant, timeout_s=60, **options)

    def hears(self, text: str, reply: Reply) -> None:
        """The reply to what was sent must be an answer to all that was said."""
        answer = reply.completion().choices[0].message.content
        assert answer.startswith(read_by_model([*self.said, Message(role="user", content=text)]))
        self.said += [Message(role="user", content=text), Message(role="assistant", content=answer)]

    async def fails(self, text: str, **options: Any) -> str:
        """Ask in vain; the error's code."""
        try:
            await self.ask(text, **options)
        except ReplyError as error:
            return str(error.code)
        raise AssertionError(f"{text!r} was answered")
