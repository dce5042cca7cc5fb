"""Questions about a database in several phrasings, each with the query that it means."""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._synthesis_sql_host import Question, Schema, answer_text, opened, query
from ._synthesis_sql_schemas import Database, Table, database

LONGEST_QUESTION = 32
# {n}: the rows asked about in the plural, {o}: one of them or of the other table's, {c}: columns, {b}: another column,
# {f}: a function, {g}: the column grouped by, {k}: how many, {m}: highest or lowest, {v}, {w}: values.
_LISTS = (
    "List the {c} of all {n}",
    "Show the {c} of the {n}",
    "What are the {c} of the {n}?",
    "Give me the {c} of every {o}",
    "Find the {c} for each of the {n}",
    "Return {c} of {n}",
    "I want to see the {c} of the {n}",
    "Which {c} do the {n} have?",
    "For all {n}, display the {c}",
)
_COUNTS = (
    "How many {n} are there?",
    "Count the {n}",
    "What is the number of {n}?",
    "Tell me how many {n} exist",
    "Give the number of all {n}",
)
_TOTALS = (
    "What is the {f} {c} of the {n}?",
    "Find the {f} {c} of all {n}",
    "Compute the {f} {c} over all {n}",
    "Give me the {f} {c} among the {n}",
    "For the {n}, what is the {f} {c}?",
    "Show the {f} {c} of {n}",
)
_NAMES = {
    "SUM": ("total", "summed", "combined", "sum of the"),
    "AVG": ("average", "mean"),
    "MIN": ("minimum", "lowest", "smallest", "least"),
    "MAX": ("maximum", "highest", "largest", "greatest"),
}
_MOST = {"DESC": ("highest", "largest", "greatest", "maximum"), "ASC": ("lowest", "smallest", "least", "minimum")}
_FIRST = (
    "What is the {c} of the {o} with the {m} {b}?",
    "Show the {c} of the {o} that has the {m} {b}",
    "Which {c} belongs to the {o} with the {m} {b}?",
    "Find the {o} with the {m} {b} and give its {c}",
)
_FEW = (
    "List the {c} of the {k} {n} with the {m} {b}",
    "What are the {c} of the {k} {n} that have the {m} {b}?",
    "Find the {k} {n} with the {m} {b} and show their {c}",
)
_ORDERED = {
    "ASC": (
        "List the {c} of all {n} in ascending order of {b}",
        "Show the {c} of the {n} sorted by {b} from low to high",
        "Give the {c} of the {n} ordered by increasing {b}",
        "Order the {n} by {b} and show their {c}",
    ),
    "DESC": (
        "List the {c} of all {n} in descending order of {b}",
        "Show the {c} of the {n} sorted by {b} from high to low",
        "Give the {c} of the {n} ordered by decreasing {b}",
        "Order the {n} by {b} in reverse and show their {c}",
    ),
}
_GROUPED_COUNTS = (
    "How many {n} are there for each {g}?",
    "Count the {n} per {g}",
    "For each {g}, count the {n}",
    "Show every {g} with its number of {n}",
    "Group the {n} by {g} and count them",
)
_GROUPED_TOTALS = (
    "What is the {f} {c} of the {n} for each {g}?",
    "Find the {f} {c} of {n} per {g}",
    "For every {g}, show the {f} {c} of the {n}",
    "Group the {n} by {g} and give the {f} {c}",
    "Show each {g} with the {f} {c} of its {n}",
)
_COMPARED = {
    "<": ("below {v}", "less than {v}", "under {v}", "smaller than {v}", "lower than {v}"),
    ">": ("above {v}", "more than {v}", "over {v}", "greater than {v}", "larger than {v}", "exceeding {v}"),
    "=": ("exactly {v}", "equal to {v}", "{v}"),
    "BETWEEN": ("between {v} and {w}", "from {v} to {w}", "in the range {v} to {w}"),
}
_CONDITIONS = (
    "whose {b} is {v}",
    "where the {b} is {v}",
    "with a {b} of {v}",
    "with {b} {v}",
    "that have a {b} {v}",
    "having {b} {v}",
)
_OF_OTHER = ("whose {o} has a {b} {v}", "where the {b} of the {o} is {v}", "whose {o}'s {b} is {v}")
_LINKED = ("with a {o} whose {b} is {v}", "that have a {o} with {b} {v}", "belonging to a {o} with a {b} {v}")
_WHERE_FROM = "from {v}"
_AND = "and {b} {v}"
_PAIRS = (
    "List the {c} of each {n} together with the {b} of its {o}",
    "Show the {c} of every {n} and the {b} of its {o}",
    "For each {n}, give its {c} and the {b} of the {o}",
)
_JOINS = ("and", "and the", "as well as the")


