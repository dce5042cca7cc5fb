"""train/graph.py: molecular graph networks against their published equations, and what symmetry demands of them."""

import json
import math

import keras
import numpy as np
import pytest

from edgewright.errors import MissingRequirement
from edgewright.export import convert, freeze
from edgewright.hosting import KerasGraph, answers_of
from edgewright.runtimes._runner import LOADERS, Graph, load_host
from edgewright.train import Dataset, get
from edgewright.train import _graph_baselines as baselines
from edgewright.train import _graph_dynamics as dynamics
from edgewright.train import _graph_equalize as equalizing
from edgewright.train import _graph_ethanol as ethanol
from edgewright.train import _graph_freesolv as freesolv
from edgewright.train import _graph_geometry as geometry
from edgewright.train import _graph_host as device
from edgewright.train import _graph_painn as painn
from edgewright.train import _graph_pairs as pairs
from edgewright.train import _graph_qm9 as qm9
from edgewright.train import _graph_schnet as schnet
from edgewright.train._graph_activations import ACTIVATIONS
from edgewright.train._training import outputs_of
from edgewright.train.graph import cross_validate_solvation, deploy_dynamics

ARCHITECTURE = get("graph")
GAPS = ("schnet-qm9-gap", "painn-qm9-gap")
needs_qm9 = pytest.mark.skipif(not qm9.installed(), reason="qm9pack is not installed")


def _random(seed=0):
    return np.random.default_rng(seed)


def _molecules(samples=3, atoms=7, seed=0):
    """Return inputs of random molecules of ``atoms`` heavy atoms, padded to nine."""
    random = _random(seed)
    kinds, hydrogens = random.integers(0, 4, (samples, atoms)), random.integers(0, 4, (samples, atoms))
    features = np.concatenate([np.eye(4)[kinds], np.eye(5)[hydrogens]], -1)
    # On a line, a bond apart, and shaken: no two atoms are too close.
    positions = random.normal(0, 0.3, (samples, atoms, 3)) + 1.3 * np.arange(atoms)[:, None] * [1, 0, 0]
    return _padded(features, positions, 9)


def _padded(features, positions, size):
    samples, atoms = features.shape[:2]
    made = {
        "atoms": np.zeros((samples, size, features.shape[-1]), "float32"),
        "positions": np.zeros((samples, size, 3), "float32"),
        "mask": np.zeros((samples, size, 1), "float32"),
    }
    made["atoms"][:, :atoms], made["positions"][:, :atoms], made["mask"][:, :atoms] = features, positions, 1
    return made


def _ethanol(samples=3, seed=0, shake=0.08):
    positions = ethanol.START + _random(seed).normal(0, shake, (samples, 9, 3))
    features = np.tile(ethanol.NUMBERS[:, None] == np.array(ethanol.ELEMENTS), (samples, 1, 1))
    return _padded(features, positions, 9)


def _rotation(seed=0):
    matrix, _ = np.linalg.qr(_random(seed).normal(size=(3, 3)))
    return (matrix * np.sign(np.linalg.det(matrix))).astype("float32")


def _settled(model, seed=1):
    """Give biases and all values too, so that no term of an equation is hidden by a zero."""
    random = _random(seed)
    model.set_weights([array + random.normal(0, 0.1, array.shape) for array in model.get_weights()])
    return model


@pytest.fixture(scope="module", params=GAPS)
def gap_model(request):
    """A network for gaps with random weights."""
    return _settled(ARCHITECTURE.experiment(request.param).build("edge", 0))


@pytest.fixture(scope="module")
def force_model():
    """A potential with random weights."""
    return _settled(ARCHITECTURE.experiment("schnet-ethanol-forces").build("edge", 0))


def _of(model, inputs):
    outputs = outputs_of(model, Dataset(inputs))
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _silu(x):
    return x / (1 + np.exp(-x))


def _ssp(x):
    return np.log(0.5 * np.exp(x) + 0.5)


