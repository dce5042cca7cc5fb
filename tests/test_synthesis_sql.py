"""SQL from questions: reading a database and a question, the grammar of queries, and their execution."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.hosting import KerasGraph
from edgewright.train import _synthesis_sql as sql
from edgewright.train import _synthesis_sql_host as sqlite
from edgewright.train import _synthesis_sql_schemas as schemas
from edgewright.train import program_synthesis
from edgewright.train._checkpoints import load, shipped
from edgewright.train._synthesis_grammar import FORBIDDEN
from edgewright.train._synthesis_search import together
from edgewright.train._synthesis_sequences import PADDING, given_before, one_hot
from edgewright.train._synthesis_sql_questions import drawn, vocabulary
from edgewright.train._synthesis_transformer import encoder_graph, step_graph

SINGERS = """
CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, home_town TEXT, age INTEGER, fee REAL, town TEXT);
INSERT INTO singer VALUES (1, 'Old Pavia', 30, 2.5, 'Elba'), (2, 'Elba', 40, 7.5, 'Elba'), (3, 'Elba', 25, 5.0, 'Tarn');
CREATE TABLE concert (concert_id INTEGER PRIMARY KEY, year INTEGER, singer_id INTEGER REFERENCES singer(singer_id));
INSERT INTO concert VALUES (1, 2001, 2), (2, 2005, 3), (3, 2009, 2);
"""


@pytest.fixture
def singers():
    """A database of singers and their concerts: t0 s0 n0 n1 s1, t1 n2."""
    connection = sqlite.opened(SINGERS)
    yield connection
    connection.close()


def test_a_schema_is_read_as_slots(singers):
    """Columns have slots by their type in the order of the database; keys have none, and join the tables."""
    schema = sqlite.Schema(singers)
    assert schema.names == {
        **{"t0": "singer", "s0": "home_town", "n0": "age", "n1": "fee", "s1": "town"},
        **{"t1": "concert", "n2": "year"},
    }
    assert schema.owner["n1"] == "t0" and schema.owner["n2"] == "t1"
    assert schema.cells["s0"] == {"old pavia", "elba"}
    assert schema.link == '"concert"."singer_id" = "singer"."singer_id"'


def test_a_foreign_key_may_leave_the_column_out():
    """A key that names a table alone means its primary key; one to its own table joins nothing; VARCHAR is text."""
    script = "CREATE TABLE a (i INTEGER PRIMARY KEY, up INT REFERENCES a, v VARCHAR(9));"
    script += "CREATE TABLE b (n INT, i REFERENCES a);"
    schema = sqlite.Schema(sqlite.opened(script))
    assert schema.link == '"b"."i" = "a"."i"' and schema.names == {"t0": "a", "s0": "v", "t1": "b", "n0": "n"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("CREATE TABLE", "script of SQL.*incomplete"),
        ("", "1 or 2 tables. Got: 0"),
        ("CREATE TABLE a (i INT); CREATE TABLE b (i INT); CREATE TABLE c (i INT);", "Got: 3"),
        ("CREATE TABLE a (p TEXT, q TEXT, r TEXT, s TEXT, t TEXT);", "6 columns of numbers and 4 of text.*a.t"),
    ],
)
def test_a_database_that_is_no_task_is_refused(script, message):
    """Broken SQL, and tables or columns without a slot, are errors that say what came."""
    with pytest.raises(ValueError, match=message):
        sqlite.Schema(sqlite.opened(script))


@pytest.mark.parametrize(
    ("question", "links", "values"),
    [
        ("Singers whose ages are over 30", [["t0"], [], ["n0"], [], [], ["v0"]], {"v0": 30}),
        ("the home towns and towns", [[], ["s0"], ["s0"], [], ["s1"]], {}),
        ("singers from Old Pavia", [["t0"], [], ["w0"]], {"w0": "Old Pavia"}),
        ("a fee of 2.5 or 'Nowhere at all'", [[], ["n1"], [], ["v0"], [], ["w0"]], {"v0": 2.5, "w0": "Nowhere at all"}),
        ("the three concerts", [[], ["v0"], ["t1"]], {"v0": 3}),
    ],
)
def test_a_question_is_linked_to_the_schema(singers, question, links, values):
    """Names are found in any number and over several words, the longest first; values are numbers, cells and quotes."""
    read = sqlite.Question(question, sqlite.Schema(singers))
    assert read.links == links and read.values == values


def test_a_cell_is_linked_to_its_columns(singers):
    """A value that columns hold is told with these columns."""
    read = sqlite.Question("from Elba or Tarn", sqlite.Schema(singers))
    assert read.holds == [[], ["s0", "s1"], [], ["s1"]]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("t0 s0 n0", [("Elba", 25), ("Elba", 40), ("Old Pavia", 30)]),
        ("t0 COUNT(*)", [(3,)]),
        ("t0 COUNT(*) WHERE s0 = w0", [(2,)]),
        ("t0 n0 WHERE n0 BETWEEN v0 v1 AND s0 = w0", [(25,)]),
        ("t0 n1 ORDER BY n0 DESC LIMIT v0", [(7.5,), (2.5,)]),
        ("t0 s0 ORDER BY n0 ASC LIMIT 1", [("Elba",)]),
        ("t0 s0 AVG n0 GROUP BY s0", [("Elba", 32.5), ("Old Pavia", 30.0)]),
        ("JOIN s0 n2 WHERE n2 > v2", [("Elba", 2005), ("Elba", 2009)]),
        ("JOIN SUM n0 WHERE n2 < v2", [(40,)]),
    ],
)
def test_programs_mean_what_their_sql_says(singers, program, expected):
    """Each form of query, executed on a small database, gives the rows counted by hand."""
    names = program.replace("GROUP BY", "GROUP_BY").replace("ORDER BY", "ORDER_BY").split()
    values = {"v0": 2, "v1": 35, "v2": 2003, "w0": "Elba"}
    told, parameters = sqlite.query([name.replace("_BY", " BY") for name in names], sqlite.Schema(singers), values)
    rows = singers.execute(told, parameters).fetchall()
    assert (rows if "ORDER" in program else sorted(rows)) == expected


def _sql_tokens(program):
    names = program.replace("GROUP BY", "GROUP_BY").replace("ORDER BY", "ORDER_BY").split()
    return [sqlite.TOKENS.index(name.replace("_BY", " BY")) for name in names]


@pytest.mark.parametrize(
    "program",
    [
        *("t0 s0 WHERE s0 > v0 END", "t0 s0 WHERE n0 = w0 END", "t0 AVG s0 END", "t0 s0 COUNT(*) END", "t0 END"),
        *("t0 s0 COUNT(*) GROUP BY s1 END", "t0 COUNT(*) ORDER BY n0 ASC END", "t0 s0 ORDER BY n0 LIMIT v0 END"),
        *("t0 n0 COUNT(*) GROUP BY n0 END", "t0 s0 WHERE n0 BETWEEN v0 END", "s0 t0 END", "t0 s0"),
    ],
)
def test_the_sql_grammar_has_types(program):
    """No query compares text in size, averages it, or selects a column it is not grouped by beside an aggregate."""
    assert not sql.grammar().accepts(_sql_tokens(program))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_program_of_the_grammar_is_sql(seed):
    """A walk through the automaton ends, and sqlite executes it unless a column is not in its tables."""
    random, table = np.random.default_rng(seed), sql.grammar().table
    there = [name not in {"n3", "n4", "n5", "s2", "s3"} for name in sqlite.TOKENS]
    state, tokens = sql.grammar().starts[""], []
    while (table[state] != FORBIDDEN).any():
        tokens.append(int(random.choice(np.flatnonzero((table[state] != FORBIDDEN) & there))))
        state = table[state, tokens[-1]]
    names = [sqlite.TOKENS[token] for token in tokens]
    assert sql.grammar().accepts(tokens) and names[-1] == "END" and len(names) <= sql.LONGEST_PROGRAM + 1
    connection = sqlite.opened(SINGERS)
    schema = sqlite.Schema(connection)
    told, parameters = sqlite.query(names[:-1], schema, {"v0": 1, "v1": 2, "v2": 3, "w0": "a", "w1": "b"})
    outside = names[0] != "JOIN" and any(schema.owner.get(name, names[0]) != names[0] for name in names)
    try:
        connection.execute(told, parameters).fetchall()
        assert not outside
    except sqlite.sqlite3.OperationalError as error:
        assert outside and "no such column" in str(error)
    connection.close()


def test_answers_are_text_of_their_rows():
    """Rows are sorted where no order was asked for; numbers have six digits, whole ones no point."""
    assert sqlite.answer_text([(2, "b"), (1 / 3, None)], ordered=True) == "2|b\n0.333333|NULL"
    assert sqlite.answer_text([(2.0, "b"), (10, "a")], ordered=False) == "10|a\n2|b"
    assert sqlite.text_of(sqlite.bytes_of("Zürich", 9)) == "Zürich"


@pytest.fixture(scope="module")
def questions():
    """Questions of either part, with database, query and answer."""
    return {part: [drawn(np.random.default_rng((4, seed)), part) for seed in range(25)] for part in ("train", "test")}


def test_questions_are_drawn_with_their_queries(questions):
    """A draw follows from its seed; its query is one of the grammar and gives its answer again."""
    assert questions["test"][3] == drawn(np.random.default_rng((4, 3)), "test")
    for question, script, names, answer in questions["train"] + questions["test"]:
        assert sql.grammar().accepts([*(sqlite.TOKENS.index(name) for name in names), sqlite.END])
        connection = sqlite.opened(script)
        schema = sqlite.Schema(connection)
        told, parameters = sqlite.query(names, schema, sqlite.Question(question, schema).values)
        rows = connection.execute(told, parameters).fetchall()
        assert sqlite.answer_text(rows, "ORDER BY" in names) == answer
        connection.close()


def test_no_name_of_a_test_database_is_trained():
    """Tables, columns and texts of the two parts have no word in common."""
    for which in ("tables", "numbers", "texts", "cells"):
        train, test = schemas.words(which, "train"), schemas.words(which, "test")
        assert len(test) >= 10 and not set(train) & set(test) and len(set(train)) == len(train)


def test_what_the_network_is_told_holds_no_name(questions):
    """A database and its question with every name replaced by another give the same features."""
    question, script, _, _ = next(one for one in questions["test"] if " WHERE " in f" {' '.join(one[2])} ")
    (table,) = {name for name in schemas.words("tables", "test") if f'"{name}" (' in script and name in question} or {
        ""
    }
    assert table
    renamed = [text.replace(table, "gizmo") for text in (question, script)]
    np.testing.assert_array_equal(sql.features_of(question, script), sql.features_of(*renamed))


def _sql_settings(**changed):
    told = {
        "vocabulary": vocabulary(), "words": 32, "table": sql.grammar().table.tolist(), "tokens_out": 19,
        "start": sql.grammar().starts[""], "units": [[64, 64]] * 2, "steps": 100, "answer": 256, **changed,
    }  # fmt: skip
    return json.loads(json.dumps(told))


def _asked(question, script=SINGERS):
    return {"question": sqlite.bytes_of(question, 400), "database": sqlite.bytes_of(script, 2048)}


def _preferring(*programs):
    """Graphs that like the programs' tokens at their places, the first program's best."""

    def step(fed):
        logits, place = np.zeros((1, 1, len(sqlite.TOKENS)), np.float32), int(fed["position"].argmax())
        for liking, program in enumerate(reversed(programs), start=1):
            tokens = _sql_tokens(program)
            if place < len(tokens):
                logits[..., tokens[place]] = 9 + liking
        rows = {f"{part}_{layer}": np.zeros((1, 1, 64), np.float32) for part in ("key", "value") for layer in (1, 2)}
        return {"logits": logits, **rows}

    return {"encoder": lambda fed: {}, "step": step}


def test_a_query_that_raises_is_passed_over():
    """The likeliest query names a column of the other table; the next one executes and is the answer."""
    graphs = _preferring("t0 MAX n2 END", "t0 MAX n0 END")
    answer = sqlite.Host(graphs, _sql_settings()).run(_asked("How old is the oldest singer?"))
    assert sqlite.text_of(answer["query"]) == 'SELECT MAX("singer"."age") FROM "singer"'
    assert sqlite.text_of(answer["answer"]) == "40" and answer["tried"][0] == 2
    assert [sqlite.TOKENS[token] for token in answer["program"] if token != PADDING] == ["t0", "MAX", "n0"]


def test_a_question_without_a_query_has_an_empty_answer():
    """A search that ends before a query executes answers with nothing."""
    answer = sqlite.Host(_preferring("t0 n0 END"), _sql_settings(steps=2)).run(_asked("How old are the singers?"))
    assert not answer["answer"].any() and not answer["query"].any() and (answer["program"] == PADDING).all()


@pytest.mark.parametrize(("question", "message"), [("?", "1 to 32 words.*Got: 0"), ("age " * 33, "Got: 33")])
def test_the_sql_host_refuses_what_is_no_question(question, message):
    """No word and too many are errors that say how many came."""
    with pytest.raises(ValueError, match=message):
        sqlite.Host({}, _sql_settings()).run(_asked(question))


def test_the_sql_host_refuses_bytes_that_are_no_text():
    """Bytes that are no UTF-8 are an error that says where."""
    with pytest.raises(ValueError, match="text in UTF-8. Got: .*0xff in position 1"):
        sqlite.Host({}, _sql_settings()).run({**_asked("How old?"), "question": np.array([65, 255, 65], np.uint8)})


@pytest.mark.parametrize("script", ["ATTACH '{}' AS a; CREATE TABLE a.t (x)", "VACUUM INTO '{}'"])
def test_a_samples_database_reaches_no_file(script, tmp_path):
    """The SQL of a sample makes tables in memory: it neither opens nor writes files of the device."""
    with pytest.raises(ValueError, match="Expected a script of SQL that makes the database. Got: .*authoriz"):
        sqlite.opened("CREATE TABLE s (age INTEGER);" + script.format(tmp_path / "file"))
    assert not list(tmp_path.iterdir())


def test_the_sql_step_is_teacher_forcing(questions):
    """Fed a query token by token, the deployment graphs give the logits of the whole model."""
    model = program_synthesis.build_sql()
    graphs = {"encoder": KerasGraph("encoder", encoder_graph(model)), "step": KerasGraph("step", step_graph(model))}
    host = sqlite.Host(graphs, _sql_settings())
    question, script, names, _ = questions["test"][0]
    told, tokens = sql.features_of(question, script)[None], [sqlite.TOKENS.index(name) for name in names]
    row = np.full((1, 19), PADDING)
    row[0, : len(tokens)] = tokens
    given = one_hot(given_before(row, sqlite.END), len(sqlite.TOKENS))
    expected = np.array(model({"command": told, "actions_in": given}))[0]
    memory, cache = graphs["encoder"]({"command": told}), host.empty()
    for place in range(len(tokens) + 1):
        made = graphs["step"](host.fed(tokens[:place], cache, memory))
        cache = host.grown(cache, made, place)
        np.testing.assert_allclose(made["logits"][0, 0], expected[place], atol=1e-5)
    assert model.count_params() < 200_000


def test_the_shipped_model_answers_about_databases_it_has_not_seen(questions):
    """Of 25 questions about test databases it answers 23 or more, one by one as all at once."""
    model = load(shipped("program_synthesis", "sql"))
    graphs = {"encoder": encoder_graph(model), "step": step_graph(model)}
    host = sqlite.Host({name: KerasGraph(name, graph) for name, graph in graphs.items()}, _sql_settings())
    asked = [_asked(question, script) for question, script, _, _ in questions["test"]]
    answers = together(graphs, [host.search(sample) for sample in asked])
    right = [
        sqlite.text_of(made["answer"]) == answer
        for made, (_, _, _, answer) in zip(answers, questions["test"], strict=True)
    ]
    assert sum(right) >= 23
    np.testing.assert_array_equal(host.run(asked[0])["query"], answers[0]["query"])
