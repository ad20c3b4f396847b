"""The state of sections by fingerprint, as the compacted topic has it; what was used least recently is forgotten first.

A forgotten section that is asked for again is generated anew: the bound has to be well above what the jobs under way
need.
"""

from collections import OrderedDict

from pelton.producers.reports.service.records import SectionState


class SectionStore:
    """At most `max_bytes` of texts; the newest entry is always kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._states: OrderedDict[str, SectionState] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._states)

    def get(self, fingerprint: str) -> SectionState | None:
        state = self._states.get(fingerprint)
        if state is not None:
            self._states.move_to_end(fingerprint)
        return state

    def put(self, fingerprint: str, state: SectionState) -> None:
        self.drop(fingerprint)
        self._states[fingerprint] = state
        self._bytes += state.size
        while self._bytes > self._max_bytes and (oldest := self._oldest()) not in (None, fingerprint):
            self.drop(str(oldest))

    def _oldest(self) -> str | None:
        """Of those that may be forgotten: what is sent and not answered is still to be recognised."""
        return next((fingerprint for fingerprint, state in self._states.items() if not state.pending), None)

    def drop(self, fingerprint: str) -> None:
        state = self._states.pop(fingerprint, None)
        if state is not None:
            self._bytes -= state.size