@pytest.mark.parametrize(("name", "function"), [("silu", _silu), ("shifted_softplus", _ssp)])
def test_activations_have_their_slopes(name, function):
    """An activation is its formula, and its slope the limit of its differences."""
    x = np.linspace(-4, 4, 33)
    value, slope = (np.asarray(array) for array in ACTIVATIONS[name](keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(value, function(x), atol=1e-6)
    np.testing.assert_allclose(slope, (function(x + 1e-5) - function(x - 1e-5)) / 2e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "function"), [("silu", _silu), ("shifted_softplus", _ssp)])
def test_an_interaction_is_schnets(name, function):
    """Filter and interaction are the sums over neighbours of arXiv 1706.08566, atom by atom."""
    random = _random(2)
    atoms, units, count, cutoff = 5, 6, 8, 4.0
    positions = random.normal(0, 1.5, (atoms, 3)).astype("float32")
    x = random.normal(size=(atoms, units)).astype("float32")
    mask = np.ones((1, atoms, 1), "float32")
    distances, _, pairs = geometry.PairGeometry()([positions[None], mask])
    radial = geometry.RadialBasis(count, cutoff)(distances)
    ends = geometry.CosineCutoff(cutoff)([distances, pairs])
    filters, interaction = schnet.ContinuousFilter(units, name), schnet.Interaction(units, name)
    made = filters([radial, ends])
    interaction([x[None], made])
    _settled(filters), _settled(interaction)
    received = np.asarray(interaction([x[None], filters([radial, ends])]))[0]

    f1, b1, f2, b2 = (variable.numpy() for variable in filters.weights)
    u, v1, c1, v2, c2 = (variable.numpy() for variable in interaction.weights)
    expected = np.zeros_like(x)
    for i in range(atoms):
        message = np.zeros(units)
        for j in range(atoms):
            d = np.linalg.norm(positions[i] - positions[j])
            if i == j or d >= cutoff:
                continue
            e = np.exp(-((d - np.linspace(0, cutoff, count)) ** 2) / (2 * (cutoff / (count - 1)) ** 2))
            w = (function(e @ f1 + b1) @ f2 + b2) * 0.5 * (math.cos(math.pi * d / cutoff) + 1)
            message += (x[j] @ u) * w
        expected[i] = x[i] + function(message @ v1 + c1) @ v2 + c2
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_messages_and_updates_are_painns():
    """Both blocks are equations 7 to 10 of arXiv 2102.03150, atom by atom."""
    random = _random(3)
    atoms, units, count, cutoff = 4, 5, 6, 5.0
    positions = random.normal(0, 1.5, (atoms, 3)).astype("float32")
    s = random.normal(size=(atoms, units)).astype("float32")
    v = random.normal(size=(atoms, 3, units)).astype("float32")
    distances, directions, pairs = geometry.PairGeometry()([positions[None], np.ones((1, atoms, 1), "float32")])
    radial = geometry.RadialBasis(count, cutoff)(distances)
    ends = geometry.CosineCutoff(cutoff)([distances, pairs])
    parts = [v[None, :, axis] for axis in range(3)]
    message, update = painn.VectorMessage(units), painn.VectorUpdate(units)
    message([s[None], radial, ends, directions, *parts]), update([s[None], *parts])
    _settled(message), _settled(update)
    received = [np.asarray(array)[0] for array in message([s[None], radial, ends, directions, *parts])]

    w1, b1, w2, b2, f, g = (variable.numpy() for variable in message.weights)
    s_after, v_after = s.copy(), v.copy()
    for i in range(atoms):
        for j in range(atoms):
            r = positions[i] - positions[j]
            d = np.linalg.norm(r)
            if i == j or d >= cutoff:
                continue
            e = np.exp(-((d - np.linspace(0, cutoff, count)) ** 2) / (2 * (cutoff / (count - 1)) ** 2))
            x = (_silu(s[j] @ w1 + b1) @ w2 + b2) * (e @ f + g) * 0.5 * (math.cos(math.pi * d / cutoff) + 1)
            s_after[i] += x[:units]
            v_after[i] += v[j] * x[units : 2 * units] + x[2 * units :] * (r / d)[:, None]
    np.testing.assert_allclose(received[0], s_after, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.stack(received[1:], 1), v_after, rtol=1e-4, atol=1e-5)

    received = [np.asarray(array)[0] for array in update([s[None], *parts])]
    left, right, w1, b1, w2, b2 = (variable.numpy() for variable in update.weights)
    uv, vv = v @ left, v @ right
    a_vv, a_sv, a_ss = np.split(
        _silu(np.concatenate([s, np.linalg.norm(vv, axis=1)], -1) @ w1 + b1) @ w2 + b2, 3, axis=-1
    )
    np.testing.assert_allclose(received[0], s + a_ss + a_sv * (uv * vv).sum(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.stack(received[1:], 1), v + a_vv[:, None] * uv, rtol=1e-4, atol=1e-5)


def test_painns_vectors_turn_with_the_molecule():
    """When a molecule is turned, features stay and vectors turn with it, through two blocks."""
    random = _random(4)
    units, turn = 6, _rotation()
    positions = random.normal(0, 1.5, (1, 5, 3)).astype("float32")
    s = random.normal(size=(1, 5, units)).astype("float32")
    blocks = [painn.VectorMessage(units), painn.VectorUpdate(units), painn.VectorMessage(units)]

    def run(places):
        distances, directions, pairs = geometry.PairGeometry()([places, np.ones((1, 5, 1), "float32")])
        around = [geometry.RadialBasis(8, 5.0)(distances), geometry.CosineCutoff(5.0)([distances, pairs]), directions]
        x, *vectors = blocks[0]([s, *around])
        x, *vectors = blocks[1]([x, *vectors])
        x, *vectors = blocks[2]([x, *around, *vectors])
        return np.asarray(x), np.stack([np.asarray(vector) for vector in vectors], -1)

    (x, vectors), (x_turned, vectors_turned) = run(positions), run(positions @ turn.T)
    np.testing.assert_allclose(x_turned, x, atol=1e-4)
    np.testing.assert_allclose(vectors_turned, vectors @ turn.T, atol=1e-4)
    assert np.abs(vectors).max() > 0.1


def test_the_cutoff_ends_smoothly():
    """Value and slope of the cutoff go to 0 at its distance and are 0 beyond; the slope is that of the value."""
    d = np.array([0.5, 2.0, 3.999, 4.0, 4.5]).reshape(1, 1, 5, 1).astype("float32")
    layer = geometry.CosineCutoff(4.0, slope=True)
    value, slope = (np.asarray(array).ravel() for array in layer([d, np.ones_like(d)]))
    np.testing.assert_allclose(value[2:], 0, atol=1e-6)
    np.testing.assert_allclose(slope[2:], 0, atol=1e-3)
    assert value[4] == pytest.approx(0, abs=1e-7) and slope[4] == pytest.approx(0, abs=1e-7)
    apart = [np.asarray(layer([d + change, np.ones_like(d)])[0]).ravel() for change in (1e-2, -1e-2)]
    np.testing.assert_allclose(slope, (apart[0] - apart[1]) / 2e-2, atol=2e-3)


def test_an_atom_beyond_the_cutoff_is_not_felt(force_model):
    """Two halves of a molecule that are pulled far apart exert no force on each other, and none is NaN."""
    inputs = _ethanol(1)
    inputs["positions"][0, 4:] += [50, 0, 0]
    near = _of(force_model, inputs)
    inputs["positions"][0, 4:] += [9, 3, 1]
    far = _of(force_model, inputs)
    np.testing.assert_allclose(near["forces"], far["forces"], atol=2e-4)
    np.testing.assert_allclose(near["energy"], far["energy"], atol=1e-4)


def test_gaps_do_not_change_with_order_or_place(gap_model):
    """Permuting the atoms, turning and moving the molecule change nothing."""
    inputs = _molecules()
    expected = _of(gap_model, inputs)
    order = _random(5).permutation(9)
    np.testing.assert_allclose(_of(gap_model, {k: a[:, order] for k, a in inputs.items()}), expected, atol=1e-4)
    moved = inputs["positions"] @ _rotation().T + np.array([3, -2, 1], "float32")
    np.testing.assert_allclose(_of(gap_model, {**inputs, "positions": moved}), expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3


def test_what_stands_in_the_padding_changes_nothing(gap_model, force_model):
    """The positions of padded atoms, wherever they lie, are not seen; their forces are zero."""
    inputs = _molecules()
    elsewhere = {**inputs, "positions": np.where(inputs["mask"] > 0, inputs["positions"], 0.7).astype("float32")}
    np.testing.assert_allclose(_of(gap_model, elsewhere), _of(gap_model, inputs), atol=1e-5)
    inputs = _ethanol()
    for array in (inputs["atoms"], inputs["mask"]):
        array[:, 7:] = 0
    elsewhere = {**inputs, "positions": np.where(inputs["mask"] > 0, inputs["positions"], 0.7).astype("float32")}
    received, expected = _of(force_model, elsewhere), _of(force_model, inputs)
    np.testing.assert_allclose(received["energy"], expected["energy"], atol=1e-5)
    np.testing.assert_allclose(received["forces"], expected["forces"], atol=1e-5)
    assert not received["forces"][:, 7:].any()


def test_forces_turn_and_permute_with_the_molecule(force_model):
    """Energies are invariant, forces follow the atoms' order and the molecule's turn, and add up to zero."""
    inputs, turn, order = _ethanol(), _rotation(), _random(6).permutation(9)
    expected = _of(force_model, inputs)
    moved = {**inputs, "positions": inputs["positions"] @ turn.T + np.array([1, 2, 3], "float32")}
    received = _of(force_model, {name: array[:, order] for name, array in moved.items()})
    np.testing.assert_allclose(received["energy"], expected["energy"], atol=1e-4)
    np.testing.assert_allclose(received["forces"], (expected["forces"] @ turn.T)[:, order], atol=1e-4)
    np.testing.assert_allclose(expected["forces"].sum(1), 0, atol=1e-4)
    assert np.abs(expected["forces"]).max() > 0.05


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forces_are_the_energys_slope(activation):
    """The hand-written backward pass is automatic differentiation, for both activations, padding included."""
    import tensorflow as tf

    inputs = {name: tf.constant(array) for name, array in _ethanol().items()}
    mask = inputs["mask"] * tf.constant([1.0] * 8 + [0.0])[:, None]
    potential = schnet.SchNetPotential(12, 2, 1.7, activation)

    def run(positions):
        distances, directions, pairs = geometry.PairGeometry()([positions, mask])
        radial = geometry.RadialBasis(10, 4.0, slope=True)(distances)
        ends = geometry.CosineCutoff(4.0, slope=True)([distances, pairs])
        energy, *tensions = potential([inputs["atoms"], mask, *radial, *ends])
        return energy, schnet.PairForces()([sum(tensions), directions])

    run(inputs["positions"])
    _settled(potential)
    with tf.GradientTape() as tape:
        tape.watch(inputs["positions"])
        energy, forces = run(inputs["positions"])
        total = tf.reduce_sum(energy)
    np.testing.assert_allclose(forces, -tape.gradient(total, inputs["positions"]), rtol=1e-3, atol=1e-5)
    assert np.abs(forces).max() > 0.01


def test_forces_are_differences_of_the_energy(force_model):
    """Moving an atom along an axis changes the energy by what the force says."""
    inputs = _ethanol(1)
    forces = _of(force_model, inputs)["forces"][0]
    step = 5e-3
    for atom, axis in ((0, 0), (2, 1), (8, 2)):
        energies = []
        for change in (step, -step):
            positions = inputs["positions"].copy()
            positions[0, atom, axis] += change
            energies.append(float(_of(force_model, {**inputs, "positions": positions})["energy"][0, 0]))
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(forces[atom, axis], abs=3e-3)


def test_a_pair_potential_is_fitted_to_its_forces():
    """Frames whose forces come of pairs give back those forces at other frames, and the level of their energies."""
    count, cutoff = 8, 5.0
    made = _random(8).normal(size=(3, 3, count))
    made = made + made.transpose(1, 0, 2)
    inputs, others = _ethanol(40, seed=1), _ethanol(5, seed=2)
    labels = {"forces": pairs.pair_forces(inputs, made, cutoff), "energy": np.full((40, 1), 0.3)}
    fitted, _ = pairs.fit_pairs(inputs, labels, count, cutoff)
    expected = pairs.pair_forces(others, made, cutoff)
    np.testing.assert_allclose(pairs.pair_forces(others, fitted, cutoff), expected, atol=0.02 * np.abs(expected).max())

    labels["forces"][:] = 0
    fitted, offset = pairs.fit_pairs(inputs, labels, count, cutoff)
    assert not fitted.any() and offset == pytest.approx(0.3)


def test_the_network_is_trained_on_what_pairs_leave():
    """Before the first step the pairs are fitted: with a network that gives nothing, forces are those of the fit."""
    model = ARCHITECTURE.experiment("schnet-ethanol-forces").build("edge", 0)
    inputs = _ethanol(30, seed=3)
    labels = {"forces": _random(9).normal(size=(30, 9, 3)), "energy": np.ones((30, 1))}
    fit = pairs.FitPairs(lambda: Dataset(inputs, labels))
    fit.set_model(model)
    fit.on_train_begin()
    for variable in model.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    basis = model.get_layer("radial")
    coefficients, offset = pairs.fit_pairs(inputs, labels, basis.count, basis.cutoff)
    received = _of(model, inputs)
    np.testing.assert_allclose(received["forces"], pairs.pair_forces(inputs, coefficients, basis.cutoff), atol=2e-3)
    assert received["energy"].mean() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(model.get_layer("pair_potential").offset.numpy(), [offset], rtol=1e-6)


def test_equalizing_gives_features_one_range_and_changes_no_force():
    """After it each feature of a filter is as large as that of its senders; energies and forces are the same."""
    model = _settled(ARCHITECTURE.experiment("schnet-ethanol-forces").build("edge", 0))
    inputs = _ethanol(20)
    expected = _of(model, inputs)
    equalizer = equalizing.Equalize(lambda: Dataset(inputs))
    equalizer.set_model(model)
    equalizer.on_train_end()
    received = _of(model, inputs)
    np.testing.assert_allclose(received["energy"], expected["energy"], atol=1e-4)
    np.testing.assert_allclose(received["forces"], expected["forces"], atol=1e-4)

    potential = model.get_layer("potential")
    distances, _, counted = geometry.PairGeometry()([inputs["positions"], inputs["mask"]])
    made = potential.filters[0]([model.get_layer("radial")(distances)[0], counted])
    sent = potential.layers[0].senders(potential.embedding(inputs["atoms"]))
    np.testing.assert_allclose(np.abs(made).max((0, 1, 2)), np.abs(sent).max((0, 1)), rtol=1e-3)


def test_a_force_trains_through_its_backward_pass(force_model):
    """Forces have a gradient to every weight, so that they are learnt by automatic differentiation."""
    import tensorflow as tf

    inputs = {name: tf.constant(array) for name, array in _ethanol().items()}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(force_model(inputs)["forces"]))
    gradients = tape.gradient(loss, [variable.value for variable in force_model.trainable_variables])
    for variable, gradient in zip(force_model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path


@pytest.mark.parametrize("name", [experiment.name for experiment in ARCHITECTURE.experiments])
def test_a_clone_and_a_file_compute_the_same(name, tmp_path):
    """A clone with the same weights and a saved and loaded model give the same outputs to the last bit."""
    model = _settled(ARCHITECTURE.experiment(name).build("edge", 0))
    inputs = _ethanol() if "forces" in name else _molecules()
    if "freesolv" in name:
        inputs = {k: _random().integers(0, 2, (3, *t.shape[1:])).astype("float32") for k, t in model.input.items()}
    expected = outputs_of(model, Dataset(inputs))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    for other in (clone, keras.saving.load_model(tmp_path / "model.keras")):
        for output, array in outputs_of(other, Dataset(inputs)).items():
            np.testing.assert_array_equal(array, expected[output])


def _host(deployment):
    graphs = {name: KerasGraph(name, graph) for name, graph in deployment.graphs.items()}
    return load_host(str(deployment.host))(graphs, json.loads(json.dumps(dict(deployment.settings))))


@needs_qm9
@pytest.mark.parametrize("name", GAPS)
def test_the_host_computes_what_the_model_computes(name):
    """From whole molecules with hydrogens, host code and graph give the trained model's own gaps."""
    experiment = ARCHITECTURE.experiment(name)
    model = _settled(experiment.build("edge", 0))
    deployment = experiment.deployment(model)
    test = deployment.task.test.take(20)
    answers, calls = answers_of(deployment, test)
    expected = outputs_of(model, experiment.task().test.take(20))["gap"]
    np.testing.assert_allclose(answers["gap"], expected, atol=1e-5)
    np.testing.assert_array_equal(test.labels, experiment.task().test.labels[:20])
    assert calls == {"model": 1.0}


def test_the_host_computes_the_models_forces(force_model, monkeypatch):
    """Host code and graph give the potential's own energies and forces, forces first, for smaller molecules too."""
    deployment = _force_deployment(force_model, monkeypatch)
    inputs = _ethanol(2)
    expected = _of(force_model, inputs)
    host = _host(deployment)
    for place in range(2):
        made = host.run({"numbers": ethanol.NUMBERS, "positions": inputs["positions"][place]})
        assert list(made) == ["forces", "energy"]
        np.testing.assert_allclose(made["forces"], expected["forces"][place], atol=1e-5)
        np.testing.assert_allclose(made["energy"], expected["energy"][place], atol=1e-5)
    energy, forces = host.energy_and_forces(ethanol.NUMBERS[:7], inputs["positions"][0, :7])
    assert isinstance(energy, float) and forces.shape == (7, 3)


def _force_deployment(model, monkeypatch):
    """Return the deployment form without its data, which takes minutes to make."""
    monkeypatch.setattr(ethanol, "molecules_in_motion", lambda: None)
    return ARCHITECTURE.experiment("schnet-ethanol-forces").deployment(model)


@pytest.mark.parametrize(
    ("numbers", "shape", "message"),
    [
        ([6] * 10, (10, 3), "1 to 9 atoms. Got: 10"),
        ([6, 7], (2, 3), r"elements \[1, 6, 8\]. Got: atomic number 7"),
        ([6, -1], (2, 3), r"elements \[1, 6, 8\]. Got: atomic number -1"),
        ([6.0, np.nan], (2, 3), r"elements \[1, 6, 8\]. Got: atomic number nan"),
        ([0, 0], (2, 3), "1 to 9 atoms. Got: 0"),
        ([6, 0, 8], (3, 3), r"after the atoms. Got: \[6, 0, 8\]"),
        ([6, 6], (3, 3), r"shape \(2, 3\).*Got: \(3, 3\)"),
    ],
)
def test_the_host_refuses_what_the_network_cannot_take(numbers, shape, message, force_model, monkeypatch):
    """A molecule larger than the padding, an unknown element, no atoms, and misshapen positions are named."""
    host = _host(_force_deployment(force_model, monkeypatch))
    with pytest.raises(ValueError, match=message):
        host.run({"numbers": np.array(numbers), "positions": np.zeros(shape, "float32")})


@pytest.mark.parametrize("name", ["positions", "velocities"])
def test_the_host_refuses_places_that_are_no_numbers(name, force_model, monkeypatch):
    """NaN in a sample is told, also for a run of dynamics: an int8 graph would make ordinary energies of it."""
    host = _host(_force_deployment(force_model, monkeypatch))
    sample = {"numbers": np.array([6, 8]), "positions": np.eye(3)[:2], "velocities": np.zeros((2, 3))}
    assert np.isfinite(host.run(sample)["energy"]).all()
    sample[name][1, 2] = np.nan
    with pytest.raises(ValueError, match=f"Expected finite {name}. Got: NaN"):
        host.run(sample)


def test_dynamics_take_known_elements_without_padding(force_model, monkeypatch):
    """An atom that has no mass is named; padding has none."""
    host = _host(_force_deployment(force_model, monkeypatch))
    host.settings["dynamics"] = {"steps": 1, "step_fs": 0.5, "masses": [1.008, 12.011, 15.999]}
    sample = {"numbers": np.array([6, 8, 0]), "positions": np.eye(3), "velocities": np.zeros((3, 3))}
    with pytest.raises(ValueError, match=r"elements \[1, 6, 8\], without padding. Got: \[6, 8, 0\]"):
        host.run(sample)


def test_hydrogens_are_counted_at_the_nearest_heavy_atom():
    """Methanol becomes a carbon with three hydrogens and an oxygen with one, in whatever order its atoms come."""
    numbers = np.array([[1, 6, 1, 8, 1, 1, 0, 0, 0, 0]])
    places = np.zeros((1, 10, 3))
    places[0, :6] = [[-0.4, 1, 0], [0, 0, 0], [-0.4, -0.5, 0.9], [1.4, 0, 0], [-0.4, -0.5, -0.9], [1.7, 0.9, 0]]
    made = qm9.heavy_atoms(numbers, places)
    assert made["mask"].ravel().tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert made["atoms"][0, :2].argmax(-1).tolist() == [0, 2]
    assert made["atoms"][0, :2, 4:].argmax(-1).tolist() == [3, 1]
    np.testing.assert_allclose(made["positions"][0, 1], [1.4, 0, 0])


def test_a_gap_host_refuses_a_molecule_above_its_padding(monkeypatch):
    """Ten heavy atoms are named with how many fit; any number of hydrogens is folded into them."""
    monkeypatch.setattr(qm9, "whole_molecules", lambda: None)
    experiment = ARCHITECTURE.experiment("schnet-qm9-gap")
    host = _host(experiment.deployment(experiment.build("edge", 0)))
    chain = 1.4 * np.arange(10)[:, None] * np.array([1.0, 0, 0])
    with pytest.raises(ValueError, match="1 to 9 heavy atoms. Got: 10"):
        host.run({"numbers": np.array([6] * 10), "positions": chain})
    numbers = np.array([6] * 9 + [1] * 21)
    places = np.concatenate([chain[:9], chain[np.arange(21) % 9] + [0, 1, 0]])
    assert host.run({"numbers": numbers, "positions": places})["gap"].shape == (1,)
    with pytest.raises(ValueError, match="up to 4 hydrogens at a heavy atom. Got: 21"):
        host.run({"numbers": numbers, "positions": np.concatenate([chain[:9], chain[:1] + np.ones((21, 3))])})


@pytest.mark.parametrize(
    ("format", "runtime"),
    [
        ("tflite", "litert"),
        pytest.param("onnx", "onnxruntime", marks=pytest.mark.slow),
        pytest.param("openvino", "openvino", marks=pytest.mark.slow),
    ],
)
def test_int8_forces_follow_the_order_of_the_atoms(format, runtime, force_model, monkeypatch, tmp_path):
    """In an int8 export, too, energy does not change with the atoms' order, and forces follow it."""
    deployment = _force_deployment(force_model, monkeypatch)
    inputs = _ethanol(24)
    recorded = KerasGraph("model", deployment.graphs["model"], record=True)
    settings = json.loads(json.dumps(dict(deployment.settings)))
    in_keras = load_host(str(deployment.host))({"model": recorded}, settings)
    exact = [in_keras.predict({"numbers": ethanol.NUMBERS, "positions": p}) for p in inputs["positions"]]
    calls = {name: np.concatenate([call[name] for call in recorded.recorded]) for name in recorded.recorded[0]}
    np.savez(tmp_path / "calibration.npz", **calls)
    frozen = freeze(deployment.graphs["model"], tmp_path / "frozen")
    (tmp_path / "made").mkdir()
    made = convert(frozen, format, "int8", tmp_path / "made", tmp_path / "calibration.npz")
    assert made.artifact, made.reason
    host = load_host(str(deployment.host))(
        {"model": Graph("model", LOADERS[runtime][1](str(made.artifact.path)))}, settings
    )
    steps = np.ptp([answer["forces"] for answer in exact]) / 255
    for positions, answer in list(zip(inputs["positions"], exact, strict=True))[:4]:
        order = _random(10).permutation(9)
        expected = host.run({"numbers": ethanol.NUMBERS, "positions": positions})
        received = host.run({"numbers": ethanol.NUMBERS[order], "positions": positions[order]})
        # Integers add up to the same in any order; floats may round into the next step.
        allowed = 1e-5 if format == "tflite" else 4 * steps
        np.testing.assert_allclose(received["forces"], expected["forces"][order], atol=allowed)
        np.testing.assert_allclose(received["energy"], expected["energy"], atol=allowed)
        assert 0 < np.abs(expected["forces"] - answer["forces"]).max() < 40 * steps


def _oscillator(positions):
    """A spring of stiffness 20 eV / angstrom^2 on each atom."""
    return 10.0 * float((positions**2).sum()), -20.0 * positions


def test_verlets_energy_error_is_bounded_and_of_second_order():
    """On springs the energy swings about its start and does not drift; half the step swings a quarter as far."""
    start = _random(11).normal(0, 0.1, (4, 3))
    swings = []
    for step in (1.0, 0.5):
        steps = round(4000 / step)
        potential, kinetic, *_ = device.velocity_verlet(_oscillator, start, np.zeros((4, 3)), np.ones(4), step, steps)
        total = potential + kinetic
        swings.append(np.ptp(total[: steps // 4]))
        assert np.ptp(total) < 1.1 * swings[-1]
        kept = dynamics.conservation(potential, kinetic, step)
        assert abs(kept.drift_mev_per_ps) < 0.01 * 1000 * swings[-1] and kept.steps == steps
    assert swings[0] / swings[1] == pytest.approx(4, rel=0.15)
    assert 0.001 < swings[0] / total[0] < 0.2


def test_verlet_runs_back_to_where_it_started():
    """With its velocities turned round, a run ends at its start: the integrator is reversible, its last step whole."""
    start, velocities = _random(12).normal(0, 0.1, (2, 3, 3))
    masses = np.array([1.0, 12, 16])
    *_, positions, reached = device.velocity_verlet(_oscillator, start, 0.1 * velocities, masses, 0.5, 300)
    *_, positions, reached = device.velocity_verlet(_oscillator, positions, -reached, masses, 0.5, 300)
    np.testing.assert_allclose(positions, start, atol=1e-9)
    np.testing.assert_allclose(reached, -0.1 * velocities, atol=1e-9)


def test_a_run_that_leaves_the_numbers_is_told():
    """Where forces become infinite a run goes no further: its energies are NaN from there, the steps are counted."""

    def breaking(positions):
        return 0.0, np.full(positions.shape, np.inf if positions.max() > 1 else 1.0)

    potential, kinetic, *_ = device.velocity_verlet(breaking, np.zeros((2, 3)), np.zeros((2, 3)), np.ones(2), 1.0, 100)
    kept = dynamics.conservation(potential, kinetic, 1.0)
    assert 5 < kept.steps < 50 and np.isnan(potential[kept.steps + 1 :]).all()


def test_drift_and_fluctuation_are_those_of_the_total_energy():
    """A total energy that rises by 3 meV/ps and swings by 2 meV gives these numbers back."""
    times = np.arange(20_001) * 0.5e-3
    kinetic = 0.2 + 0.05 * np.sin(80 * times)
    potential = 1 - kinetic + 0.003 * times + 0.002 * math.sqrt(2) * np.sin(500 * times)
    kept = dynamics.conservation(potential, kinetic, 0.5)
    assert kept.drift_mev_per_ps == pytest.approx(3, rel=0.02)
    assert kept.fluctuation_mev == pytest.approx(2, rel=0.02)
    assert kept.temperature == pytest.approx(2 * 0.2 / (21 * ethanol.BOLTZMANN_EV), rel=0.01)


def test_velocities_are_thermal_and_move_nothing_as_a_whole():
    """Maxwell's velocities have the kinetic energy of their temperature; what is left of them is internal."""
    drawn = np.stack([dynamics.thermal_velocities(400, seed) for seed in range(200)])
    energy = 0.5 * (ethanol.MASSES[:, None] * drawn**2).sum((1, 2)).mean() / device.ACCELERATION
    assert energy == pytest.approx(13.5 * ethanol.BOLTZMANN_EV * 400, rel=0.1)
    velocities = dynamics.internal(drawn[0], ethanol.START)
    momenta = ethanol.MASSES[:, None] * velocities
    np.testing.assert_allclose(momenta.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cross(ethanol.START, momenta).sum(0), 0, atol=1e-12)


def test_dynamics_by_the_potential_keep_their_energy(force_model):
    """A run by the host around the Keras graph keeps the total energy, while potential and kinetic energy change."""
    deployment = deploy_dynamics(force_model, picoseconds=0.1, temperature=100)
    answers, calls = answers_of(deployment, deployment.task.test)
    assert answers["potential"].shape == answers["kinetic"].shape == (1, 201) and calls == {"model": 201.0}
    kept = dynamics.conservation(answers["potential"][0], answers["kinetic"][0], dynamics.STEP_FS)
    assert kept.fluctuation_mev < 0.05 * 1000 * np.ptp(answers["kinetic"])
    assert answers["kinetic"][0, 0] > 0.01


@needs_qm9
def test_qm9_is_split_as_published():
    """110,000 molecules train, 10,000 validate, 10,831 test, each in one part, and their gaps are those of QM9."""
    parts = qm9.split(130_831)
    assert [len(part) for part in parts] == [110_000, 10_000, 10_831]
    assert len(set(np.concatenate(parts).tolist())) == 130_831
    task = ARCHITECTURE.default.task()
    assert task.train.labels.mean() == pytest.approx(6.86, abs=0.01)
    assert qm9.molecules()["gap"][0] == pytest.approx(0.5048 * 27.2114, abs=1e-3)  # methane


def test_langevin_dynamics_keeps_its_temperature():
    """Free oscillators have the variance kT / k of their coordinates, and every run of a seed is the same."""
    stiffness = 3.0

    def oscillators(positions):
        return 0.5 * stiffness * float((positions**2).sum()), -stiffness * positions

    frames = [positions for positions, _, _ in ethanol.langevin(oscillators, np.zeros((9, 3)), 0)]
    assert np.var(frames) == pytest.approx(ethanol.BOLTZMANN_EV * ethanol.TEMPERATURE / stiffness, rel=0.1)
    again = next(ethanol.langevin(oscillators, np.zeros((9, 3)), 0))
    np.testing.assert_array_equal(again[0], frames[0])


def test_relaxing_finds_the_lowest_energy():
    """Descent ends at the bottom of a bowl."""
    positions, energy = ethanol.relax(lambda r: (float(((r - 1) ** 2).sum()), -2 * (r - 1)), np.zeros((9, 3)))
    np.testing.assert_allclose(positions, 1, atol=1e-3)
    assert energy == pytest.approx(0, abs=1e-6)


def test_folds_hold_every_molecule_once(monkeypatch):
    """Each molecule tests in one of the five folds and never trains there."""
    arrays = {name: np.arange(642.0)[:, None] for name in ("atoms", "bonds", "mask", "energy")}
    monkeypatch.setattr(freesolv, "molecules", lambda: arrays)
    tasks = [freesolv.freesolv.__wrapped__(fold) for fold in range(freesolv.FOLDS)]
    assert sorted(np.concatenate([task.test.labels.ravel() for task in tasks])) == list(range(642))
    for task in tasks:
        assert len(task.train) + len(task.test) == 642
        assert not set(task.train.labels.ravel()) & set(task.test.labels.ravel())


@pytest.mark.slow
def test_solvation_energies_are_right_over_five_folds():
    """The mean error over FreeSolv's five folds is at most 1.1 kcal/mol."""
    pytest.importorskip("rdkit")
    assert np.mean(cross_validate_solvation()) <= 1.1


def test_solvation_energies_do_not_change_with_order_or_padding():
    """Permuting a molecule's atoms with their bonds changes nothing, nor does what bonds padded atoms have."""
    model = _settled(ARCHITECTURE.experiment("mpnn-freesolv").build("edge", 0))
    random = _random(7)
    size, atoms = freesolv.MAX_ATOMS, 6
    inputs = {
        "atoms": np.zeros((1, size, freesolv.FEATURES), "float32"),
        "bonds": np.zeros((1, size, size, len(freesolv.BONDS) + 1), "float32"),
        "mask": np.zeros((1, size, 1), "float32"),
    }
    inputs["atoms"][:, :atoms] = random.integers(0, 2, (1, atoms, freesolv.FEATURES))
    bonds = random.integers(0, 2, (atoms, atoms, len(freesolv.BONDS) + 1))
    inputs["bonds"][0, :atoms, :atoms] = bonds + bonds.transpose(1, 0, 2)
    inputs["mask"][:, :atoms] = 1
    expected = _of(model, inputs)
    order = random.permutation(size)
    permuted = {name: array[:, order] for name, array in inputs.items()}
    permuted["bonds"] = permuted["bonds"][:, :, order]
    np.testing.assert_allclose(_of(model, permuted), expected, atol=1e-4)
    inputs["bonds"][0, -2:, -2:] = 1
    np.testing.assert_allclose(_of(model, inputs), expected, atol=1e-5)


def test_a_linear_baseline_finds_a_linear_law():
    """Ridge regression with an intercept predicts what is linear, whatever the features' levels."""
    random = _random(13)
    features = random.normal(5, [1, 10, 0.1], (200, 3))
    law = features @ [2.0, -0.3, 4.0] + 7
    predicted = baselines.linear_predictions(features[:150], law[:150], features[150:])
    np.testing.assert_allclose(predicted, law[150:], atol=1e-2)


def test_coulomb_eigenvalues_are_those_of_the_published_matrix():
    """Of two hydrogens they are 1/2 + 1/d and 1/2 - 1/d; padding adds zeros, and the atoms' order changes nothing."""
    distance = 0.74 / ethanol.BOHR_IN_ANGSTROM
    positions = np.zeros((1, 4, 3))
    positions[0, 1, 0] = 0.74
    values = baselines.coulomb_eigenvalues(np.array([[1, 1, 0, 0]]), positions)
    np.testing.assert_allclose(values, [[0.5 + 1 / distance, 0.5 - 1 / distance, 0, 0]], atol=1e-9)
    order = _random(14).permutation(9)
    values = baselines.coulomb_eigenvalues(ethanol.NUMBERS[None], ethanol.START[None])
    permuted = baselines.coulomb_eigenvalues(ethanol.NUMBERS[order][None], ethanol.START[order][None])
    np.testing.assert_allclose(permuted, values, atol=1e-9)


def test_baselines_count_atoms_and_bonds():
    """Ethanol has six hydrogens, two carbons and an oxygen; a bond that is written in both directions counts once."""
    assert baselines.composition(ethanol.NUMBERS[None]).tolist() == [[6, 2, 0, 1, 0]]
    atoms, bonds = np.zeros((1, 4, 3)), np.zeros((1, 4, 4, 2))
    atoms[0, :2, 1] = 1
    bonds[0, 0, 1, 0] = bonds[0, 1, 0, 0] = 1
    assert baselines.graph_counts(Dataset({"atoms": atoms, "bonds": bonds})).tolist() == [[0, 2, 0, 1, 0]]


def test_a_missing_package_is_named(monkeypatch):
    """Without the package that ships QM9 the error says how to get it."""
    monkeypatch.setattr(qm9, "_folder", lambda: None)
    with pytest.raises(MissingRequirement, match="qm9pack"):
        qm9._read()
