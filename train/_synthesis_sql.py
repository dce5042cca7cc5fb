"""Questions about small databases and the SQL that answers them, executed in sqlite3.

The databases and the phrasings are made here; a test database has no table, column or text in common with a training
one. What is judged is the answer ("execution match", as in Zhong et al., "Seq2SQL", 2017, arXiv 1709.00103), which a
wrong query may give too: the share of queries that are the very one is measured beside it.
"""

import functools
from typing import Any

import numpy as np

from . import _synthesis_sql_host as language
from ._sources import made_once
from ._synthesis_grammar import Automaton, automaton
from ._synthesis_sequences import (
    PADDING,
    TOKEN_ACCURACY,
    PaddedCrossEntropy,
    exact_match,
    given_before,
    one_hot,
    padded,
)
from ._synthesis_sql_host import END, FUNCTIONS, NUMBER_VALUES, NUMBERS, TABLES, TEXT_VALUES, TEXTS, TOKENS
from ._synthesis_sql_questions import LONGEST_QUESTION, drawn, vocabulary
from ._task import Dataset, Metric, Task

LONGEST_PROGRAM = 18
ANSWER_BYTES = 256
EXECUTION_MATCH = Metric("execution match", "%", "higher", exact_match)
_TRAIN, _TEST, _DEPLOYED_TRAIN = 8000, 500, 200
_QUESTION_BYTES, _DATABASE_BYTES = 192, 2048


@functools.cache
def grammar() -> Automaton:
    """Return the automaton of the queries: one SELECT with types, an aggregate where it is grouped by, two conditions.

    Columns of numbers are compared with numbers, those of text equated with text; what is grouped by is selected.
    """

    def follow(state: Any) -> dict[str, Any]:
        match state:
            case ("from",):
                return dict.fromkeys((*TABLES, "JOIN"), ("select",))
            case ("select",):
                return {
                    "COUNT(*)": ("rest", "aggregate"),
                    **dict.fromkeys(FUNCTIONS, ("of", "aggregate")),
                    **dict.fromkeys(NUMBERS, ("second", "")),
                    **{column: ("second", column) for column in TEXTS},
                }
            case ("of", how):
                return dict.fromkeys(NUMBERS, ("rest", how))
            case ("second", column):
                grouped = {"COUNT(*)": ("rest", column), **dict.fromkeys(FUNCTIONS, ("of", column))}
                return {
                    **(grouped if column else {}),
                    **dict.fromkeys((*NUMBERS, *TEXTS), ("rest", "")),
                    **follow(("rest", "")),
                }
            case ("rest", how):
                return {"WHERE": ("column", how, 2), **follow(("tail", how))}
            case ("tail", how):
                if how in TEXTS:
                    return {"GROUP BY": ("group", how)}
                return {"END": "done", **({} if how else {"ORDER BY": ("order",)})}
            case ("group", column):
                return {column: ("end",)}
            case ("column", how, left):
                return {
                    **dict.fromkeys(NUMBERS, ("compare", how, left)),
                    **dict.fromkeys(TEXTS, ("equals", how, left)),
                }
            case ("compare", how, left):
                return {**dict.fromkeys("=<>", ("value", how, left, 1)), "BETWEEN": ("value", how, left, 2)}
            case ("value", how, left, count):
                after = ("value", how, left, 1) if count == 2 else ("compared", how, left - 1)
                return dict.fromkeys(NUMBER_VALUES, after)
            case ("equals", how, left):
                return {"=": ("text", how, left)}
            case ("text", how, left):
                return dict.fromkeys(TEXT_VALUES, ("compared", how, left - 1))
            case ("compared", how, left):
                return {**({"AND": ("column", how, left)} if left else {}), **follow(("tail", how))}
            case ("order",):
                return dict.fromkeys((*NUMBERS, *TEXTS), ("way",))
            case ("way",):
                return dict.fromkeys(("ASC", "DESC"), ("limit",))
            case ("limit",):
                return {"LIMIT": ("most",), "END": "done"}
            case ("most",):
                return dict.fromkeys((*NUMBER_VALUES, "1"), ("end",))
            case ("end",):
                return {"END": "done"}
        return {}

    def numbered(state: Any) -> dict[int, Any]:
        return {TOKENS.index(name): after for name, after in follow(state).items()}

    return automaton({"": ("from",)}, numbered, len(TOKENS))


def features_of(question: str, script: str) -> np.ndarray:
    """Return what the network is given, ``[words + slots, features]``, for a question and a script of its database."""
    connection = language.opened(script)
    try:
        schema = language.Schema(connection)
    finally:
        connection.close()
    known = {word: place for place, word in enumerate(vocabulary())}
    made: np.ndarray = language.features(language.Question(question, schema), schema, known, LONGEST_QUESTION)
    return made


def shape() -> tuple[int, int]:
    """Return the shape of the features of one question."""
    return LONGEST_QUESTION + len(language.SLOTS), language.feature_count(vocabulary())


def _make() -> dict[str, np.ndarray]:
    arrays = {}
    for part, seed, count in (("train", 0, _TRAIN), ("test", 1, _TEST)):
        random = np.random.default_rng(seed)
        every = [drawn(random, part) for _ in range(count)]
        arrays[f"{part}_features"] = np.stack(
            [np.packbits(features_of(question, script) > 0) for question, script, _, _ in every]
        )
        programs = [[*(TOKENS.index(name) for name in names), END] for _, _, names, _ in every]
        arrays[f"{part}_programs"] = padded(programs, LONGEST_PROGRAM + 1, PADDING)
        kept = every if part == "test" else every[:_DEPLOYED_TRAIN]
        lengths = {"question": _QUESTION_BYTES, "database": _DATABASE_BYTES, "answer": ANSWER_BYTES}
        for name, place in (("question", 0), ("database", 1), ("answer", 3)):
            texts = [str(one[place]) for one in kept]
            assert max(len(text.encode()) for text in texts) <= lengths[name]
            arrays[f"{part}_{name}"] = np.stack([language.bytes_of(text, lengths[name]) for text in texts])
    return arrays


@functools.cache
def _arrays() -> Any:
    return made_once("sql-questions-v1", _make)


@functools.cache
def sql_programs() -> Task:
    """Return the teacher-forced task: ``command`` (features) and ``actions_in`` one-hot, programs as labels."""
    arrays = _arrays()

    def dataset(part: str) -> Dataset:
        programs = arrays[f"{part}_programs"]
        size = shape()
        bits = np.unpackbits(arrays[f"{part}_features"], axis=1, count=size[0] * size[1])
        return Dataset(
            {
                "command": bits.reshape(-1, *size).astype(np.float32),
                "actions_in": one_hot(given_before(programs, END), len(TOKENS)),
            },
            programs,
        )

    return Task("sql", dataset("train"), dataset("test"), PaddedCrossEntropy(), TOKEN_ACCURACY)


def sql_questions() -> Task:
    """Return the task as a device has it: ``question`` and ``database`` (bytes of text) to the answer's bytes."""
    arrays = _arrays()

    def dataset(part: str) -> Dataset:
        return Dataset({name: arrays[f"{part}_{name}"] for name in ("question", "database")}, arrays[f"{part}_answer"])

    return Task("sql-questions", dataset("train"), dataset("test"), None, EXECUTION_MATCH)


def wanted_programs() -> np.ndarray:
    """Return the test questions' queries ``[samples, slots]``, -1 for padding."""
    programs = _arrays()["test_programs"]
    return np.asarray(np.where(programs == END, PADDING, programs)[:, :LONGEST_PROGRAM])
