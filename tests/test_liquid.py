"""train/liquid.py: the cells against their published equations, the wiring, masks, and the host's loop."""

import importlib.util
import json

import keras
import numpy as np
import pytest

from edgewright.errors import InputError
from edgewright.train import get
from edgewright.train._liquid_cfc import MODES, CfCCell
from edgewright.train._liquid_control import (
    MEAN_SQUARED_ERROR,
    TICK,
    USUAL_GAP,
    Pendulum,
    control,
    driving,
    regulator,
    scales,
    upright,
)
from edgewright.train._liquid_ltc import UNFOLDS, LTCCell
from edgewright.train._liquid_mmrnn import MixedMemoryCell
from edgewright.train._liquid_network import classifier, controller, deployment, step
from edgewright.train._liquid_tasks import Recordings, Scale, padded, shifted_tests
from edgewright.train._liquid_wired_cfc import WiredCfCCell
from edgewright.train._liquid_wiring import NCP
from edgewright.train._task import ACCURACY, Dataset, Task
from edgewright.train._training import outputs_of

SENSORS, UNITS, STEPS, CLASSES = 3, 5, 6, 4
WIRING = NCP(6, 5, 2, sensory_fan_out=3, inter_fan_out=2, recurrent_synapses=4, motor_fan_in=3, seed=7)
CELLS = {
    **{f"cfc {mode}": lambda mode=mode: CfCCell(UNITS, (7,), mode) for mode in MODES},
    "cfc without a backbone": lambda: CfCCell(UNITS, ()),
    "ltc": lambda: LTCCell(UNITS),
    "wired ltc": lambda: LTCCell(wiring=WIRING),
    "mmrnn": lambda: MixedMemoryCell(UNITS, (7,)),
    "wired cfc": lambda: WiredCfCCell(WIRING),
    "gru": lambda: keras.layers.GRUCell(UNITS),
}


def sigmoid(x):
    """Return the logistic function."""
    return 1 / (1 + np.exp(-x))


def weights_of(cell):
    """Return a built cell's weights, moved away from their initial values, as float64 by the end of their path."""
    draw = np.random.default_rng(3)
    for weight in cell.weights:
        weight.assign(np.asarray(weight) + draw.uniform(0, 0.3, weight.shape))
    return {weight.path.split("/", 1)[-1]: np.asarray(weight, np.float64) for weight in cell.weights}


def built(cell, *sizes):
    """Return a cell with weights, its inputs (x, dt) and states of the sizes, and the weights."""
    cell.build((None, SENSORS + 1))
    draw = np.random.default_rng(4)
    inputs = draw.normal(size=(2, SENSORS)).astype("float32"), np.array([[0.3], [2.0]], "float32")
    states = [draw.normal(size=(2, size)).astype("float32") for size in sizes]
    return cell, inputs, states, weights_of(cell)


def affine(z, weights, name):
    """Return what the dense layer ``name`` makes of z."""
    return z @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def published_cfc(x, dt, h, weights, mode, backbone=True, at=""):
    """Return h' as Hasani et al. 2022 write it."""

    def squashed(values):
        return 1.7159 * np.tanh(0.666 * values)

    z = np.concatenate([x, h], axis=-1)
    if backbone:
        z = squashed(affine(z, weights, f"{at}backbone_0"))
    f = affine(z, weights, f"{at}f")
    if mode == "pure":
        a, w_tau = weights[f"{at}a"], weights[f"{at}w_tau"]
        return -a * np.exp(-dt * (np.abs(w_tau) + np.abs(f))) * f + a
    f, g = squashed(f), squashed(affine(z, weights, f"{at}g"))
    s = sigmoid(-affine(z, weights, f"{at}t_a") * dt + affine(z, weights, f"{at}t_b"))
    return f + g * s if mode == "no_gate" else f * (1 - s) + g * s


@pytest.mark.parametrize("mode", MODES)
def test_the_cfc_cell_is_the_published_one(mode):
    """Each mode of the cell computes the paper's equation."""
    cell, (x, dt), (h,), weights = built(CfCCell(UNITS, (7,), mode), UNITS)
    output, (after,) = cell((x, dt), [h])
    np.testing.assert_allclose(output, published_cfc(x, dt, h, weights, mode), atol=1e-6)
    np.testing.assert_array_equal(output, after)


