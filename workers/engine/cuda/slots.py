"""Where each running sequence has its place on the device: its newest token and the table of its pages."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pelton.workers.engine.scheduling.sequences import SequenceState


@dataclass(slots=True, eq=False)
class _Slot:
    """Who has a slot, since which stay, and how many of its pages the device knows."""

    number: int
    sequence: SequenceState
    stay: int
    pages: int = 0


class Slots:
    """Slots 0 to `count`, one for each sequence that may run; slot `padding_slot`, one past the last, is padding's.

    `tables` int64 [count + 1, width] has the pages of each slot's sequence, in order; `newest` int64 [count + 1] the
    token that was chosen for it last. Both are changed only by work queued on the device, behind whoever reads them.
    """

    def __init__(self, count: int, width: int, scratch_page: int, device: torch.device) -> None:
        self.padding_slot = count
        self.width = width
        # What may be told of the tables at any time: it is so already.
        self.padding_change = (count * width, scratch_page)
        self.tables = torch.full((count + 1, width), scratch_page, dtype=torch.int64, device=device)
        self.newest = torch.zeros(count + 1, dtype=torch.int64, device=device)
        self._free = list(range(count - 1, -1, -1))
        self._held: dict[SequenceState, _Slot] = {}
        self._changes: dict[int, int] = {}

    def of(self, sequence: SequenceState) -> int:
        """The slot of a sequence, with all its pages noted for the device."""
        slot = self._held.get(sequence)
        if slot is None or slot.stay != sequence.stays:
            slot = self._take(sequence, slot)
        if len(sequence.pages) > slot.pages:
            start = slot.number * self.width
            for index in range(slot.pages, len(sequence.pages)):
                self._changes[start + index] = sequence.pages[index]
            slot.pages = len(sequence.pages)
        return slot.number

    def changes(self) -> NDArray[np.int64]:
        """What the device does not know yet, [n, 2]: places in the flattened table, each once, and pages.

        They stay until `changed` is called, so that those of a step that could not be launched come with the next.
        """
        return np.array(list(self._changes.items()), dtype=np.int64).reshape(-1, 2)

    def changed(self) -> None:
        """Note that `changes` are on their way to the device."""
        self._changes = {}

    def _take(self, sequence: SequenceState, old: _Slot | None) -> _Slot:
        if old is None and not self._free:
            self._sweep()
        slot = _Slot(self._free.pop() if old is None else old.number, sequence, sequence.stays)
        self._held[sequence] = slot
        return slot

    def _sweep(self) -> None:
        """Take back the slots of sequences that have given up their pages: they ended, or come again as new."""
        for sequence in [sequence for sequence, slot in self._held.items() if slot.stay != sequence.stays]:
            self._free.append(self._held.pop(sequence).number)
