"""Program synthesis: the transformer against its equations, SCAN against its paper, decoding under a grammar."""

import ast
import itertools
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import InputError
from edgewright.hosting import KerasGraph, answers_of
from edgewright.train import _synthesis_list as lists
from edgewright.train import _synthesis_list_host as language
from edgewright.train import _synthesis_scan as scan
from edgewright.train import _synthesis_sql as sql
from edgewright.train import _synthesis_sql_host as sqlite
from edgewright.train import _synthesis_sql_schemas as schemas
from edgewright.train import program_synthesis
from edgewright.train._checkpoints import load, shipped
from edgewright.train._synthesis_decoding import decode
from edgewright.train._synthesis_grammar import FORBIDDEN, automaton, one_or_two
from edgewright.train._synthesis_host import Host
from edgewright.train._synthesis_layers import MASKED, DotProductAttention, IntegerFeatures, LayerNorm, Positions
from edgewright.train._synthesis_list_host import Host as ListHost
from edgewright.train._synthesis_search import search, together, undirected
from edgewright.train._synthesis_sequences import PADDING, PaddedCrossEntropy, given_before, one_hot, token_accuracy
from edgewright.train._synthesis_sql_questions import drawn, vocabulary
from edgewright.train._synthesis_transformer import Lengths, Shape, encoder_graph, step_graph, training_model
from edgewright.train.program_synthesis import SCAN_SIMPLE

SHAPE = Shape(units=8, heads=2, hidden=12, encoder=1, decoder=2)
LENGTHS = Lengths(tokens_in=4, kinds_in=5, tokens_out=6, kinds_out=4)
END = LENGTHS.kinds_out - 1
# Programs over 0, 1, 2: "0 1", "2" or "1 1", or two of them one after the other: five tokens and the end.
PHRASES = ((0, 1), (2,), (1, 1))
GRAMMAR = one_or_two(PHRASES, END)


@pytest.fixture(scope="module")
def model():
    """A small model with random weights, biases and gains included."""
    keras.utils.set_random_seed(3)
    small = training_model(SHAPE, LENGTHS, "small")
    random = np.random.default_rng(5)
    small.set_weights([random.normal(size=weight.shape).astype("float32") * 0.7 for weight in small.get_weights()])
    return small


@pytest.fixture(scope="module")
def graphs(model):
    """Its deployment graphs, called as the host code calls them."""
    return {"encoder": KerasGraph("encoder", encoder_graph(model)), "step": KerasGraph("step", step_graph(model))}


def _host(graphs, width=1):
    small = {
        "tokens_in": LENGTHS.tokens_in,
        "kinds_in": LENGTHS.kinds_in,
        "tokens_out": LENGTHS.tokens_out,
        "kinds_out": LENGTHS.kinds_out,
        "end": END,
        "units": [[SHAPE.units] * 2] * SHAPE.decoder,
        "table": GRAMMAR.table.tolist(),
        "start": GRAMMAR.starts[""],
        "width": width,
    }
    return Host(graphs, json.loads(json.dumps(small)))


def _commands(count=6):
    """Random commands of one to four tokens."""
    random = np.random.default_rng(1)
    commands = random.integers(1, LENGTHS.kinds_in, (count, LENGTHS.tokens_in))
    return commands * (np.arange(LENGTHS.tokens_in) < random.integers(1, LENGTHS.tokens_in + 1, (count, 1)))


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _attention(q, k, v, heads, causal=False):
    """Equation 1 and section 3.2.2 of Vaswani et al. 2017, head by head and query by query."""
    width = q.shape[1] // heads
    out = np.zeros((len(q), q.shape[1]))
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for place in range(len(q)):
            seen = place + 1 if causal else len(k)
            out[place, own] = _softmax(q[place, own] @ k[:seen, own].T / np.sqrt(width)) @ v[:seen, own]
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_the_paper(causal):
    """Heads, scale and causality are those of Vaswani et al. 2017."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 7, 12)).astype("float32")
    made = DotProductAttention(3, causal=causal)(q, k, v)
    for sample in range(2):
        np.testing.assert_allclose(made[sample], _attention(q[sample], k[sample], v[sample], 3, causal), atol=1e-5)


def test_a_mask_hides_keys():
    """A masked key has no influence, whatever it holds."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 1, 4, 8)).astype("float32")
    mask = np.zeros((1, 4, 4), "float32")
    mask[..., 2:] = MASKED
    made = DotProductAttention(2)(q, k, v, mask)
    np.testing.assert_allclose(made[0], _attention(q[0], k[0, :2], v[0, :2], 2), atol=1e-5)


