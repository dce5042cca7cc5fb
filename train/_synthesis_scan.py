"""SCAN: commands such as "jump around left twice" and the actions that they mean (Lake and Baroni 2018, 1711.00350).

All 20,910 commands follow from the paper's grammar, and their actions from its interpretation function; both are
written down here, and so are the paper's splits: "simple" (80 % of the commands at random; the draw is ours, its sizes
are the paper's), "length" (action sequences of up to 22 train, longer ones test) and "jump" (of the commands with
"jump" only "jump" itself trains, as often as makes it a tenth).
"""

import functools
from collections.abc import Iterator

import numpy as np

from ..errors import InputError
from ._synthesis_sequences import (
    EXACT_MATCH,
    PADDING,
    TOKEN_ACCURACY,
    PaddedCrossEntropy,
    given_before,
    one_hot,
    padded,
)
from ._task import Dataset, Task

# The place plus one is the token.
WORDS = (
    *("and", "after", "twice", "thrice", "opposite", "around", "left", "right"),
    *("turn", "walk", "look", "run", "jump"),
)
ACTIONS = ("WALK", "LOOK", "RUN", "JUMP", "LTURN", "RTURN")  # the place is the token
END = len(ACTIONS)
LONGEST_COMMAND, LONGEST_PROGRAM = 9, 48
_PRIMITIVES = {"walk": ("WALK",), "look": ("LOOK",), "run": ("RUN",), "jump": ("JUMP",), "turn": ()}
_TURNS = {"left": ("LTURN",), "right": ("RTURN",)}
_TIMES = {"twice": 2, "thrice": 3}
_SIMPLE_TEST, _SHORT, _PADDING_WORD = 4182, 22, 0
_ENCODED_TEST = 150

Actions = tuple[str, ...]


def commands() -> Iterator[str]:
    """Yield every command of the grammar once: C -> S and S | S after S | S, S -> V twice | V thrice | V."""
    phrases = list(_phrases())
    yield from phrases
    for first in phrases:
        for second in phrases:
            yield f"{first} and {second}"
            yield f"{first} after {second}"


def _phrases() -> Iterator[str]:
    verbs = ["walk", "look", "run", "jump"]
    for verb in [*verbs, "turn"]:
        for side in _TURNS:
            verbs += [f"{verb} {side}", f"{verb} opposite {side}", f"{verb} around {side}"]
    for verb in verbs:
        yield from (verb, f"{verb} twice", f"{verb} thrice")


def interpret(command: str) -> Actions:
    """Return the actions that a command means.

    >>> interpret("jump twice after turn opposite left")
    ('LTURN', 'LTURN', 'JUMP', 'JUMP')

    Raises:
        InputError: the grammar does not make this command.
    """
    words = command.split()
    for link, order in (("and", 1), ("after", -1)):
        if link in words:
            place = words.index(link)
            first, second = ([*words[:place]], [*words[place + 1 :]])
            parts = [_phrase(first, command), _phrase(second, command)][::order]
            return parts[0] + parts[1]
    return _phrase(words, command)


def _phrase(words: list[str], command: str) -> Actions:
    if len(words) > 1 and words[-1] in _TIMES:
        return _phrase(words[:-1], command) * _TIMES[words[-1]] if words[-2] not in _TIMES else _refuse(command)
    match words:
        case [verb] if verb in _PRIMITIVES and verb != "turn":
            return _PRIMITIVES[verb]
        case [verb, side] if verb in _PRIMITIVES and side in _TURNS:
            return _TURNS[side] + _PRIMITIVES[verb]
        case [verb, "opposite", side] if verb in _PRIMITIVES and side in _TURNS:
            return _TURNS[side] * 2 + _PRIMITIVES[verb]
        case [verb, "around", side] if verb in _PRIMITIVES and side in _TURNS:
            return (_TURNS[side] + _PRIMITIVES[verb]) * 4
    return _refuse(command)


def _refuse(command: str) -> Actions:
    raise InputError(f"Expected a command of SCAN's grammar, such as 'jump around left twice'. Got: {command!r}.")