def test_a_cfc_cell_without_time_gates_is_the_mean_of_its_two_heads():
    """With t_a = t_b = 0 the gate is one half, whatever the time."""
    cell, (x, dt), (h,), _ = built(CfCCell(UNITS, (7,)), UNITS)
    for weight in cell.weights:
        if "t_a" in weight.path or "t_b" in weight.path:
            weight.assign(np.zeros(weight.shape))
    weights = {weight.path.split("/", 1)[-1]: np.asarray(weight, np.float64) for weight in cell.weights}
    z = 1.7159 * np.tanh(0.666 * affine(np.concatenate([x, h], axis=-1), weights, "backbone_0"))
    heads = [1.7159 * np.tanh(0.666 * affine(z, weights, name)) for name in ("f", "g")]
    np.testing.assert_allclose(cell((x, dt), [h])[0], sum(heads) / 2, atol=1e-6)


def test_a_pure_cfc_cell_comes_to_rest_at_a():
    """After a very long time the pure mode has forgotten its inputs and is at A."""
    cell, (x, dt), (h,), weights = built(CfCCell(UNITS, (7,), "pure"), UNITS)
    np.testing.assert_allclose(cell((x, 1e4 * dt), [h])[0], np.broadcast_to(weights["a"], (2, UNITS)), atol=1e-6)


def published_ltc(x, dt, v, weights, masks=(1, 1)):
    """Return v after the fused solver as ncps and the paper write it, with c_m / (dt / 6)."""

    def synapses(potentials, kind, mask):
        opened = sigmoid(weights[f"{kind}sigma"] * (potentials[:, :, None] - weights[f"{kind}mu"]))
        s = weights[f"{kind}kernel"] * mask * opened
        return (s * weights[f"{kind}e"]).sum(axis=1), s.sum(axis=1)

    x = x * weights["x_scale"] + weights["x_shift"]
    sensory_current, sensory_conductance = synapses(x, "sensory_", masks[0])
    c = weights["c_m"] / (dt / UNFOLDS)
    for _ in range(UNFOLDS):
        current, conductance = synapses(v, "", masks[1])
        v = (c * v + weights["g_l"] * weights["v_l"] + current + sensory_current) / (
            c + weights["g_l"] + conductance + sensory_conductance
        )
    return v


def test_the_ltc_cell_is_the_published_one():
    """The cell computes six steps of the fused solver."""
    cell, (x, dt), (v,), weights = built(LTCCell(UNITS), UNITS)
    output, (after,) = cell((x, dt), [v])
    np.testing.assert_allclose(output, published_ltc(x, dt, v, weights), atol=1e-5)
    np.testing.assert_array_equal(output, after)


def test_a_wired_ltc_cell_hears_only_its_synapses():
    """With a wiring the sums run over the wiring's synapses, and the output is the motor neurons."""
    cell, (x, dt), (v,), weights = built(LTCCell(wiring=WIRING), WIRING.neurons)
    connections = WIRING.connections(SENSORS)
    masks = np.abs(connections.sensory()), np.abs(connections.recurrent())
    output, (after,) = cell((x, dt), [v])
    np.testing.assert_allclose(after, published_ltc(x, dt, v, weights, masks), atol=1e-5)
    np.testing.assert_array_equal(output, np.asarray(after)[:, -WIRING.motor :])


def test_no_time_leaves_an_ltc_cell_as_it_is():
    """As dt goes to zero, so does the change of the state."""
    cell, (x, dt), (v,), _ = built(LTCCell(UNITS), UNITS)
    np.testing.assert_allclose(cell((x, 0 * dt), [v])[0], v, atol=1e-5)
    changes = [np.abs(np.asarray(cell((x, scale * dt), [v])[0]) - v).max() for scale in (1e-2, 1e-3)]
    assert changes[1] == pytest.approx(changes[0] / 10, rel=0.1)


def test_an_ltc_cell_stays_between_its_reversal_potentials():
    """A step is a weighted mean of the state, the leak and the reversal potentials: no step leaves their range."""
    cell, (x, dt), (v,), weights = built(LTCCell(UNITS), UNITS)
    levels = [v, weights["v_l"], weights["e"], weights["sensory_e"]]
    after = np.asarray(cell((x, 100 * dt), [v])[0])
    assert min(level.min() for level in levels) <= after.min() and after.max() <= max(level.max() for level in levels)