def test_normalization_is_that_of_keras():
    """The layer computes what Keras' own layer normalization does."""
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 5, 16)).astype("float32")
    np.testing.assert_allclose(LayerNorm()(x), keras.layers.LayerNormalization(epsilon=1e-5)(x), atol=1e-5)


def test_positions_begin_as_sinusoids():
    """Before training a position's vector is that of Vaswani et al. 2017, section 3.5; one-hot places choose it."""
    layer = Positions(6)
    table = np.array(layer(np.zeros((1, 6, 8), "float32")))[0]
    for place, feature in itertools.product(range(6), range(4)):
        angle = place / 10000 ** (2 * feature / 8)
        np.testing.assert_allclose(table[place, [feature, feature + 4]], [np.sin(angle), np.cos(angle)], atol=1e-6)
    chosen = layer(np.zeros((1, 1, 8), "float32"), one_hot(np.array([[4]]), 6))
    np.testing.assert_allclose(chosen[0, 0], table[4], atol=1e-6)


def _reference(model, command, given):
    """The pre-LN encoder-decoder in NumPy, for one sample of one-hot rows."""
    weights = {variable.path: np.array(variable, dtype=np.float64) for variable in model.variables}

    def dense(name, x):
        return x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0)

    def norm(name, x):
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        return (x - x.mean(axis=-1, keepdims=True)) / spread * weights[f"{name}/gain"] + weights[f"{name}/shift"]

    def attend(name, x, memory, causal=False):
        q, k, v = dense(f"{name}_query", x), dense(f"{name}_key", memory), dense(f"{name}_value", memory)
        return dense(f"{name}_output", _attention(q, k, v, SHAPE.heads, causal))

    def feed(name, x):
        return dense(f"{name}_2", np.maximum(dense(f"{name}_1", norm(f"{name}_norm", x)), 0))

    x = dense("encoder_embedding", command) + weights["encoder_positions/table"]
    own = norm("encoder_1_self_norm", x)
    x = x + attend("encoder_1_self", own, own)
    memory = norm("encoder_norm", x + feed("encoder_1_dense", x))
    x = dense("decoder_embedding", given) + weights["decoder_positions/table"]
    for layer in ("decoder_1", "decoder_2"):
        own = norm(f"{layer}_self_norm", x)
        x = x + attend(f"{layer}_self", own, own, causal=True)
        x = x + attend(f"{layer}_cross", norm(f"{layer}_cross_norm", x), memory)
        x = x + feed(f"{layer}_dense", x)
    return dense("logits", norm("decoder_norm", x))


def _inputs(count=6):
    programs = np.random.default_rng(2).integers(0, LENGTHS.kinds_out, (count, LENGTHS.tokens_out))
    return {
        "command": one_hot(_commands(count), LENGTHS.kinds_in),
        "actions_in": one_hot(given_before(programs, END), LENGTHS.kinds_out),
    }


def test_the_model_is_a_pre_ln_encoder_decoder(model):
    """The whole model gives what NumPy gives from the published equations."""
    inputs = _inputs()
    made = np.array(model(inputs))
    for sample in range(len(made)):
        expected = _reference(model, inputs["command"][sample], inputs["actions_in"][sample])
        np.testing.assert_allclose(made[sample], expected, atol=2e-5)


