"""List programs against DeepCoder's paper: the language, its programs, and the search for them."""

import keras
import numpy as np
import pytest

from edgewright.hosting import KerasGraph
from edgewright.train import _synthesis_list as lists
from edgewright.train import _synthesis_list_host as language
from edgewright.train._synthesis_layers import IntegerFeatures
from edgewright.train._synthesis_list_host import Host as ListHost
from edgewright.train._synthesis_search import search, undirected
from edgewright.train._synthesis_sequences import PADDING, given_before, one_hot
from edgewright.train._synthesis_transformer import Lengths, Shape, encoder_graph, step_graph, training_model

SHAPE = Shape(units=8, heads=2, hidden=12, encoder=1, decoder=2)


@pytest.mark.parametrize(
    ("statement", "inputs", "expected"),
    [
        ("HEAD x0", ([3, 1, 2],), 3),
        ("HEAD x0", ([],), None),
        ("LAST x0", ([3, 1, 2],), 2),
        ("TAKE x1 x0", ([3, 1, 2], 2), [3, 1]),
        ("TAKE x1 x0", ([3, 1, 2], 9), [3, 1, 2]),
        ("DROP x1 x0", ([3, 1, 2], 2), [2]),
        ("DROP x1 x0", ([3, 1, 2], 9), []),
        ("ACCESS x1 x0", ([3, 1, 2], 1), 1),
        ("ACCESS x1 x0", ([3, 1, 2], 3), None),
        ("ACCESS x1 x0", ([3, 1, 2], -1), None),
        ("MINIMUM x0", ([3, 1, 2],), 1),
        ("MAXIMUM x0", ([],), None),
        ("REVERSE x0", ([3, 1, 2],), [2, 1, 3]),
        ("SORT x0", ([3, 1, 2],), [1, 2, 3]),
        ("SUM x0", ([],), 0),
        ("SUM x0", ([200, 100],), None),
        ("MAP lambda_**2 x0", ([3, -4],), [9, 16]),
        ("MAP lambda_**2 x0", ([17],), None),
        ("MAP lambda_/2 x0", ([7, -7],), [3, -3]),
        ("MAP lambda_/3 x0", ([8, -8],), [2, -2]),
        ("MAP lambda_*(-1) x0", ([3, 0],), [-3, 0]),
        ("FILTER lambda_%2==1 x0", ([3, -3, 2],), [3, -3]),
        ("COUNT lambda_>0 x0", ([3, 0, -2],), 1),
        ("ZIPWITH lambda_MIN x0 x1", ([3, 1, 2], [2, 2]), [2, 1]),
        ("ZIPWITH lambda_- x0 x1", ([3, 1], [2, 2]), [1, -1]),
        ("SCANL1 lambda_+ x0", ([3, 1, 2],), [3, 4, 6]),
        ("SCANL1 lambda_- x0", ([3, 1, 2],), [3, 2, 0]),
        ("SCANL1 lambda_MAX x0", ([],), []),
    ],
)
def test_functions_are_those_of_deepcoder(statement, inputs, expected):
    """Each function does what appendix F of Balog et al. 2017 says, and null is None."""
    assert language.run_program([name.replace("_", " ") for name in statement.split()], inputs) == expected


def test_the_language_has_34_functions():
    """There are 15 functions and 19 lambdas, in the paper's groups."""
    groups = (language.NUMBER_TO_NUMBER, language.NUMBER_TO_TRUTH, language.TWO_TO_NUMBER)
    assert [len(group) for group in groups] == [10, 4, 5] and len(language.FUNCTIONS) == 15
    assert len(language.TOKENS) == 34 + 3 + 1


def test_programs_run_statement_by_statement():
    """The second statement sees the first one's result: the sum of the squares of the positive numbers."""
    program = ["FILTER", "lambda >0", "x0", "MAP", "lambda **2", "x2"]
    assert language.run_program(program, ([1, -2, 3],)) == [1, 9]


@pytest.mark.parametrize("inputs", list(lists.INPUTS))
def test_only_typed_programs_are_made(inputs):
    """Each program of the grammar has two statements, uses the first one's result and runs without a type error."""
    kinds, random = lists.INPUTS[inputs], np.random.default_rng(0)
    every = lists.programs_of(inputs)
    assert len(every) == len(set(every)) > 1000
    for program in every:
        names = [language.TOKENS[token] for token in program]
        first, second = language.statements(names)
        assert "x2" in second and "x2" not in first
        language.run_program(names, lists.draw_inputs(kinds, random, 5))
        assert lists.grammar().accepts([*program, language.END], inputs)
        assert len(program) <= lists.LONGEST_PROGRAM


def test_the_number_of_programs_is_that_of_the_types():
    """For one list: 35 + 4 x 1 list statements and so on, counted by hand from the types."""
    to_list, to_int = 2 + 10 + 4 + 5 + 5, 5 + 4  # REVERSE, SORT, MAP, FILTER, SCANL1, ZIPWITH x x; HEAD ..., COUNT
    after_list = (to_list - 5) + to_int + 5 * 3  # ZIPWITH of x0 x2, x2 x0, x2 x2
    after_int = 3  # TAKE, DROP, ACCESS with the result as index
    assert len(lists.programs_of("2")) == to_list * after_list + to_int * after_int


def test_kept_programs_differ():
    """Of the kept programs no two do the same, overflows included, and none leaves an input out."""
    kept = lists.distinct_programs("2 1")
    random = np.random.default_rng(0)
    probes = [lists.draw_inputs(lists.INPUTS["2 1"], random, 4 << place % 7) for place in range(400)]
    told = set()
    for program in kept:
        names = [language.TOKENS[token] for token in program]
        assert {"x0", "x1"} <= set(names)
        told.add(repr([language.run_program(names, probe) for probe in probes]))
    assert len(told) == len(kept)


