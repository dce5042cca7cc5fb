"""Program synthesis: the transformer against its equations, decoding under a grammar, host code."""

import ast
import itertools
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from edgewright.hosting import KerasGraph
from edgewright.train import program_synthesis
from edgewright.train._synthesis_decoding import decode
from edgewright.train._synthesis_grammar import FORBIDDEN, automaton, one_or_two
from edgewright.train._synthesis_host import Host
from edgewright.train._synthesis_layers import MASKED, DotProductAttention, LayerNorm, Positions
from edgewright.train._synthesis_sequences import PADDING, PaddedCrossEntropy, given_before, one_hot, token_accuracy
from edgewright.train._synthesis_transformer import Lengths, Shape, encoder_graph, step_graph, training_model

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


def test_an_automaton_is_as_small_as_can_be():
    """States with the same continuations are one: "a" or "b" twice, then the end, are four states."""
    made = automaton({"": 0}, lambda left: {0: left + 1, 1: left + 1} if left < 2 else {2: 3} if left == 2 else {}, 3)
    assert made.table.shape == (4, 3)
    assert made.accepts([0, 1, 2]) and not made.accepts([0, 2]) and not made.accepts([0, 1])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([0, 0, 0, 0], "padding alone"),
        ([1, 9, 0, 0], "0 to 4.*Got: 9"),
        ([1, 2.5, 0, 0], "Got: 2.5"),
        ([1, 2], r"Got: shape \(2,\)"),
    ],
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


@pytest.mark.parametrize("path", sorted(Path(program_synthesis.__file__).parent.glob("_synthesis_*host.py")))
def test_host_code_runs_on_old_devices(path):
    """The host's files are Python 3.7 and import NumPy and the standard library alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert {alias.name for node in imports for alias in node.names} <= {"numpy", *sys.stdlib_module_names}
