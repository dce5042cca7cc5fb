"""SCAN against its paper: commands, meanings, splits, and programs written under its grammar."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import InputError
from edgewright.hosting import KerasGraph, answers_of
from edgewright.train import _synthesis_scan as scan
from edgewright.train._synthesis_decoding import decode
from edgewright.train._synthesis_grammar import one_or_two
from edgewright.train._synthesis_gru_host import Host as GruHost
from edgewright.train._synthesis_host import Host
from edgewright.train._synthesis_search import together
from edgewright.train._synthesis_sequences import PADDING, given_before, one_hot
from edgewright.train.program_synthesis import SCAN_SIMPLE, SCAN_SIMPLE_GRU


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
    assert len(device.test) == 150 and lengths.min() < 3 and lengths.max() == scan.LONGEST_PROGRAM
    assert not (set(map(bytes, device.test.inputs["command"])) & set(map(bytes, device.train.inputs["command"])))


@pytest.mark.parametrize(
    ("command", "message"), [("jump up", "'up'"), ("", "Got: 0"), ("jump and " * 5, "1 to 9 words. Got: 10")]
)
def test_a_command_that_cannot_be_encoded_is_refused(command, message):
    """An unknown word, no word and too many words are errors that say so."""
    with pytest.raises(InputError, match=message):
        scan.command_tokens(command)


def test_the_deployment_decodes_as_the_model_does():
    """Run as on a device, the default experiment's graphs and host write what decoding all at once writes."""
    model = SCAN_SIMPLE.build("edge", 0)
    deployment = SCAN_SIMPLE.deployment(model)
    test = deployment.task.test.at(slice(0, 150, 30))
    answers, calls = answers_of(deployment, test)
    grammar = one_or_two(scan.phrase_programs(), scan.END)
    command = one_hot(test.inputs["command"], 14)
    graphs = deployment.graphs
    np.testing.assert_array_equal(
        answers["program"], decode(graphs["encoder"], graphs["step"], command, grammar, scan.END)
    )
    assert calls["step"] == 1 and calls["encoder"] < 1
    assert model.count_params() < 200_000


@pytest.fixture(scope="module")
def gru():
    """The recurrent baseline with weights large enough to tell its terms apart, and its deployment."""
    model = SCAN_SIMPLE_GRU.build("edge", 0)
    random = np.random.default_rng(1)
    model.set_weights([weight + 0.2 * random.normal(size=weight.shape) for weight in model.get_weights()])
    return model, SCAN_SIMPLE_GRU.deployment(model)


def _gru_logits(model, command, given):
    """The baseline in NumPy, for one sample of one-hot rows: reset gate after the product, as in Keras."""
    weights = {variable.path: np.array(variable, np.float64) for variable in model.variables}

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def dense(name, x):
        return x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0)

    def run(name, rows, state):
        kernel, recurrent, biases = (
            weights[f"{name}/gru_cell/{part}"] for part in ("kernel", "recurrent_kernel", "bias")
        )
        states = []
        for row in rows:
            (xz, xr, xh), (hz, hr, hh) = (
                np.split(x, 3) for x in (row @ kernel + biases[0], state @ recurrent + biases[1])
            )
            update = sigmoid(xz + hz)
            state = update * state + (1 - update) * np.tanh(xh + sigmoid(xr + hr) * hh)
            states.append(state)
        return np.array(states)

    memory = run("encoder_gru", dense("encoder_embedding", command), np.zeros(116))
    hidden = run("decoder_gru", dense("decoder_embedding", given), memory[-1])
    scores = hidden @ dense("attention_keys", memory).T / np.sqrt(116)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    seen = shares / shares.sum(axis=1, keepdims=True) @ memory
    return dense("logits", np.tanh(dense("mixed", np.concatenate([hidden, seen], axis=1))))


def test_the_recurrent_baseline_is_that_of_the_papers(gru):
    """The whole model gives what NumPy gives from the equations of gated units and attention; it is as large."""
    test = scan.scan("simple").test.take(3)
    made = np.array(gru[0](dict(test.inputs)))
    for sample in range(3):
        expected = _gru_logits(gru[0], test.inputs["command"][sample], test.inputs["actions_in"][sample])
        np.testing.assert_allclose(made[sample], expected, atol=1e-4)
    assert gru[0].count_params() == pytest.approx(SCAN_SIMPLE.build("edge", 0).count_params(), rel=0.05)


def test_the_recurrent_baseline_decodes_as_it_was_trained(gru):
    """Written step by step, each token is the likeliest allowed one of the teacher-forced model; many at once alike."""
    model, deployment = gru
    grammar = one_or_two(scan.phrase_programs(), scan.END)
    test = deployment.task.test.at(slice(0, 150, 37))
    answers, calls = answers_of(deployment, test)
    host = GruHost({}, deployment.settings)
    at_once = together(deployment.graphs, [host.search({"command": command}) for command in test.inputs["command"]])
    forced = given_before(np.pad(answers["program"], ((0, 0), (0, 1)), constant_values=PADDING), scan.END)
    inputs = {"command": one_hot(test.inputs["command"], 14), "actions_in": one_hot(forced, 7)}
    for program, once, logits in zip(answers["program"], at_once, np.array(model(inputs)), strict=True):
        np.testing.assert_array_equal(once["program"], program)
        state, length = grammar.starts[""], int((program != PADDING).sum())
        for place, token in enumerate([*program[:length], scan.END]):
            assert token == np.where(grammar.table[state] >= 0, logits[place], -np.inf).argmax()
            state = grammar.table[state, token]
    assert calls["step"] == 1 and calls["encoder"] < 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([0] * 9, "padding alone"),
        ([1, 14, *[0] * 7], "0 to 13.*Got: 14"),
        ([1, 2.5, *[0] * 7], "Got: 2.5"),
        ([1] * 10, r"Got: shape \(10,\)"),
    ],
)
def test_the_recurrent_host_refuses_what_is_no_command(gru, command, message):
    """An empty, an unknown and an over-long command are errors that say what came."""
    with pytest.raises(ValueError, match=message):
        GruHost({name: KerasGraph(name, graph) for name, graph in gru[1].graphs.items()}, gru[1].settings).run(
            {"command": np.array(command)}
        )