def test_a_later_token_does_not_change_an_earlier_logit(model):
    """Training sees no token before its time."""
    inputs = _inputs()
    changed = {**inputs, "actions_in": inputs["actions_in"].copy()}
    changed["actions_in"][:, 3] = np.roll(changed["actions_in"][:, 3], 1, axis=-1)
    before, after = np.array(model(inputs)), np.array(model(changed))
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 0.01


def test_decoding_with_a_cache_is_teacher_forcing(model, graphs):
    """Fed token by token, the deployment graphs give the logits that the whole model gives at once."""
    inputs, host = _inputs(), _host(graphs)
    expected = np.array(model(inputs))
    for sample, tokens in enumerate(inputs["actions_in"].argmax(axis=-1)):
        memory, cache = graphs["encoder"]({"command": inputs["command"][sample : sample + 1]}), host.empty()
        for place in range(LENGTHS.tokens_out):
            logits = host.next(tokens[1 : place + 1].tolist(), cache, memory)
            np.testing.assert_allclose(logits, expected[sample, place], atol=1e-5)


def _greedy(model, command):
    """Decode by running the whole teacher-forced model again for each token."""
    state, program = GRAMMAR.starts[""], []
    while True:
        row = np.full((1, LENGTHS.tokens_out), PADDING)
        row[0, : len(program)] = program
        inputs = {
            "command": one_hot(command[None], LENGTHS.kinds_in),
            "actions_in": one_hot(given_before(row, END), LENGTHS.kinds_out),
        }
        logits = np.array(model(inputs))[0, len(program)]
        token = int(np.where(GRAMMAR.table[state] != FORBIDDEN, logits, -np.inf).argmax())
        if token == END:
            return program
        program.append(token)
        state = GRAMMAR.table[state, token]


def test_a_beam_of_one_is_greedy(model, graphs):
    """At width 1 the host takes the likeliest allowed token each time; many commands at once decode the same."""
    host, commands = _host(graphs), _commands(12)
    every = decode(encoder_graph(model), step_graph(model), one_hot(commands, LENGTHS.kinds_in), GRAMMAR, END)
    for command, row in zip(commands, every, strict=True):
        program = host.run({"command": command})["program"]
        expected = _greedy(model, command)
        assert program.dtype == np.int32 and program.shape == (LENGTHS.tokens_out - 1,)
        assert program[: len(expected)].tolist() == expected and set(program[len(expected) :]) <= {PADDING}
        np.testing.assert_array_equal(row, program)


def test_a_wide_beam_finds_the_likeliest_program(model, graphs):
    """A beam that holds all programs ends with the likeliest of them, and a wider one never with a worse."""
    whole = [list(p) for p in PHRASES] + [[*p, *q] for p in PHRASES for q in PHRASES]
    for command in _commands(4):
        found = _host(graphs, width=64).programs(command)
        assert sorted(tokens for _, tokens in found) == sorted(whole)
        assert sum(np.exp(score) for score, _ in found) == pytest.approx(1, abs=1e-4)
        assert _host(graphs, width=3).programs(command)[0][0] <= found[0][0] + 1e-6


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 4))
def test_only_well_formed_programs_are_written(seed, width):
    """Whatever the network says, what comes out is one or two phrases of SCAN's grammar."""
    grammar = one_or_two(scan.phrase_programs(), scan.END)
    random = np.random.default_rng(seed)
    told = {
        "tokens_in": 9, "kinds_in": 14, "tokens_out": 49, "kinds_out": 7, "end": scan.END, "units": [[2, 2]],
        "table": grammar.table, "start": grammar.starts[""], "width": width,
    }  # fmt: skip
    step = {"logits": None, "key_1": np.zeros((1, 1, 2)), "value_1": np.zeros((1, 1, 2))}
    graphs = {
        "encoder": lambda inputs: {},
        "step": lambda inputs: {**step, "logits": 9 * random.normal(size=(1, 1, 7)) - 9 * (np.arange(7) == scan.END)},
    }
    program = Host(graphs, told).run({"command": scan.command_tokens("jump")})["program"]
    tokens = program[program != PADDING].tolist()
    phrases = set(scan.phrase_programs())
    cuts = [(tuple(tokens[:cut]), tuple(tokens[cut:])) for cut in range(len(tokens))]
    assert any(second in phrases and (not first or first in phrases) for first, second in cuts), tokens