def test_the_mmrnn_cell_is_an_lstm_cell_that_feeds_a_cfc_cell():
    """The memory is the LSTM's, and the answer is the CfC's to the LSTM's output."""
    cell, (x, dt), (c, h), weights = built(MixedMemoryCell(UNITS, (7,)), UNITS, UNITS)
    a, i, f, o = (affine(np.concatenate([x, h], axis=-1), weights, name) for name in "aifo")
    memory = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(a)
    expected = published_cfc(sigmoid(o) * np.tanh(memory), dt, h, weights, "default", at="cfc/")
    output, (c_after, h_after) = cell((x, dt), [c, h])
    np.testing.assert_allclose(c_after, memory, atol=1e-6)
    np.testing.assert_allclose(output, expected, atol=1e-6)
    np.testing.assert_array_equal(output, h_after)


def test_a_wired_cfc_cell_is_three_masked_cfc_cells():
    """Each layer is a CfC over the layer before and itself, with kernels masked by the wiring."""
    sizes = WIRING.inter, WIRING.command, WIRING.motor
    cell, (x, dt), states, weights = built(WiredCfCCell(WIRING), *sizes)
    connections = WIRING.connections(SENSORS)
    feeds = connections.sensory_inter, connections.inter_command, connections.command_motor
    signal = x
    for name, size, feed, state in zip(cell.state_names, sizes, feeds, states, strict=True):
        mask = np.concatenate([np.abs(feed), np.ones((size, size))])
        for head in ("f", "g", "t_a", "t_b"):
            weights[f"{name}/{head}/kernel"] *= mask
        signal = published_cfc(signal, dt, state, weights, "default", backbone=False, at=f"{name}/")
    output, after = cell((x, dt), states)
    np.testing.assert_allclose(output, signal, atol=1e-6)
    np.testing.assert_array_equal(output, after[-1])


def test_the_wiring_has_the_fans_it_was_asked_for():
    """Sensors, inter and motor neurons have their numbers of synapses, and no neuron is left out."""
    wiring = NCP(20, 12, 3, sensory_fan_out=10, inter_fan_out=6, recurrent_synapses=9, motor_fan_in=5)
    drawn = wiring.connections(8)
    assert set(np.abs(drawn.sensory_inter).sum(axis=1)) == {10}
    assert set(np.abs(drawn.inter_command).sum(axis=1)) == {6}
    assert set(np.abs(drawn.command_motor).sum(axis=0)) <= set(range(5, 13))
    assert 1 <= np.abs(drawn.command_command).sum() <= 9
    assert drawn.sensory_inter.any(axis=0).all() and drawn.inter_command.any(axis=0).all()
    assert drawn.command_motor.any(axis=1).all()
    assert {-1.0, 1.0} <= set(drawn.sensory_inter.ravel())


def test_a_neuron_left_out_is_connected():
    """Where the draw leaves inter neurons without a sensor, they get the average fan-in."""
    drawn = NCP(12, 6, 2, sensory_fan_out=1, inter_fan_out=1, recurrent_synapses=2, motor_fan_in=1).connections(3)
    assert drawn.sensory_inter.any(axis=0).all() and drawn.inter_command.any(axis=0).all()
    assert drawn.command_motor.any(axis=1).all()


def test_the_wiring_has_four_layers():
    """Sensors reach inter neurons only, those command neurons only, those each other and motor neurons, those none."""
    drawn = WIRING.connections(SENSORS)
    sensory, recurrent = drawn.sensory(), drawn.recurrent()
    inter, command = slice(0, 6), slice(6, 11)
    assert not sensory[:, 6:].any()
    assert not recurrent[inter, inter].any() and not recurrent[inter, 11:].any()
    assert not recurrent[command, inter].any() and recurrent[command, command].any()
    assert not recurrent[11:].any()