def vocabulary() -> tuple[str, ...]:
    """Return the words of all phrasings: those that the network knows.

    >>> "average" in vocabulary() and "singer" not in vocabulary()
    True
    """
    tables = (_NAMES, _MOST, _ORDERED, _COMPARED)
    phrasings = [_WHERE_FROM, _AND, *_LISTS, *_COUNTS, *_TOTALS, *_FIRST, *_FEW, *_GROUPED_COUNTS, *_GROUPED_TOTALS]
    phrasings += [*_CONDITIONS, *_OF_OTHER, *_LINKED, *_PAIRS, *_JOINS]
    phrasings += [phrase for table in tables for phrases in table.values() for phrase in phrases]
    return tuple(sorted({word.lower() for phrase in phrasings for word in re.findall(r"(?<!{)\b[A-Za-z]+\b", phrase)}))


class _Unclear(Exception):
    """A draw that gives no question with one meaning."""


def drawn(random: np.random.Generator, part: str) -> tuple[str, str, list[str], str]:
    """Return a question, the script of its database, the tokens' names of the query that it means, and the answer.

    Args:
        random: what draws.
        part: "train" or "test": which words the database is made of.
    """
    while True:
        data = database(random, part)
        connection = opened(data.script)
        try:
            question, names = _Writer(data, Schema(connection), random).question()
            answer = _answer(connection, question, names)
        except _Unclear:
            continue
        finally:
            connection.close()
        return question, data.script, names, answer


def _answer(connection: sqlite3.Connection, question: str, names: list[str]) -> str:
    schema = Schema(connection)
    read = Question(question, schema)
    if len(read.words) > LONGEST_QUESTION:
        raise _Unclear
    sql, parameters = query(names, schema, read.values)
    rows = connection.execute(sql, parameters).fetchall()
    if not rows or any(cell is None for row in rows for cell in row) or rows == [(0,)]:
        raise _Unclear
    return str(answer_text(rows, "ORDER BY" in sql))


