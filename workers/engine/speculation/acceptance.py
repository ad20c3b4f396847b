"""How often guesses come true, by how much of the text matched.

Every guess is a trial, whether a step verified it or the token came out one at a time: so it is known at no cost how
good the guesses are, also where none are verified.
"""

from collections.abc import Sequence

from pelton.workers.engine.speculation.lookup import Ints, Proposal, propose

# By the least number of matched tokens, and what is taken to come true of such guesses before any was seen.
_LEAST_MATCHED = (2, 3, 4, 8)
_AT_FIRST = (0.3, 0.4, 0.6, 0.8)
_OF_ALL, _OF_ONE = 1 / 128, 1 / 12  # what the newest trial weighs


class AcceptanceRates:
    """Exponentially weighted shares of the guesses that came true, each by the length of its match."""

    __slots__ = ("_newest_weighs", "_rates")

    def __init__(self, rates: Sequence[float] = _AT_FIRST, newest_weighs: float = _OF_ALL) -> None:
        self._rates = list(rates)
        self._newest_weighs = newest_weighs

    def for_one(self) -> "AcceptanceRates":
        """The rates of a request that begins: these until it has trials of its own."""
        return AcceptanceRates(self._rates, _OF_ONE)

    def of(self, matched: int) -> float:
        """The share of the guesses that come true behind so many matched tokens."""
        return self._rates[_level(matched)]

    def observe(self, matched: int, *, came_true: bool) -> None:
        level = _level(matched)
        self._rates[level] += self._newest_weighs * (came_true - self._rates[level])


class Guesses:
    """A request's guesses: the newest proposal, and how those before it turned out."""

    __slots__ = ("_of_all", "proposal", "rates")

    def __init__(self, of_all: AcceptanceRates) -> None:
        self._of_all = of_all
        self.rates = of_all.for_one()
        self.proposal: Proposal | None = None

    def propose(self, text: Ints) -> None:
        """Guess anew what follows `text`, int64."""
        self.proposal = propose(text)

    def chances(self, most: int) -> list[float]:
        """Of each of the first `most` tokens that it and all before it come true."""
        if self.proposal is None:
            return []
        chance, chances = 1.0, []
        for place in range(min(most, len(self.proposal.tokens))):
            chance *= self.rates.of(self.proposal.matched + place)
            chances.append(chance)
        return chances

    def compare(self, tokens: Sequence[int]) -> None:
        """Take the tokens that came, at least one; the proposal has served."""
        proposal, self.proposal = self.proposal, None
        if proposal is None:
            return
        for place, (guess, token) in enumerate(zip(proposal.tokens, tokens, strict=False)):
            for rates in (self.rates, self._of_all):
                rates.observe(proposal.matched + place, came_true=guess == token)
            if guess != token:
                break


def _level(matched: int) -> int:
    return sum(matched >= least for least in _LEAST_MATCHED[1:])