def phrase_programs() -> tuple[tuple[int, ...], ...]:
    """Return what one phrase can mean, as tokens; a whole program is one or two of them."""
    meanings = {interpret(phrase) for phrase in _phrases()}
    return tuple(sorted(tuple(ACTIONS.index(action) for action in actions) for actions in meanings))


def command_tokens(command: str) -> np.ndarray:
    """Return a command as ``[9]`` int32, 0 for padding.

    Raises:
        InputError: it is empty, too long or has an unknown word.
    """
    words = command.split()
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise InputError(f"Expected the words {', '.join(WORDS)}. Got: {unknown[0]!r}.")
    if not 0 < len(words) <= LONGEST_COMMAND:
        raise InputError(f"Expected a command of 1 to {LONGEST_COMMAND} words. Got: {len(words)}.")
    return padded([[WORDS.index(word) + 1 for word in words]], LONGEST_COMMAND, _PADDING_WORD)[0]


@functools.cache
def pairs() -> tuple[tuple[str, ...], tuple[Actions, ...]]:
    """Return all commands and their actions."""
    every = tuple(commands())
    return every, tuple(interpret(command) for command in every)


@functools.cache
def tokens() -> tuple[np.ndarray, np.ndarray]:
    """Return all commands ``[20910, 9]`` and programs ``[20910, 49]`` with their end, -1 for padding."""
    words = {word: token for token, word in enumerate(WORDS, start=1)}
    every, actions = pairs()
    programs = [[*(ACTIONS.index(action) for action in each), END] for each in actions]
    return (
        padded([[words[word] for word in command.split()] for command in every], LONGEST_COMMAND, _PADDING_WORD),
        padded(programs, LONGEST_PROGRAM + 1, PADDING),
    )


@functools.cache
def split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the places in ``pairs()`` that train and that test, in a seeded random order.

    Args:
        name: "simple", "length" or "jump".
    """
    every, actions = pairs()
    order = np.random.default_rng(0).permutation(len(every))
    if name == "simple":
        return order[_SIMPLE_TEST:], order[:_SIMPLE_TEST]
    if name == "length":
        test = np.array([len(actions[place]) > _SHORT for place in order])
        return order[~test], order[test]
    if name == "jump":
        test = np.array(["jump" in every[place].split() and every[place] != "jump" for place in order])
        jump = np.full((~test).sum() // 9 - 1, every.index("jump"))  # with itself a tenth
        return np.random.default_rng(0).permutation(np.concatenate([order[~test], jump])), order[test]
    raise InputError(f"Expected one of SCAN's splits: simple, length, jump. Got: {name!r}.")


@functools.cache
def scan(name: str) -> Task:
    """Return the teacher-forced task of a split: ``command`` and ``actions_in`` one-hot, programs as labels."""
    every, programs = tokens()

    def dataset(places: np.ndarray) -> Dataset:
        return Dataset(
            {
                "command": one_hot(every[places], len(WORDS) + 1),
                "actions_in": one_hot(given_before(programs[places], END), END + 1),
            },
            programs[places],
        )

    train, test = split(name)
    return Task(f"scan-{name}", dataset(train), dataset(test), PaddedCrossEntropy(), TOKEN_ACCURACY)


@functools.cache
def scan_commands(name: str) -> Task:
    """Return the task as a device has it: ``command`` ``[9]`` tokens to a program ``[48]``, exact match.

    Of the test commands every so many are taken in the order of their programs' lengths: 150.
    """
    every, programs = tokens()
    train, test = split(name)
    by_length = test[np.argsort((programs[test] != PADDING).sum(axis=1), kind="stable")]
    test = by_length[np.linspace(0, len(by_length) - 1, _ENCODED_TEST).round().astype(int)]
    answers = np.where(programs == END, PADDING, programs)[:, :LONGEST_PROGRAM]
    return Task(
        f"scan-{name}-commands",
        Dataset({"command": every[train]}, answers[train]),
        Dataset({"command": every[test]}, answers[test]),
        None,
        EXACT_MATCH,
    )
