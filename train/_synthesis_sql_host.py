"""What a device does around a transformer that writes SQL: reading, searching, executing. NumPy and sqlite3 alone."""

# Python 3.7, without annotations.
# mypy: ignore-errors

import heapq
import re
import sqlite3

import numpy as np

MASKED = -30.0
TABLES, NUMBERS, TEXTS = ("t0", "t1"), ("n0", "n1", "n2", "n3", "n4", "n5"), ("s0", "s1", "s2", "s3")
NUMBER_VALUES, TEXT_VALUES = ("v0", "v1", "v2"), ("w0", "w1")
FUNCTIONS = ("SUM", "AVG", "MIN", "MAX")
KEYWORDS = (
    *("JOIN", "COUNT(*)", "WHERE", "AND", "=", "<", ">", "BETWEEN"),
    *("GROUP BY", "ORDER BY", "ASC", "DESC", "LIMIT", "1"),
)
# The place is the token. "JOIN" alone is the first table joined with the second along the foreign key.
TOKENS = (*TABLES, *NUMBERS, *TEXTS, *NUMBER_VALUES, *TEXT_VALUES, *FUNCTIONS, *KEYWORDS, "END")
END = len(TOKENS) - 1
SLOTS = (*TABLES, *NUMBERS, *TEXTS)  # of a schema
_VALUES = (*NUMBER_VALUES, *TEXT_VALUES)
_KINDS = ("table", "number", "text")
_WORD = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?|[A-Za-z_]+(?:'s)?")
_SMALL = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LONGEST_VALUE = 3


class Schema(object):
    """What the slots of a database's schema stand for.

    Columns of numbers are ``n0``, ``n1``, ... and those of text ``s0``, ``s1``, ..., in the order of the tables and of
    their columns. A primary or foreign key has no slot.

    ``names``: by slot the name; ``owner``: by column slot the table's slot; ``cells``: by slot of a text column the
    texts in it, in lower case; ``link``: the pair of columns that joins the tables, None without a second table.
    """

    def __init__(self, connection):
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        tables = [name for (name,) in found]
        self.names, self.owner, self.cells, self.link = {}, {}, {}, None
        free = {True: list(TEXTS), False: list(NUMBERS)}
        if not 0 < len(tables) <= len(TABLES):
            raise ValueError(f"Expected a database of 1 or 2 tables. Got: {len(tables)}.")
        for slot, table in zip(TABLES, tables):
            self.names[slot] = table
            foreign = list(connection.execute(f"PRAGMA foreign_key_list({quoted(table)})"))
            for _, _, other, own, theirs, *_ in foreign:
                if other != table:
                    theirs = theirs or primary_key(connection, other)
                    self.link = f"{quoted(table)}.{quoted(own)} = {quoted(other)}.{quoted(theirs)}"
            keys = {row[3] for row in foreign}
            for _, name, kind, _, _, primary in connection.execute(f"PRAGMA table_info({quoted(table)})"):
                if primary or name in keys:
                    continue
                left = free[any(part in kind.upper() for part in ("CHAR", "CLOB", "TEXT"))]  # SQLite's rule
                if not left:
                    raise ValueError(
                        f"Expected up to {len(NUMBERS)} columns of numbers and {len(TEXTS)} of text. "
                        f"Got: one more, {table}.{name}."
                    )
                column = left.pop(0)
                self.names[column], self.owner[column] = name, slot
                if column in TEXTS:
                    texts = connection.execute(f"SELECT {quoted(name)} FROM {quoted(table)}")
                    self.cells[column] = {str(text).lower() for (text,) in texts if text is not None}

    def sql(self, slot):
        """Return how SQL writes a slot."""
        if slot in TABLES:
            return quoted(self.names[slot])
        return f"{quoted(self.names[self.owner[slot]])}.{quoted(self.names[slot])}"


class Question(object):
    """A question's words, what they name in a schema, and the literal values in it.

    ``words``: lower case, one for a whole value; ``links``: for each word the slots it names; ``values``: by value slot
    the number or text; ``holds``: for each word the slots of the text columns that hold the value.
    """

    def __init__(self, text, schema):
        found = [match.group() for match in _WORD.finditer(text)]
        stems = [stem(word) for word in found]
        named = self._named(stems, schema)
        self.words, self.links, self.holds, self.values = [], [], [], {}
        free = {"number": list(NUMBER_VALUES), "text": list(TEXT_VALUES)}
        place = 0
        while place < len(found):
            kind, value, length, columns = self._value(found, place, named, schema)
            slots = named[place]
            if kind and free[kind]:
                slots = [free[kind].pop(0)]
                self.values[slots[0]] = value
            self.words.append(" ".join(found[place : place + length]).lower())
            self.links.append(slots)
            self.holds.append(columns)
            place += length

    def _named(self, stems, schema):
        """Return for each word the slots whose names it is part of; a longer name hides the shorter in it."""
        longest, named = [0] * len(stems), [[] for _ in stems]
        for slot in SLOTS:
            if slot not in schema.names:
                continue
            name = [stem(word) for word in schema.names[slot].lower().split("_")]
            for start in range(len(stems) - len(name) + 1):
                if stems[start : start + len(name)] != name:
                    continue
                for place in range(start, start + len(name)):
                    if len(name) > longest[place]:
                        longest[place], named[place] = len(name), []
                    if len(name) == longest[place] and slot not in named[place]:
                        named[place].append(slot)
        return named

    @staticmethod
    def _value(found, place, named, schema):
        """Return (kind, value, words, columns that hold it) of the value that begins at a place; kind None for none."""
        word = found[place]
        if word[0] in "'\"":
            columns = [slot for slot, cells in schema.cells.items() if word[1:-1].lower() in cells]
            return "text", word[1:-1], 1, columns
        if word[0].isdigit():
            return "number", float(word) if "." in word else int(word), 1, []
        if word.lower() in _SMALL:
            return "number", _SMALL.index(word.lower()) + 2, 1, []
        for length in range(min(_LONGEST_VALUE, len(found) - place), 0, -1):
            text = " ".join(found[place : place + length])
            columns = [slot for slot, cells in schema.cells.items() if text.lower() in cells]
            if columns and not any(named[place : place + length]):
                return "text", text, length, columns
        return None, None, 1, []


def stem(word):
    """Return a word in lower case without what makes it a plural or a genitive: "Cities" is "city"."""
    word = word.lower()
    if word.endswith("'s"):
        word = word[:-2]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def primary_key(connection, table):
    """Return the name of a table's primary key, "rowid" where it has none."""
    columns = connection.execute(f"PRAGMA table_info({quoted(table)})")
    return next((row[1] for row in columns if row[5]), "rowid")


def quoted(name):
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def feature_count(vocabulary):
    """Return how many features a word or a slot of the schema has."""
    return len(vocabulary) + 1 + len(_KINDS) + len(SLOTS) + len(_VALUES) + len(TEXTS) + len(TABLES)


def features(question, schema, vocabulary, length):
    """Return [length + slots of a schema, features] float32: the question's words, then the schema's slots.

    A word's are: which of the vocabulary it is (or another one), the slots that it names, the tables of these, which
    value it is, the columns that hold the value. A slot's are: its kind, itself, its table.
    """
    if not 0 < len(question.words) <= length:
        raise ValueError(f"Expected a question of 1 to {length} words and values. Got: {len(question.words)}.")
    other = len(vocabulary)
    kind = other + 1
    slot = kind + len(_KINDS)
    value = slot + len(SLOTS)
    hold = value + len(_VALUES)
    owner = hold + len(TEXTS)
    rows = np.zeros((length + len(SLOTS), feature_count(vocabulary)), np.float32)
    for row, word, links, columns in zip(rows, question.words, question.links, question.holds):
        if not any(link in _VALUES for link in links):
            row[vocabulary.get(word, other)] = 1
        for link in links:
            row[value + _VALUES.index(link) if link in _VALUES else slot + SLOTS.index(link)] = 1
            if link in schema.owner:
                row[owner + TABLES.index(schema.owner[link])] = 1
        for column in columns:
            row[hold + TEXTS.index(column)] = 1
    for place, name in enumerate(SLOTS):
        if name in schema.names:
            row = rows[length + place]
            row[kind + _KINDS.index({"t": "table", "n": "number", "s": "text"}[name[0]])] = 1
            row[slot + place] = 1
            if name in schema.owner:
                row[owner + TABLES.index(schema.owner[name])] = 1
    return rows


def query(names, schema, values):
    """Return the SQL that the tokens' names mean, with the parameters that its question marks stand for.

    >>> class Singers(object):
    ...     names, link = {"t0": "singer"}, None
    ...
    ...     def sql(self, slot):
    ...         return {"t0": "singer", "n0": "age", "s0": "name"}[slot]
    >>> query(["t0", "s0", "WHERE", "n0", ">", "v0"], Singers(), {"v0": 30})
    ('SELECT name FROM singer WHERE age > ?', [30])
    """
    names = list(names)
    table = schema.sql(names[0]) if names[0] in TABLES else None
    if table is None:
        if schema.link is None:
            raise ValueError("Expected a foreign key between two tables to join along. Got: none.")
        table = f"{schema.sql('t0')} JOIN {schema.sql('t1')} ON {schema.link}"
    heads = [place for place, name in enumerate(names) if name in ("WHERE", "GROUP BY", "ORDER BY")]
    end = heads[0] if heads else len(names)
    chosen, place = [], 1
    while place < end:
        if names[place] in FUNCTIONS:
            chosen.append(f"{names[place]}({schema.sql(names[place + 1])})")
            place += 1
        else:
            chosen.append(names[place] if names[place] == "COUNT(*)" else schema.sql(names[place]))
        place += 1
    parts, parameters, between = [], [], False
    for name in names[end:]:
        if name in _VALUES:
            parameters.append(values[name])
            parts.append("? AND" if between else "?")
            between = False
        else:
            parts.append(schema.sql(name) if name in SLOTS else name)
            between = between or name == "BETWEEN"
    return " ".join(["SELECT", ", ".join(chosen), "FROM", table] + parts), parameters


def answer_text(rows, ordered):
    """Return rows as text, one a line; sorted where the query does not order them.

    >>> answer_text([("b", 2.0), ("a", None)], ordered=False)
    'a|NULL\\nb|2'
    """
    lines = ["|".join(_cell(cell) for cell in row) for row in rows]
    return "\n".join(lines if ordered else sorted(lines))


def _cell(cell):
    if cell is None:
        return "NULL"
    return f"{cell:.6g}" if isinstance(cell, (int, float)) else str(cell)


def opened(script):
    """Return a database in memory that a script of SQL makes, which reaches no file of the device."""
    connection = sqlite3.connect(":memory:")
    connection.set_authorizer(_in_memory)
    try:
        connection.executescript(script)
    except sqlite3.Error as error:
        raise ValueError(f"Expected a script of SQL that makes the database. Got: {error}.") from error
    return connection


def _in_memory(action, *_):
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def text_of(array):
    """Return the text of an array of UTF-8 bytes that zeros fill up."""
    try:
        return bytes(np.asarray(array, np.uint8)).rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected text in UTF-8. Got: {error}.") from error


def bytes_of(text, length):
    """Return text as [length] uint8, filled up with zeros, and cut where it is longer."""
    kept = text.encode("utf-8")[:length]
    return np.frombuffer(kept + b"\0" * (length - len(kept)), np.uint8)


class Host(object):
    """Answers a question about a database: queries in the order of their probability, until one executes.

    Settings: ``vocabulary`` (the words that the network knows), ``words`` (of the longest question), ``table`` (the
    grammar's automaton: by state and token the next state, or -1), ``start`` (its first state), ``tokens_out``,
    ``units`` (of keys and values, for each decoder layer), ``steps`` (how often ``step`` is called before the search
    gives up) and ``answer`` (bytes of the longest answer).
    """

    def __init__(self, graphs, settings):
        self.graphs = graphs
        self.settings = settings
        self.vocabulary = {word: place for place, word in enumerate(settings["vocabulary"])}
        self.table = np.array(settings["table"])
        self.slots = settings["tokens_out"] - 1

    def run(self, sample):
        """Return ``answer`` [bytes] uint8, its rows as text; empty where no query was found.

        And ``query`` [bytes] uint8, the SQL; ``program`` [slots], its tokens, -1 for padding; ``tried`` [1], how many
        queries were executed.

        Args:
            sample: ``question`` [bytes] uint8; ``database`` [bytes] uint8, the SQL that makes it; zeros fill both up.
        """
        search = self.search(sample)
        name, fed = next(search)
        while True:
            try:
                name, fed = search.send(self.graphs[name](fed))
            except StopIteration as end:
                return end.value

    def search(self, sample):
        """Search as a generator: it yields (graph, inputs), is sent their outputs and returns what ``run`` returns."""
        connection = opened(text_of(sample["database"]))
        try:
            answer = yield from self.ask(text_of(sample["question"]), connection)
        finally:
            connection.close()
        return answer

    def ask(self, text, connection):
        """Search for the answer to a question about an open database, prefix by prefix, the likeliest first."""
        schema = Schema(connection)
        question = Question(text, schema)
        told = features(question, schema, self.vocabulary, self.settings["words"])
        memory = yield "encoder", {"command": told[np.newaxis]}
        there = np.array([self.exists(name, schema, question) for name in TOKENS])
        heap, ties, steps, tried = [(0.0, 0, [], self.settings["start"], self.empty())], 0, 0, 0
        while heap:
            lost, _, tokens, state, cache = heapq.heappop(heap)
            if tokens and tokens[-1] == END:
                tried += 1
                try:
                    sql, parameters = query([TOKENS[token] for token in tokens[:-1]], schema, question.values)
                    rows = connection.execute(sql, parameters).fetchall()
                except (sqlite3.Error, ValueError):
                    continue
                return self.answer(rows, sql, tokens[:-1], tried)
            allowed = np.flatnonzero((self.table[state] >= 0) & there)
            if not len(allowed) or steps == self.settings["steps"]:
                continue
            steps += 1
            step = yield "step", self.fed(tokens, cache, memory)
            cache = self.grown(cache, step, len(tokens))
            logits = step["logits"][0, 0][allowed].astype(np.float64)
            logits -= logits.max()
            for token, surprise in zip(allowed.tolist(), (np.log(np.exp(logits).sum()) - logits).tolist()):
                ties += 1
                after = int(self.table[state, token])
                heapq.heappush(heap, (lost + surprise, ties, tokens + [token], after, cache))
        return self.answer([], "", [], tried)

    def answer(self, rows, sql, tokens, tried):
        """Return the arrays that ``run`` returns."""
        program = np.full(self.slots, -1, np.int32)
        program[: len(tokens)] = tokens
        length = self.settings["answer"]
        return {
            "answer": bytes_of(answer_text(rows, "ORDER BY" in sql), length),
            "query": bytes_of(sql, length),
            "program": program,
            "tried": np.array([tried], np.int32),
        }

    @staticmethod
    def exists(name, schema, question):
        """Say whether a token can be written: its slot is one of the schema's or of the question's values."""
        if name in SLOTS:
            return name in schema.names
        return name not in _VALUES or name in question.values

    def empty(self):
        """Return a cache that holds nothing."""
        cache = {}
        for number, (keys, values) in enumerate(self.settings["units"], start=1):
            cache[f"keys_{number}"] = np.zeros((1, self.slots, keys), np.float32)
            cache[f"values_{number}"] = np.zeros((1, self.slots, values), np.float32)
        return cache

    def fed(self, tokens, cache, memory):
        """Return the step's inputs after the tokens."""
        place = len(tokens)
        mask = np.full((1, 1, self.slots + 1), MASKED, np.float32)
        mask[:, :, :place] = 0
        mask[:, :, -1] = 0
        fed = dict(cache, mask=mask)
        fed["token"] = one_hot(tokens[-1] if tokens else END, len(TOKENS))
        fed["position"] = one_hot(place, self.slots + 1)
        fed.update(memory)
        return fed

    def grown(self, cache, step, place):
        """Return the cache with the step's rows at a place."""
        if place >= self.slots:
            return cache
        grown = {}
        for name, array in cache.items():
            kind, number = name.split("_")
            grown[name] = array.copy()
            grown[name][:, place] = step[f"{kind[:-1]}_{number}"][:, 0]
        return grown


def one_hot(place, kinds):
    """Return [1, 1, kinds] float32."""
    return (np.arange(kinds) == place).astype(np.float32)[np.newaxis, np.newaxis]