def test_an_automaton_is_as_small_as_can_be():
    """States with the same continuations are one: "a" or "b" twice, then the end, are four states."""
    made = automaton({"": 0}, lambda left: {0: left + 1, 1: left + 1} if left < 2 else {2: 3} if left == 2 else {}, 3)
    assert made.table.shape == (4, 3)
    assert made.accepts([0, 1, 2]) and not made.accepts([0, 2]) and not made.accepts([0, 1])


def test_scan_has_20910_commands():
    """The grammar makes the paper's number of commands, each once, of up to 9 words and 48 actions."""
    commands, actions = scan.pairs()
    assert len(commands) == len(set(commands)) == 20_910
    assert max(len(command.split()) for command in commands) == scan.LONGEST_COMMAND
    assert max(map(len, actions)) == scan.LONGEST_PROGRAM
    assert {word for command in commands for word in command.split()} == set(scan.WORDS)
    assert {action for each in actions for action in each} == set(scan.ACTIONS)


@pytest.mark.parametrize(
    ("command", "actions"),
    [
        ("jump", "JUMP"),
        ("jump left", "LTURN JUMP"),
        ("jump around right", "RTURN JUMP RTURN JUMP RTURN JUMP RTURN JUMP"),
        ("turn left twice", "LTURN LTURN"),
        ("jump thrice", "JUMP JUMP JUMP"),
        ("jump opposite left and walk thrice", "LTURN LTURN JUMP WALK WALK WALK"),
        ("jump opposite left after walk around left",
         "LTURN WALK LTURN WALK LTURN WALK LTURN WALK LTURN LTURN JUMP"),
    ],
)  # fmt: skip
def test_commands_mean_what_the_paper_says(command, actions):
    """The examples of figure 1 of Lake and Baroni 2018."""
    assert scan.interpret(command) == tuple(actions.split())


def test_interpretation_is_compositional():
    """Every command is well-formed for the automaton, and its halves mean what they mean alone."""
    grammar = one_or_two(scan.phrase_programs(), scan.END)
    for command, actions in list(zip(*scan.pairs(), strict=True))[::37]:
        assert grammar.accepts([*(scan.ACTIONS.index(action) for action in actions), scan.END])
        if " after " in command:
            first, second = command.split(" after ")
            assert actions == scan.interpret(second) + scan.interpret(first)


@pytest.mark.parametrize("command", ["", "jump jump", "turn", "jump twice thrice", "walk and", "walk left right"])
def test_what_the_grammar_does_not_make_is_refused(command):
    """A string outside the grammar has no meaning, and the error shows it."""
    with pytest.raises(InputError, match="grammar"):
        scan.interpret(command)


def test_the_splits_are_the_papers():
    """Sizes are those published; no command trains and tests; the long and the jumping are where they belong."""
    sizes = {name: tuple(map(len, scan.split(name))) for name in ("simple", "length", "jump")}
    assert sizes == {"simple": (16_728, 4_182), "length": (16_990, 3_920), "jump": (14_670, 7_706)}
    commands, actions = scan.pairs()
    for name in sizes:
        train, test = map(set, scan.split(name))
        assert not train & test and len(train | test) == 20_910
    assert {len(actions[place]) <= 22 for place in scan.split("length")[0]} == {True}
    assert {commands[place] for place in scan.split("jump")[0] if "jump" in commands[place].split()} == {"jump"}
    with pytest.raises(InputError, match="simple, length, jump. Got: 'around'"):
        scan.split("around")