def test_the_seed_decides_the_wiring():
    """The same seed draws the same synapses, another seed others."""
    one, same, other = (NCP(6, 5, 2, 3, 2, 4, 3, seed=seed).connections(3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.recurrent(), same.recurrent())
    assert not np.array_equal(one.recurrent(), other.recurrent())


def test_an_impossible_wiring_is_refused():
    """A fan-out beyond the next layer names the limit."""
    with pytest.raises(InputError, match="1 to the 6 inter neurons. Got: 7"):
        NCP(6, 5, 2, sensory_fan_out=7, inter_fan_out=2, recurrent_synapses=4, motor_fan_in=3)


def network(name, readout="last"):
    """Return a small classifier with the named cell."""
    keras.utils.set_random_seed(1)
    return classifier(CELLS[name](), STEPS, SENSORS, CLASSES, readout=readout, noise=0.1, dropout=0.1, seed=1)


@pytest.fixture(scope="module")
def samples():
    """Three recordings: whole, with two steps missing in the middle, and of one step."""
    draw = np.random.default_rng(5)
    mask = np.ones((3, STEPS, 1), "float32")
    mask[1, 2:4] = 0
    mask[2, 1:] = 0
    x = draw.normal(size=(3, STEPS, SENSORS)).astype("float32")
    return Dataset({"x": x, "dt": draw.uniform(0.5, 2, (3, STEPS, 1)).astype("float32"), "mask": mask}, np.arange(3))


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("name", CELLS)
def test_what_the_mask_hides_does_not_matter(name, readout, samples):
    """Other values at masked steps change nothing."""
    model = network(name, readout)
    hidden = samples.inputs["mask"] == 0
    other = {
        "x": np.where(hidden, 9.0, samples.inputs["x"]).astype("float32"),
        "dt": np.where(hidden, 0.0, samples.inputs["dt"]).astype("float32"),
        "mask": samples.inputs["mask"],
    }
    expected = outputs_of(model, samples)["probabilities"]
    np.testing.assert_array_equal(outputs_of(model, Dataset(other))["probabilities"], expected)
    assert np.abs(expected[0] - expected[2]).max() > 1e-4


def load_host(path):
    """Return the class Host of a host file."""
    spec = importlib.util.spec_from_file_location("liquid_host", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Host


def task_of(samples):
    """Return a task with these samples."""
    return Task("small", samples, samples, "sparse_categorical_crossentropy", ACCURACY)


def host_of(model, samples):
    """Return the host code, driven with the Keras graph."""
    deployed = deployment(model, task_of(samples))
    graph = deployed.graphs["step"]

    def step(inputs):
        assert {len(array) for array in inputs.values()} == {1}
        return dict(zip(graph.output_names, map(np.asarray, graph(inputs)), strict=True))

    return load_host(deployed.host)({"step": step}, json.loads(json.dumps(dict(deployed.settings))))


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("name", CELLS)
def test_the_host_answers_what_the_model_answers(name, readout, samples):
    """A single step in the host's loop, masked steps left out, gives the rolled model's probabilities."""
    model = network(name, readout)
    host = host_of(model, samples)
    for place, expected in enumerate(outputs_of(model, samples)["probabilities"]):
        answer = host.run({key: array[place] for key, array in samples.inputs.items()})
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_a_keras_file_and_a_clone_keep_the_network(name, samples, tmp_path):
    """A saved and loaded network, and a clone with the same weights, give the same outputs to the last bit."""
    model = network(name, "mean")
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    expected = outputs_of(model, samples)["probabilities"]
    for again in (keras.saving.load_model(tmp_path / "model.keras"), clone):
        np.testing.assert_array_equal(outputs_of(again, samples)["probabilities"], expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mask", 0.0, "at least one recorded step"),
        ("mask", np.nan, "0 and 1 in mask. Got: nan"),
        ("mask", 0.75, "0 and 1 in mask. Got: 0.75"),
        ("dt", 0.0, "dt above zero, and finite, at every recorded step. Got: 0.0"),
        ("dt", -1.0, "dt above zero"),
        ("dt", np.inf, "dt above zero, and finite,.* Got: inf"),
        ("dt", np.nan, "Got: nan"),
        ("x", np.nan, "finite x"),
    ],
)
def test_the_host_refuses_what_is_no_recording(key, value, message, samples):
    """No recorded step, no time between steps, or a sensor that gives no number is an error that says so."""
    sample = {name: array[0].copy() for name, array in samples.inputs.items()}
    sample[key][:] = value
    with pytest.raises(ValueError, match=message):
        host_of(network("gru"), samples).run(sample)


@pytest.mark.parametrize("cell", [WiredCfCCell, LTCCell])
def test_wired_cells_train_in_half_precision(cell):
    """With the policy mixed_float16 a wired cell computes in float16 and trains, as those without a wiring do."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((4, 4)), keras.layers.RNN(cell(wiring=WIRING))])
    finally:
        keras.config.set_dtype_policy(before)
    model.compile("sgd", "mean_squared_error")
    x = np.random.default_rng(0).uniform(0.1, 1, (6, 4, 4)).astype("float32")
    assert np.isfinite(model.fit(x, np.zeros((6, 2)), verbose=0).history["loss"]).all()
    assert model(x).dtype == "float16"


def test_the_host_refuses_other_shapes(samples):
    """A missing axis is an error with the shapes."""
    sample = {name: array[0] for name, array in samples.inputs.items()}
    sample["dt"] = sample["dt"][:, 0]
    with pytest.raises(ValueError, match=r"dt \[steps, 1\].*Got: \(6, 3\), \(6,\)"):
        host_of(network("gru"), samples).run(sample)


@pytest.mark.parametrize(
    ("values", "gaps", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0), "1 to 4 steps in recording 0. Got: 0"),
        (np.zeros((5, 2)), np.ones(5), "1 to 4 steps in recording 0. Got: 5"),
        (np.zeros((2, 2)), np.array([1.0, 0.0]), "dt above zero in recording 0. Got: 0.0"),
        (np.zeros((2, 2)), np.array([1.0, -2.0]), "dt above zero in recording 0. Got: -2.0"),
    ],
)
def test_data_without_steps_or_time_is_refused(values, gaps, message):
    """An empty or too long recording, and a gap of no time, are errors that name the recording."""
    with pytest.raises(InputError, match=message):
        padded(Recordings([values], [gaps], np.zeros(1)), 4, Scale(np.zeros(2), np.ones(2)))


def test_a_cell_is_refused_that_makes_no_sense():
    """An unknown mode, a wired backbone, and an LTC of no size are errors."""
    with pytest.raises(InputError, match="default, no_gate, pure. Got: 'fast'"):
        CfCCell(4, (), "fast")
    with pytest.raises(InputError, match="no backbone in a wired CfC"):
        CfCCell(4, (8,), connections=np.ones((7, 4)))
    with pytest.raises(InputError, match="either units or a wiring"):
        LTCCell()


def test_the_vowels_are_the_published_split():
    """270 recordings train and 370 test, of 7 to 29 steps, nine speakers; scaled by the training set."""
    task = get("liquid").default.task()
    assert (len(task.train), len(task.test)) == (270, 370)
    lengths = task.test.inputs["mask"].sum(axis=(1, 2))
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert set(task.train.labels) == set(task.test.labels) == set(range(9))
    recorded = task.train.inputs["x"][task.train.inputs["mask"][..., 0] == 1]
    np.testing.assert_allclose(recorded.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(recorded.std(axis=0), 1, atol=1e-5)


def test_lost_steps_leave_their_time_in_dt():
    """Of the irregular recordings 30 % of the steps are gone; the gaps add up to the last step that is left."""
    whole, lossy = (get("liquid").experiment(name).task() for name in ("cfc-japanese-vowels", "cfc-irregular"))
    kept = lossy.test.inputs["mask"].sum() / whole.test.inputs["mask"].sum()
    assert kept == pytest.approx(0.7, abs=0.01)
    assert lossy.test.inputs["dt"].max() > 2
    for place in (0, 200):
        mask = lossy.test.inputs["mask"][place, :, 0] == 1
        at = np.cumsum(lossy.test.inputs["dt"][place, mask, 0]).astype(int) - 1
        np.testing.assert_array_equal(lossy.test.inputs["x"][place, mask], whole.test.inputs["x"][place, at])


def test_the_shifted_tests_are_shifted():
    """Half the sampling rate is every other step with twice the time."""
    task = get("liquid").experiment("cfc-basic-motions").task()
    slow = shifted_tests(task)["half the sampling rate"].inputs
    np.testing.assert_array_equal(slow["x"][:, :50], task.test.inputs["x"][:, 1::2])
    assert set(slow["dt"][slow["mask"] == 1]) == {2.0}


@pytest.mark.parametrize("task", ["japanese-vowels", "basic-motions", "irregular", "control"])
def test_the_baseline_has_as_many_weights(task):
    """The GRU that a CfC is compared with has the same number of weights within 3 %."""
    liquid = get("liquid")
    cfc, gru = (liquid.experiment(f"{name}-{task}").build("edge", 0).count_params() for name in ("cfc", "gru"))
    assert gru == pytest.approx(cfc, rel=0.03)


@pytest.mark.parametrize("name", CELLS)
def test_a_controller_acts_at_each_step(name, samples):
    """The host's actions are the rolled model's, and zero where no step was recorded."""
    keras.utils.set_random_seed(1)
    model = controller(CELLS[name](), STEPS, SENSORS, 2)
    host = host_of(model, samples)
    expected = outputs_of(model, samples)["action"]
    assert expected.shape == (3, STEPS, 2) and np.abs(expected[0]).min() > 0
    np.testing.assert_array_equal(expected[2, 1:], 0)
    for place, actions in enumerate(expected):
        answer = host.run({key: array[place] for key, array in samples.inputs.items()})
        np.testing.assert_allclose(answer["action"], actions, atol=1e-5)


def test_a_controller_in_the_loop_remembers(samples):
    """Driving the step sample by sample gives what the rolled controller gives."""
    model = controller(CELLS["mmrnn"](), STEPS, SENSORS, 1)
    act = driving(step(model))
    x, dt = samples.inputs["x"], samples.inputs["dt"]
    whole = {**samples.inputs, "mask": np.ones_like(dt)}
    acted = np.stack([act(x[:, place], dt[:, place]) for place in range(STEPS)], axis=1)
    np.testing.assert_allclose(acted, outputs_of(model, Dataset(whole))["action"][..., 0], atol=1e-5)


def test_the_regulator_solves_the_riccati_equation():
    """For one state and one input the gain is the closed form's."""
    a, b, q, r = 1.1, 0.5, 1.0, 0.01
    cost = max(np.roots([b * b, r - a * a * r - b * b * q, -q * r]))
    expected = a * b * cost / (r + b * b * cost)
    np.testing.assert_allclose(regulator(np.array([[a]]), np.array([[b]]), 1, (q,), r)[0, 0], expected, rtol=1e-6)


def test_the_pendulum_falls_by_itself_and_stands_under_its_regulator():
    """Without force no episode stays upright; positions and their differences over dt are enough for the regulator."""
    gain = regulator(*Pendulum(0).linearised(), USUAL_GAP)[0]
    deviation, strength = scales()
    before: list = []

    def differences(x, dt):
        before.append(x * deviation)
        velocity = (before[-1] - before[-2 if len(before) > 1 else -1]) / (dt * USUAL_GAP * TICK)
        return -(np.concatenate([before[-1], velocity], axis=1) @ gain) / strength

    assert upright(lambda x, dt: np.zeros(len(x)), episodes=4) == 0
    assert upright(differences, episodes=4) == 100


def test_the_control_task_needs_the_time():
    """The least squares fit of the force to positions and their differences is far better when those are per time."""
    task = control()
    assert (len(task.train), len(task.test)) == (1024, 256)
    assert set(np.unique(task.test.inputs["dt"] * USUAL_GAP)) == set(range(1, 9))

    def features(data, time):
        x = data.inputs["x"]
        change = np.diff(x, axis=1, prepend=x[:, :1]) / (data.inputs["dt"] if time else 1)
        return np.concatenate([x, change], axis=-1).reshape(-1, 6)

    errors = []
    for time in (False, True):
        weights = np.linalg.lstsq(features(task.train, time), task.train.labels.ravel(), rcond=None)[0]
        errors.append(MEAN_SQUARED_ERROR.of(features(task.test, time) @ weights, task.test.labels.ravel()))
    assert errors[1] < errors[0] / 2


def test_the_recordings_are_the_same_each_time():
    """An episode follows from its seed."""
    one, same, other = (Pendulum(seed) for seed in ((0, 1), (0, 1), (0, 2)))
    for pendulum in (one, same, other):
        pendulum.next_gap()
        pendulum.push(1.0)
    np.testing.assert_array_equal(one.state, same.state)
    assert not np.array_equal(one.state, other.state)
