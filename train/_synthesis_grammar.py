"""Grammars as automata: which token may follow, so that only well-formed programs can be written."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FORBIDDEN = -1


@dataclass(frozen=True)
class Automaton:
    """A finite automaton over tokens, without cycles: every path from a start ends.

    Attributes:
        table: ``[states, tokens]`` integers: the next state, or -1 where a token is forbidden. A state that allows
            nothing is the end of a program.
        starts: by name, the state that a program begins in.
    """

    table: np.ndarray
    starts: Mapping[str, int]

    def accepts(self, tokens: Iterable[int], start: str = "") -> bool:
        """Say whether the tokens are a whole program."""
        state = self.starts[start]
        for token in tokens:
            state = int(self.table[state, token]) if state != FORBIDDEN else FORBIDDEN
        return state != FORBIDDEN and bool((self.table[state] == FORBIDDEN).all())


def automaton(
    starts: Mapping[str, Hashable], follow: Callable[[Any], Mapping[int, Hashable]], tokens: int
) -> Automaton:
    """Return the smallest automaton of a grammar that has no cycles.

    States with the same continuations become one (the minimisation of Revuz, Theor. Comput. Sci. 92, 1992).

    Args:
        starts: by name, the state that a program begins in.
        follow: maps a state to the next states by token; to nothing at the end of a program.
        tokens: how many there are.
    """
    known: dict[Hashable, int] = {}
    rows: dict[tuple[int, ...], int] = {}

    def number(state: Hashable) -> int:
        if state not in known:
            row = [FORBIDDEN] * tokens
            for token, after in follow(state).items():
                row[token] = number(after)
            known[state] = rows.setdefault(tuple(row), len(rows))
        return known[state]

    numbers = {name: number(state) for name, state in starts.items()}
    return Automaton(np.array(list(rows), np.int32), numbers)


def one_or_two(phrases: Sequence[tuple[int, ...]], end: int) -> Automaton:
    """Return the automaton of programs that are one or two of the phrases, then ``end``.

    >>> ends = one_or_two([(0,), (0, 1)], end=2)
    >>> ends.accepts([0, 0, 1, 2]), ends.accepts([0, 1, 1, 2]), ends.accepts([0, 0, 0, 2]), ends.accepts([2])
    (True, False, False, False)
    """

    def follow(state: frozenset[tuple[tuple[int, ...], int]]) -> dict[int, frozenset[tuple[tuple[int, ...], int]]]:
        after: dict[int, set[tuple[tuple[int, ...], int]]] = {}
        for rest, more in state:
            for whole, left in [(rest, more)] if rest else [(phrase, more - 1) for phrase in phrases if more]:
                after.setdefault(whole[0], set()).add((whole[1:], left))
            if not rest and more < 2:
                after.setdefault(end, set())
        return {token: frozenset(places) for token, places in after.items()}

    return automaton({"": frozenset({((), 2)})}, follow, end + 1)