def test_the_task_is_teacher_forced():
    """What is given is the program a token later; what a device gets is the command's tokens."""
    task, device = scan.scan("simple"), scan.scan_commands("simple")
    given, labels = task.test.inputs["actions_in"][:50], task.test.labels[:50]
    for row, label in zip(given, labels, strict=True):
        real = label[label != PADDING]
        assert real[-1] == scan.END and row[0].argmax() == scan.END
        np.testing.assert_array_equal(row[1 : len(real)].argmax(axis=-1), real[:-1])
    lengths = (device.test.labels != PADDING).sum(axis=1)
    assert len(device.test) == 300 and lengths.min() < 3 and lengths.max() == scan.LONGEST_PROGRAM
    assert not (set(map(bytes, device.test.inputs["command"])) & set(map(bytes, device.train.inputs["command"])))


@pytest.mark.parametrize(
    ("command", "message"), [("jump up", "'up'"), ("", "Got: 0"), ("jump and " * 5, "1 to 9 words. Got: 10")]
)
def test_a_command_that_cannot_be_encoded_is_refused(command, message):
    """An unknown word, no word and too many words are errors that say so."""
    with pytest.raises(InputError, match=message):
        scan.command_tokens(command)


@pytest.mark.parametrize(
    ("command", "message"),
    [([0, 0, 0, 0], "padding alone"), ([1, 9, 0, 0], "0 to 4.*Got: 9"), ([1, 2], r"Got: shape \(2,\)")],
)
def test_the_host_refuses_what_is_no_command(graphs, command, message):
    """On the device an empty, unknown or misshapen command is an error that says what came."""
    with pytest.raises(ValueError, match=message):
        _host(graphs).run({"command": np.array(command)})


def test_a_beam_of_nothing_is_refused(graphs):
    """A beam needs a width."""
    with pytest.raises(ValueError, match="width 1 or more. Got: 0"):
        _host(graphs, width=0)


def test_padding_has_no_part_in_loss_and_metric():
    """Loss and token accuracy are means over the real tokens."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(3, 5, 4)).astype("float32"), random.integers(0, 4, (3, 5))
    labels[0, 2:] = labels[2, 4:] = PADDING
    real = labels != PADDING
    surprise = -np.log(np.take_along_axis(_softmax(logits), np.maximum(labels, 0)[..., None], axis=-1)[..., 0])
    assert float(PaddedCrossEntropy()(labels, logits)) == pytest.approx(surprise[real].mean(), rel=1e-5)
    assert token_accuracy(logits, labels) == pytest.approx(100 * (logits.argmax(-1) == labels)[real].mean())
    again = keras.losses.deserialize(keras.losses.serialize(PaddedCrossEntropy()))
    assert float(again(labels, logits)) == pytest.approx(surprise[real].mean(), rel=1e-5)


def test_files_and_copies_compute_the_same(model, tmp_path):
    """A saved model and a clone with the same weights give equal outputs."""
    inputs = _inputs()
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (keras.saving.load_model(tmp_path / "model.keras"), clone):
        np.testing.assert_array_equal(np.array(other(inputs)), np.array(model(inputs)))


def test_the_deployment_decodes_as_the_model_does():
    """Run as on a device, the default experiment's graphs and host write what decoding all at once writes."""
    model = SCAN_SIMPLE.build("edge", 0)
    deployment = SCAN_SIMPLE.deployment(model)
    test = deployment.task.test.at(slice(0, 300, 60))
    answers, calls = answers_of(deployment, test)
    grammar = one_or_two(scan.phrase_programs(), scan.END)
    command = one_hot(test.inputs["command"], 14)
    graphs = deployment.graphs
    np.testing.assert_array_equal(
        answers["program"], decode(graphs["encoder"], graphs["step"], command, grammar, scan.END)
    )
    assert calls["step"] == 1 and calls["encoder"] < 1
    assert model.count_params() < 200_000


@pytest.mark.parametrize("path", [program_synthesis._HOST, program_synthesis._LIST_HOST, program_synthesis._SQL_HOST])
def test_host_code_runs_on_old_devices(path):
    """The host's files are Python 3.7 and import NumPy and the standard library alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert {alias.name for node in imports for alias in node.names} <= {"numpy", "heapq", "re", "sqlite3"}


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