def _slots(names, inputs="2", seed=0):
    return lists.slots_of(lists.examples_of(names.split(";"), lists.INPUTS[inputs], np.random.default_rng(seed)))


def test_device_and_model_see_the_same_features():
    """The host's features of integers are those of the trained model's layer, and an empty slot has none."""
    slots = _slots("TAKE;x1;x0;SORT;x2", "2 1").astype("float32")
    made = language.features(slots)
    np.testing.assert_allclose(IntegerFeatures(language.PERIODS)(slots), made, atol=1e-5)
    assert made.shape == (5, 30, language.FEATURES) and not made[slots[..., 1] == 0].any()


@pytest.fixture(scope="module")
def list_model():
    """A small transformer over examples."""
    keras.utils.set_random_seed(3)
    lengths = Lengths(30, 2, 9, len(language.TOKENS), lists.EXAMPLES, language.PERIODS)
    return training_model(SHAPE, lengths, "small_list")


@pytest.fixture(scope="module")
def list_settings():
    """What the host is told about it."""
    return {
        "tokens_out": 9, "units": [[8, 8]] * 2, "length": 10, "table": lists.grammar().table.tolist(),
        "starts": dict(lists.grammar().starts), "nodes": 40,
    }  # fmt: skip


@pytest.fixture(scope="module")
def list_graphs(list_model):
    """Its deployment graphs."""
    return {"encoder": encoder_graph(list_model), "step": step_graph(list_model)}


def test_the_order_of_examples_does_not_matter(list_model):
    """Examples are pooled: any order of them gives the same logits."""
    slots = _slots("FILTER;lambda >0;x0;SORT;x2").astype("float32")
    given = one_hot(given_before(np.array([[10, 25, 34, 8, 36, 37, -1, -1, -1]]), language.END), 38)
    once = np.array(list_model({"examples": slots[None], "actions_in": given}))
    again = np.array(list_model({"examples": slots[None, [3, 1, 4, 0, 2]], "actions_in": given}))
    np.testing.assert_allclose(once, again, atol=1e-5)


def test_a_search_looks_at_prefixes_by_their_teacher_forced_probability(list_model, list_graphs, list_settings):
    """What the host's search is told after a prefix are the logits of the whole model there."""
    slots, calls = _slots("FILTER;lambda >0;x0;SORT;x2"), []
    graphs = {name: KerasGraph(name, graph) for name, graph in list_graphs.items()}

    def step(fed):
        made = graphs["step"](fed)
        calls.append((fed, made["logits"][0, 0]))
        return made

    ListHost({**graphs, "step": step}, list_settings).run({"slots": slots})
    deep = [(fed, logits) for fed, logits in calls if fed["position"].argmax() >= 2][:3]
    assert deep
    for fed, logits in deep:
        place = int(fed["position"].argmax())
        last = int(fed["token"].argmax())
        matching = [tokens for tokens in lists.programs_of("2") if len(tokens) > place and tokens[place - 1] == last]
        near = min(
            np.abs(_forced(list_model, slots, tokens[:place])[place] - logits).max()
            for tokens in {tokens[:place] for tokens in matching}
        )
        assert near < 1e-5


def _forced(model, slots, tokens):
    row = np.full((1, 9), PADDING)
    row[0, : len(tokens)] = tokens
    given = one_hot(given_before(row, language.END), 38)
    return np.array(model({"examples": slots[None].astype("float32"), "actions_in": given}))[0]


def test_many_searches_find_what_one_finds(list_graphs, list_settings):
    """Searching for several samples at once gives what the host gives for each; found programs do what is shown."""
    slots = np.stack([_slots("SORT;x0;HEAD;x2", seed=1), _slots("REVERSE;x0;MAP;lambda +1;x2", seed=2)])
    told = {**list_settings, "nodes": 1500}
    graphs = {name: KerasGraph(name, graph) for name, graph in list_graphs.items()}
    answers = search(list_graphs, told, slots)
    alone = ListHost(graphs, told).run({"slots": slots[0]})
    np.testing.assert_array_equal(alone["outputs"], answers[0]["outputs"])
    for each, answer in zip(slots, answers, strict=True):
        np.testing.assert_array_equal(answer["outputs"], each[:, 20:, 0])
        assert 0 < answer["nodes"][0] <= 1500 and answer["program"].shape == (8,)
    assert lists.execution_match(np.stack([answer["outputs"] for answer in answers]), slots[:, :, 20:, 0]) == 100.0


def test_a_search_gives_up_after_its_nodes(list_graphs, list_settings):
    """A search that may run one statement answers with none found."""
    slots = _slots("SORT;x0;MAP;lambda /4;x2", seed=1)
    (answer,) = search(list_graphs, {**list_settings, "nodes": 1}, slots[None])
    assert (answer["program"] == PADDING).all() and (answer["outputs"] == language.ABSENT).all()
    assert undirected(lists.grammar(), {**list_settings, "nodes": 1}, slots) == 0
    assert 1 < undirected(lists.grammar(), {**list_settings, "nodes": 2000}, slots) <= 2000


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda slots: slots[:, :9], r"\[examples, 30, 2\]. Got: \(5, 9, 2\)"),
        (lambda slots: np.where(slots == 2, 2, slots + 999), "-256, 255"),
        (lambda slots: np.zeros_like(slots), "Got: ''"),
    ],
)
def test_the_list_host_refuses_what_are_no_examples(list_settings, harm, message):
    """Misshapen examples, integers out of range and no inputs are errors that say what came."""
    with pytest.raises(ValueError, match=message):
        ListHost({}, list_settings).run({"slots": harm(_slots("SORT;x0;HEAD;x2"))})