class _Writer:
    """Writes a question and its query side by side.

    Args:
        data: what it is about.
        schema: the same as slots.
        random: what draws.
    """

    def __init__(self, data: Database, schema: Any, random: np.random.Generator) -> None:
        self.data, self.schema, self.random = data, schema, random
        self.place = int(random.integers(2))
        self.own, self.other = data.tables[self.place], data.tables[1 - self.place]
        self.joined = False

    def question(self) -> tuple[str, list[str]]:
        """Return the question and the tokens' names."""
        forms = {
            self.listed: 4,
            self.count: 2,
            self.total: 4,
            self.first: 2,
            self.few: 2,
            self.ordered: 2,
            self.grouped_count: 2,
            self.grouped_total: 2,
            self.pair: 2,
        }
        shares = np.array(list(forms.values())) / sum(forms.values())
        phrase, words, selected, tail = list(forms)[int(self.random.choice(len(forms), p=shares))]()
        condition, tested = self.conditions(tail)
        noun = " ".join([self.own.name, condition]).strip()
        nouns = " ".join([plural(self.own.name), condition]).strip()
        text = phrase.format(n=nouns, o=noun, **words)
        found = Question(text, self.schema).values
        start = "JOIN" if self.joined else f"t{self.place}"
        return text, [start, *selected, *self.bound([*tested, *tail], found)]

    def bound(self, names: Sequence[Any], found: Mapping[str, Any]) -> list[str]:
        """Return the names with each value, a tuple of one, as the slot that the question's reading gives it."""
        made = []
        for name in names:
            if isinstance(name, tuple):
                slots = [slot for slot, value in found.items() if value == name[0]]
                if len(slots) != 1:
                    raise _Unclear
                made.append(slots[0])
            else:
                made.append(name)
        return made

    def listed(self) -> Any:
        columns = self.columns(1 + self.chance(0.4))
        return self.pick(_LISTS), {"c": self.told(columns)}, self.slots(columns), []

    def count(self) -> Any:
        return self.pick(_COUNTS), {}, ["COUNT(*)"], []

    def total(self) -> Any:
        function, column = self.function(), self.pick(self.own.numbers)
        words = {"f": self.pick(_NAMES[function]), "c": spoken(column)}
        return self.pick(_TOTALS), words, [function, self.slot(column)], []

    def first(self) -> Any:
        columns, (order, way) = self.columns(1), self.order()
        words = {"c": self.told(columns), "b": spoken(order), "m": self.pick(_MOST[way])}
        return self.pick(_FIRST), words, self.slots(columns), ["ORDER BY", self.slot(order), way, "LIMIT", "1"]

    def few(self) -> Any:
        columns, (order, way) = self.columns(1 + self.chance(0.3)), self.order()
        count = int(self.random.integers(2, 6))
        words = {"c": self.told(columns), "b": spoken(order), "m": self.pick(_MOST[way])}
        words["k"] = self.pick((str(count), ("two", "three", "four", "five")[count - 2]))
        return self.pick(_FEW), words, self.slots(columns), ["ORDER BY", self.slot(order), way, "LIMIT", (count,)]

    def ordered(self) -> Any:
        columns, (order, way) = self.columns(1 + self.chance(0.3)), self.order()
        words = {"c": self.told(columns), "b": spoken(order)}
        return self.pick(_ORDERED[way]), words, self.slots(columns), ["ORDER BY", self.slot(order), way]

    def grouped_count(self) -> Any:
        group = self.pick(self.own.texts)
        slot = self.slot(group)
        return self.pick(_GROUPED_COUNTS), {"g": spoken(group)}, [slot, "COUNT(*)"], ["GROUP BY", slot]

    def grouped_total(self) -> Any:
        group, function, column = self.pick(self.own.texts), self.function(), self.pick(self.own.numbers)
        slot = self.slot(group)
        words = {"g": spoken(group), "f": self.pick(_NAMES[function]), "c": spoken(column)}
        return self.pick(_GROUPED_TOTALS), words, [slot, function, self.slot(column)], ["GROUP BY", slot]

    def pair(self) -> Any:
        if self.place != self.data.child:
            raise _Unclear
        self.joined = True
        (column,), other = self.columns(1), self.pick((*self.other.numbers, *self.other.texts))
        phrase = self.pick(_PAIRS).replace("{n}", self.own.name).replace("{o}", self.other.name)
        slots = [self.slot(column), self.slot(other, self.other)]
        return phrase, {"c": spoken(column), "b": spoken(other)}, slots, []

    def conditions(self, tail: Sequence[Any]) -> tuple[str, list[Any]]:
        """Return what narrows the rows down, as text and as tokens' names; often nothing."""
        if self.joined or not self.chance(0.3 if tail else 0.75):
            return "", []
        if not tail and self.chance(0.4):
            return self.of_other()
        column, phrase, tested = self.compared(self.own)
        cells = [cells for cells in self.schema.cells.values() if str(phrase).lower() in cells]
        if column in self.own.texts and len(cells) == 1 and self.chance(0.3):
            text = _WHERE_FROM.format(v=phrase)
        else:
            text = self.pick(_CONDITIONS).format(b=spoken(column), v=phrase)
        if not self.chance(0.25):
            return text, ["WHERE", *tested]
        second, phrase, again = self.compared(self.own)
        if second == column:
            raise _Unclear
        return f"{text} {_AND.format(b=spoken(second), v=phrase)}", ["WHERE", *tested, "AND", *again]

    def of_other(self) -> tuple[str, list[Any]]:
        """Return a condition on the other table's rows."""
        self.joined = True
        column, phrase, tested = self.compared(self.other)
        phrases = _OF_OTHER if self.place == self.data.child else _LINKED
        return self.pick(phrases).format(o=self.other.name, b=spoken(column), v=phrase), ["WHERE", *tested]

    def compared(self, table: Table) -> tuple[str, str, list[Any]]:
        """Return (column, phrase with its values, tokens' names) of a comparison in a table."""
        column = self.pick((*table.numbers, *table.texts))
        slot, cells = self.slot(column, table), table.rows[column]
        if column in table.texts:
            value = self.pick(cells)
            return column, value, [slot, "=", (value,)]
        sign = self.pick(("=", "<", ">", "<", ">", "BETWEEN"))
        low, high = sorted((self.pick(cells), self.pick(cells)))
        phrase = self.pick(_COMPARED[sign])
        if sign == "BETWEEN":
            return column, phrase.format(v=low, w=high), [slot, sign, (low,), (high,)]
        return column, phrase.format(v=low), [slot, sign, (low,)]

    def columns(self, count: int) -> list[str]:
        every = [*self.own.numbers, *self.own.texts]
        return [every[place] for place in self.random.permutation(len(every))[:count]]

    def slot(self, column: str, table: Table | None = None) -> str:
        table = table or self.own
        owner = f"t{self.data.tables.index(table)}"
        return next(
            slot for slot, name in self.schema.names.items() if (name, self.schema.owner.get(slot)) == (column, owner)
        )

    def slots(self, columns: Sequence[str]) -> list[str]:
        return [self.slot(column) for column in columns]

    def told(self, columns: Sequence[str]) -> str:
        return f" {self.pick(_JOINS)} ".join(map(spoken, columns))

    def order(self) -> tuple[str, str]:
        return self.pick(self.own.numbers), self.pick(("ASC", "DESC"))

    def function(self) -> str:
        return str(self.pick(("SUM", "AVG", "MIN", "MAX")))

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)


def spoken(column: str) -> str:
    """Return a column's name as a question has it.

    >>> spoken("birth_year")
    'birth year'
    """
    return column.replace("_", " ")


def plural(noun: str) -> str:
    """Return a table's name in the plural.

    >>> [plural(noun) for noun in ("singer", "city", "coach")]
    ['singers', 'cities', 'coaches']
    """
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("ch", "sh", "x", "ss")) else f"{noun}s"
