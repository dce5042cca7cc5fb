"""train/multimodal.py: Sort-of-CLEVR, cross-attention, its two graphs for devices, and the drone's sensors."""

import importlib.util
import json
import sys

import keras
import numpy as np
import pytest

from edgewright.errors import MissingRequirement
from edgewright.hosting import answers_of
from edgewright.train import Dataset, Deployment, Task, get
from edgewright.train import _multimodal_clevr as clevr
from edgewright.train import _multimodal_drone as drone
from edgewright.train._multimodal_attention import Attend, AttendOnce, NormalizedChannels, Place, SplitHeads, places
from edgewright.train._multimodal_baselines import relation_network
from edgewright.train._multimodal_fusion import SHAPE, Toward, fusion
from edgewright.train._multimodal_headings import ACCURACY_OF_HEADINGS, SafestHeading, clearance_lost, safest
from edgewright.train._multimodal_vqa import Shape, cross_attention, look_and_ask
from edgewright.train._training import outputs_of
from edgewright.train.multimodal import DRONE_HOST

ON_CLEVR = ("sort-of-clevr", "cnn-mlp", "film", "relation-network")


@pytest.fixture
def random():
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def model():
    """A cross-attention model with two hops whose weights are all random."""
    keras.utils.set_random_seed(1)
    made = cross_attention(Shape(hops=2))
    draws = np.random.default_rng(1)
    made.set_weights([array + draws.normal(0, 0.05, array.shape) for array in made.get_weights()])
    return made


@pytest.fixture(scope="module")
def samples():
    """Three test pictures with their questions."""
    return clevr.sort_of_clevr().test.take(3)


def _softmax(x):
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def test_attention_is_the_published_equation(random):
    """Attend computes softmax(Q K^T / sqrt(d)) V for each head, as loops over heads and queries do."""
    queries, keys, values = (random.normal(size=(2, count, 8)).astype("float32") for count in (5, 7, 7))
    split = SplitHeads(2)
    found = np.asarray(Attend()([split(queries), split(keys), split(values)]))
    for sample in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            for query in range(5):
                weights = _softmax(keys[sample, :, head] @ queries[sample, query, head] / 2)
                np.testing.assert_allclose(found[sample, query, head], weights @ values[sample, :, head], atol=1e-6)


def test_one_query_by_products_and_sums_is_attention(random):
    """AttendOnce gives what Attend gives for one query, and refuses two."""
    query, keys, values = (random.normal(size=(3, 2, count, 4)).astype("float32") for count in (1, 9, 9))
    np.testing.assert_allclose(AttendOnce()([query, keys, values]), Attend()([query, keys, values]), atol=1e-6)
    with pytest.raises(ValueError, match=r"one query.*\(3, 2, 9, 4\)"):
        AttendOnce()([keys, keys, values])


def test_equal_keys_make_attention_a_mean(random):
    """Where all keys are the same, a query gathers the mean of the values."""
    query, values = (random.normal(size=(1, 1, count, 4)).astype("float32") for count in (1, 6))
    found = np.asarray(Attend()([query, np.ones_like(values), values]))
    np.testing.assert_allclose(found[0, 0], values[0, 0].mean(axis=0), atol=1e-6)


def test_channels_are_normalized_as_keras_does(random):
    """NormalizedChannels is Keras' LayerNormalization, and bias and scale do nothing to its input."""
    x = random.normal(2, 3, (2, 5, 16)).astype("float32")
    layer = NormalizedChannels()
    expected = keras.layers.LayerNormalization(epsilon=NormalizedChannels.EPSILON)(x)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    np.testing.assert_allclose(layer(4 * x + 3), layer(x), atol=1e-3)


def test_places_are_appended_channels(random):
    """Dense and Place together are one linear map of tokens with the channels x, y, x^2 and y^2 appended."""
    tokens = random.normal(size=(2, 6, 3)).astype("float32")
    dense, place = keras.layers.Dense(4), Place(2, 3)
    found = np.asarray(place(dense(tokens)))
    grid = np.array([[x, y, x * x, y * y] for y in (-1, 1) for x in (-1, 0, 1)])
    np.testing.assert_allclose(places(2, 3), grid)
    appended = np.concatenate([tokens, np.broadcast_to(grid, (2, 6, 4))], axis=-1)
    kernel = np.concatenate([np.asarray(dense.kernel), np.asarray(place.kernel)])
    np.testing.assert_allclose(found, appended @ kernel, atol=1e-5)


def _read(picture):
    """Return centre and shape of each object, found in the pixels alone."""
    objects = []
    for colour in clevr.COLOURS.values():
        rows, columns = np.nonzero((picture == colour).all(axis=-1))
        assert (rows.max() - rows.min(), columns.max() - columns.min()) == (10, 10)
        shape = "square" if len(rows) == 121 else "circle"
        objects.append(((columns.min() + columns.max()) // 2, (rows.min() + rows.max()) // 2, shape))
    return objects


def _answer(objects, question):
    """Return the answer in words, by going through the objects."""
    place = int(np.flatnonzero(question[:6])[0])
    together, kind = int(np.flatnonzero(question[6:8])[0]), int(np.flatnonzero(question[8:])[0])
    x, y, shape = objects[place]
    if not together:
        return (shape, "yes" if x < 37.5 else "no", "yes" if y < 37.5 else "no")[kind]
    if kind == 2:
        return str(sum(other[2] == shape for other in objects))
    others = [other for number, other in enumerate(objects) if number != place]
    others.sort(key=lambda other: (other[0] - x) ** 2 + (other[1] - y) ** 2)
    return (others[0] if kind == 0 else others[-1])[2]


def test_answers_are_those_read_off_the_pictures():
    """Every answer follows from the pixels of its picture, by an evaluation that shares nothing with the generator."""
    data = clevr.sort_of_clevr().test
    for picture, questions, labels in zip(data.inputs["image"], data.inputs["questions"], data.labels, strict=True):
        objects = _read(picture)
        assert [_answer(objects, question) for question in questions] == [clevr.ANSWERS[label] for label in labels]


def test_objects_do_not_overlap():
    """Each object's 11 x 11 pixels lie inside the picture and touch no other's."""
    scenes = clevr.draw_scenes(500, np.random.default_rng(3))
    assert scenes.centres.min() >= 5 and scenes.centres.max() <= 69
    apart = np.abs(scenes.centres[:, :, None] - scenes.centres[:, None]).max(axis=-1)
    assert (apart + 99 * np.eye(6, dtype=int)).min() >= 11


def test_sort_of_clevr_is_as_published():
    """9,800 and 200 pictures of 75 x 75, ten questions of each sort, no picture in both, answers in balance."""
    task = clevr.sort_of_clevr()
    assert task.train.inputs["image"].shape == (9800, 75, 75, 3) and task.test.labels.shape == (200, 20)
    questions = task.train.inputs["questions"]
    np.testing.assert_array_equal(questions.sum(axis=-1), 3)
    np.testing.assert_array_equal(questions[:, :10, 6], 1)
    np.testing.assert_array_equal(questions[:, 10:, 7], 1)
    train = {picture.tobytes() for picture in task.train.inputs["image"]}
    assert not [picture for picture in task.test.inputs["image"] if picture.tobytes() in train]
    share = np.bincount(task.train.labels.ravel(), minlength=10) / task.train.labels.size
    np.testing.assert_allclose(share[:4], [1 / 6, 1 / 6, 1 / 4, 1 / 4], atol=0.01)  # yes, no, square, circle
    np.testing.assert_allclose(share[4:], np.array([1, 5, 10, 10, 5, 1]) / 32 / 6, atol=0.005)  # binomial counts


def test_the_order_of_tokens_does_not_matter(model, samples, random):
    """A picture's tokens, each with its place, may come in any order: the answer stays."""
    look, ask = look_and_ask(model)
    seen = outputs_of(look, Dataset({"image": samples.inputs["image"]}))
    order = random.permutation(100)
    question = {"question": samples.inputs["questions"][:, :1]}
    first = outputs_of(ask, Dataset({**seen, **question}))["answer"]
    shuffled = {name: array[:, :, order] for name, array in seen.items()}
    np.testing.assert_allclose(outputs_of(ask, Dataset({**shuffled, **question}))["answer"], first, atol=1e-6)
    only_keys = {name: array[:, :, order] if "keys" in name else array for name, array in seen.items()}
    assert np.abs(outputs_of(ask, Dataset({**only_keys, **question}))["answer"] - first).max() > 1e-3


@pytest.mark.parametrize("name", ON_CLEVR)
def test_a_question_does_not_see_the_others(name, samples):
    """The answer to a question depends on the picture and on that question alone."""
    built = get("multimodal").experiment(name).build("edge", 0)
    first = outputs_of(built, samples)["answers"]
    questions = samples.inputs["questions"].copy()
    questions[:, 1:] = questions[:, :0:-1]
    changed = outputs_of(built, Dataset({**samples.inputs, "questions": questions}))["answers"]
    np.testing.assert_allclose(changed[:, 0], first[:, 0], atol=1e-6)
    np.testing.assert_allclose(changed[:, 1:], first[:, :0:-1], atol=1e-6)


def test_the_relation_network_is_the_published_equation(samples):
    """The outputs are f of the sum of g over the pairs of places, g's first layer on three parts side by side."""
    built = relation_network(8)
    answers = outputs_of(built, samples)["answers"]
    objects = np.asarray(keras.Model(built.input, built.get_layer("object").output)(dict(samples.inputs)))[0]
    weights = {layer.name: [np.asarray(array) for array in layer.get_weights()] for layer in built.layers}
    g_1 = np.concatenate([weights["as_first"][0], weights["as_second"][0], weights["asked"][0]])
    question = np.maximum(samples.inputs["questions"][0, 4] @ weights["question"][0], 0)  # biases start at zero
    total = 0
    for first in range(25):
        for second in range(first, 25):
            x = np.maximum(np.concatenate([objects[first], objects[second], question]) @ g_1, 0)
            for name in ("g_2", "g_3"):
                x = np.maximum(x @ weights[name][0] + weights[name][1], 0)
            total = total + x
    x = np.maximum(total / 25 @ weights["answering"][0] + weights["answering"][1], 0)
    np.testing.assert_allclose(answers[0, 4], _softmax(x @ weights["answers"][0] + weights["answers"][1]), atol=1e-5)


@pytest.mark.parametrize("name", [*ON_CLEVR, "drone-fused"])
def test_a_model_is_saved_and_cloned(name, samples, tmp_path):
    """A saved and a cloned model give the outputs of the original to the last bit."""
    built = get("multimodal").experiment(name).build("edge", 2)
    data = samples if name in ON_CLEVR else Dataset(_sensors(3))
    (expected,) = outputs_of(built, data).values()
    built.save(tmp_path / "model.keras")
    cloned = keras.models.clone_model(built)
    cloned.set_weights(built.get_weights())
    for again in (keras.saving.load_model(tmp_path / "model.keras"), cloned):
        np.testing.assert_array_equal(next(iter(outputs_of(again, data).values())), expected)


def _hosted(path, graphs, settings):
    """Return the code of a device, loaded as it is there, around graphs of Keras."""
    spec = importlib.util.spec_from_file_location("host", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def callable_of(graph):
        return lambda inputs: outputs_of(graph, Dataset(inputs))

    return module.Host({name: callable_of(graph) for name, graph in graphs.items()}, json.loads(json.dumps(settings)))


@pytest.fixture(scope="module")
def host(model):
    """What a device runs for questions about pictures."""
    deployment = get("multimodal").default.deployment(model)
    return _hosted(deployment.host, deployment.graphs, deployment.settings)


def test_a_model_can_be_saved_however_often_it_was_deployed(tmp_path):
    """The graphs of a device share layers with the model, and leave it and each other as they can be saved."""
    made = cross_attention(Shape(hops=2))
    for _ in range(2):
        for each in (made, *look_and_ask(made)):
            each.save(tmp_path / "saved.keras")
            assert keras.saving.load_model(tmp_path / "saved.keras").count_params() == each.count_params()


def test_the_host_gives_the_models_answers(host, model):
    """Looking once and asking one question at a time gives what the trained model gives for all at once."""
    task = get("multimodal").default.deployment(model).task
    assert {array.dtype for array in task.test.inputs.values()} == {np.dtype("float32")}
    expected = outputs_of(model, task.test.take(2))["answers"]
    for place in range(2):
        answers = host.run({name: array[place] for name, array in task.test.inputs.items()})["answers"]
        np.testing.assert_allclose(answers, expected[place], atol=1e-5)


def test_the_host_refuses_what_is_no_sample(host):
    """A missing picture, questions of another size and NaN are errors that say what was expected and what came."""
    with pytest.raises(ValueError, match=r"'image' \[75, 75, 3\]. Got: questions"):
        host.run({"questions": np.zeros((20, 11))})
    with pytest.raises(ValueError, match=r"'questions' \[20, 11\]. Got: \[20, 12\]"):
        host.run({"image": np.zeros((75, 75, 3)), "questions": np.zeros((20, 12))})
    with pytest.raises(ValueError, match="finite values of 'image'. Got: NaN"):
        host.run({"image": np.full((75, 75, 3), np.nan), "questions": np.zeros((20, 11))})


def _sensed(count):
    random = np.random.default_rng(5)
    return {
        "camera": random.integers(0, 256, (count, 64, 64, 3)).astype(np.uint8),
        "depth": random.uniform(1, 9, (count, 64, 64)).astype(np.float16),
        "lidar": random.uniform(0, 8, (count, 360)).astype(np.float32),
    }


def _sensors(count, condition=drone.CLEAR):
    return drone.under(condition, _sensed(count), np.random.default_rng(6))


def _one(x, y, radius, kind):
    return drone.Obstacles(np.array([[[x, y]]]), np.array([[radius]]), np.array([[kind]]))


def test_clearance_is_the_distance_to_the_way():
    """The clearance of a heading is the least distance from points along its way to an obstacle's surface."""
    obstacles = drone.draw_obstacles(20, np.random.default_rng(1))
    steps = np.linspace(0, drone.WAY, 2001)
    for scene, found in enumerate(drone.clearance(obstacles)):
        for heading, value in zip(np.radians(range(40, -41, -10)), found, strict=True):
            points = steps[:, None] * [np.cos(heading), np.sin(heading)]
            distances = np.linalg.norm(points[:, None] - obstacles.centres[scene], axis=-1) - obstacles.radii[scene]
            assert abs(distances[:, obstacles.radii[scene] > 0].min() - value) < 1e-3


def test_an_obstacle_straight_ahead_makes_the_outer_headings_the_safest():
    """With one pillar on the way ahead, the clearance falls from both sides to the middle."""
    (found,) = drone.clearance(_one(3.0, 0.0, 0.3, 0))
    np.testing.assert_allclose(found, found[::-1], atol=1e-6)
    assert (np.diff(found[:5]) < 0).all() and abs(found[4] + 0.3) < 1e-6


def test_the_lidar_measures_pillars_and_the_camera_sees_what_it_misses():
    """A ray meets a pillar where geometry says; a low obstacle gives no echo but is in the picture."""
    pytest.importorskip("pybullet", reason="has no wheel for this Python")
    random = np.random.default_rng(0)
    pillar, low = (drone.sense(_one(3.0, 0.0, 0.3, kind), random) for kind in (0, 1))
    half = np.radians(0.5)
    expected = 3 * np.cos(half) - np.sqrt(0.3**2 - (3 * np.sin(half)) ** 2)
    np.testing.assert_allclose(pillar["lidar"][0, 179:181], expected, atol=0.1)
    assert pillar["lidar"][0, 90] == drone.REACH
    assert (low["lidar"] == drone.REACH).all()
    nothing = drone.sense(_one(3.0, 0.0, 0.0, 0), random)
    assert (low["camera"] != nothing["camera"]).any(axis=-1).sum() > 20
    assert abs(float(pillar["depth"][0, 32, 32]) - 2.7) < 0.1


def test_scenes_without_their_simulator_are_refused(monkeypatch):
    """Where pybullet is not installed, the error names it and the extra that brings it."""
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(MissingRequirement, match=r"package pybullet.*Got: not installed.*edgewright\[drone\]"):
        drone.sense(_one(3.0, 0.0, 0.3, 0), np.random.default_rng(0))


def test_fog_takes_contrast_with_distance(random):
    """Without fog a picture keeps its values but for the noise; in thick fog it is grey, near things last."""
    camera, depth = np.full((2, 64, 64, 3), 50, np.uint8), np.full((2, 64, 64), 3, np.float16)
    depth[1] = 0.5
    clear, half, thick = (
        drone.in_fog(camera, depth, np.full(2, v), random).mean(axis=(1, 2, 3)) for v in (1e4, 3, 0.01)
    )
    np.testing.assert_allclose(clear, 50, atol=1)
    np.testing.assert_allclose(thick, 199.5, atol=1)
    np.testing.assert_allclose(half, 200 - 150 * np.exp([-1, -1 / 6]), atol=1)


def test_fog_shortens_the_reach_of_the_lidar():
    """At its reach in fog a LIDAR's echo is as weak as one from its full range in clear air; fog beyond is no echo."""
    visibility = np.array([0.5, 1.5, 3.0])
    reach = drone.reach_in_fog(visibility)
    np.testing.assert_allclose(np.exp(-2 * reach / visibility) / reach**2, 1 / drone.REACH**2, rtol=1e-6)
    np.testing.assert_allclose(drone.reach_in_fog(np.array([1e9])), drone.REACH, atol=1e-6)
    clear, fog = _sensors(40)["lidar"], _sensors(40, drone.FOG)["lidar"]
    near, far = drone.reach_in_fog(np.array(drone.VISIBILITY)) / drone.REACH
    assert (fog[clear > far] == 1).all()
    np.testing.assert_array_equal(fog[clear < near], clear[clear < near])
    assert ((fog == clear) | (fog == 1)).all()


def test_a_blackout_takes_one_sensor():
    """In a blackout one sensor of each sample is missing and delivers nothing; otherwise both are present."""
    dark = _sensors(40, drone.BLACKOUT)
    np.testing.assert_array_equal(dark["present"].sum(axis=1), 1)
    assert not dark["camera"][dark["present"][:, drone.CAMERA] == 0].any()
    assert not dark["lidar"][dark["present"][:, drone.LIDAR] == 0].any()
    assert _sensors(40, drone.FOG)["present"].all()


@pytest.mark.parametrize(("sensor", "name"), [(drone.CAMERA, "camera"), (drone.LIDAR, "lidar")])
def test_what_a_missing_sensor_delivers_has_no_influence(sensor, name):
    """Whatever stands in the place of a missing sensor's values, the heading is the same; a present sensor matters."""
    built, inputs = fusion(), _sensors(3)
    other = {**inputs, name: inputs[name][::-1] * 0.5}
    missing = np.ones((3, 2), np.float32)
    missing[:, sensor] = 0

    def heading(made, given, present):
        return outputs_of(made, Dataset({**given, "present": present}))["heading"]

    np.testing.assert_array_equal(heading(built, inputs, missing), heading(built, other, missing))
    assert (
        np.abs(heading(built, inputs, np.ones_like(missing)) - heading(built, other, np.ones_like(missing))).max()
        > 1e-6
    )
    uses = (1.0, 0.0) if sensor == drone.LIDAR else (0.0, 1.0)
    without = fusion(uses, SHAPE)
    np.testing.assert_array_equal(heading(without, inputs, np.ones_like(missing)), heading(without, other, missing))


@pytest.fixture(scope="module")
def pilot():
    """What a device runs for the drone, and its graph."""
    built = get("multimodal").experiment("drone-fused").build("edge", 4)
    return _hosted(DRONE_HOST, {"model": built}, {"shapes": {"camera": [64, 64, 3], "lidar": [360]}}), built


@pytest.mark.parametrize("condition", [drone.CLEAR, drone.BLACKOUT])
def test_the_drones_host_gives_the_models_headings(pilot, condition):
    """A sample with "present", and one that just lacks the missing sensor, give the trained model's probabilities."""
    host, built = pilot
    inputs = _sensors(4, condition)
    expected = outputs_of(built, Dataset(inputs))["heading"]
    for place in range(4):
        sample = {name: array[place] for name, array in inputs.items()}
        np.testing.assert_allclose(host.run(sample)["heading"], expected[place], atol=1e-6)
        present = sample.pop("present")
        delivered = {name: sample[name] for name, here in zip(("camera", "lidar"), present, strict=True) if here}
        np.testing.assert_allclose(host.run(delivered)["heading"], expected[place], atol=1e-6)


def test_the_drones_graph_takes_one_sample_compiled(pilot):
    """Compiled for a batch of one, as it is evaluated and exported, the graph gives the headings of the model."""
    data = Dataset(_sensors(2))
    settings = {"shapes": {"camera": [64, 64, 3], "lidar": [360]}}
    task = Task("drone", data, data, loss=None, metric=None)
    answers, _ = answers_of(Deployment({"model": pilot[1]}, task, DRONE_HOST, settings), data)
    np.testing.assert_allclose(answers["heading"], outputs_of(pilot[1], data)["heading"], atol=1e-6)


def test_the_drones_host_refuses_what_is_no_sample(pilot):
    """No sensor at all, arrays of another size, and values that are no numbers are told, with what was expected."""
    host, _ = pilot
    sample = {name: array[0] for name, array in _sensors(1).items()}
    broken = {**sample, "lidar": np.full(360, np.nan)}
    for wrong, message in (
        ({}, r"camera or lidar to be present. Got: nothing"),
        ({**sample, "present": np.zeros(2)}, r"camera or lidar to be present. Got: camera, lidar, present"),
        ({**sample, "present": np.ones(3)}, r"'present' to be 0 or 1 for camera and lidar. Got: \[1.0, 1.0, 1.0\]"),
        ({**sample, "camera": sample["camera"][:32]}, r"'camera' \[64, 64, 3\]. Got: \[32, 64, 3\]"),
        ({"lidar": sample["lidar"][:180]}, r"'lidar' \[360\]. Got: \[180\]"),
        (broken, r"finite values of 'lidar'. Got: 360 that are not"),
    ):
        with pytest.raises(ValueError, match=message):
            host.run(wrong)
    without = host.run({**broken, "present": np.array([1, 0])})["heading"]
    np.testing.assert_array_equal(without, host.run({"camera": sample["camera"]})["heading"])


def test_tokens_know_their_bearing(random):
    """Toward adds one linear map of the sines and cosines of a token's bearing, also to one token for all."""
    bearings = [0.5, -1.0, 2.0]
    layer = Toward(bearings)
    for count in (3, 1):
        tokens = random.normal(size=(2, count, 4)).astype("float32")
        found = np.asarray(layer(tokens))
        for place, bearing in enumerate(bearings):
            waves = [turn(k * bearing) for turn in (np.sin, np.cos) for k in range(1, 9)]
            expected = tokens[:, min(place, count - 1)] + waves @ np.asarray(layer.kernel)
            np.testing.assert_allclose(found[:, place], expected, atol=1e-5)


def test_columns_and_sectors_of_one_direction_have_one_bearing():
    """A pillar is in the column of the camera and in the sector of the LIDAR whose bearings are nearest to its own."""
    pytest.importorskip("pybullet", reason="has no wheel for this Python")
    model = fusion()
    columns, sectors = (np.array(model.get_layer(f"{name}_bearing").bearings) for name in ("column", "sector"))
    nothing = drone.sense(_one(3.0, 0.0, 0.0, 0), np.random.default_rng(0))
    for bearing in np.radians([-35, -8, 21]):
        pillar = drone.sense(_one(3 * np.cos(bearing), 3 * np.sin(bearing), 0.12, 0), np.random.default_rng(0))
        changed = (pillar["camera"] != nothing["camera"])[0].any(axis=-1)[:32].any(axis=0)  # above the ground's shadow
        seen = np.flatnonzero(changed.reshape(16, 4).any(axis=1))
        echoes = np.flatnonzero((pillar["lidar"][0].reshape(36, 10) < drone.REACH).any(axis=1))
        assert np.abs(columns - bearing).argmin() in seen and len(seen) <= 3
        assert np.abs(sectors - bearing).argmin() in echoes and len(echoes) <= 2


def test_the_loss_is_the_published_equation(random):
    """SafestHeading is the cross-entropy with the softmax of clearances over 0.1 m, least at that softmax itself."""
    clearances = random.uniform(0, 0.5, (4, 9)).astype("float32")
    probabilities = _softmax(random.normal(size=(4, 9))).astype("float32")
    wanted = _softmax(clearances / 0.1)
    loss = SafestHeading()
    expected = -(wanted * np.log(probabilities)).sum(axis=-1).mean()
    assert abs(float(loss(clearances, probabilities)) - expected) < 1e-5
    assert float(loss(clearances, wanted)) < expected
    assert SafestHeading.from_config(SafestHeading(0.3).get_config()).scale == 0.3


def test_accuracy_and_lost_clearance_follow_from_the_chosen_heading():
    """A heading is right where its clearance is the largest; otherwise the difference is lost."""
    outputs, clearances = np.eye(9)[[2, 2]], np.arange(18.0).reshape(2, 9)
    clearances[0, 2] = 20
    assert safest(outputs, clearances).tolist() == [True, False]
    assert clearance_lost(outputs, clearances).tolist() == [0, 6]
    assert ACCURACY_OF_HEADINGS.measure({"heading": outputs}, clearances) == 50


def test_a_scene_is_once_in_each_condition_with_the_clearances_of_its_headings():
    """Each scene is a sample clear, in fog and in a blackout; mirror images have mirrored clearances."""
    count = 4
    sensed = {**_sensed(count), "clearance": np.random.default_rng(1).uniform(0, 1, (count, 9)).astype(np.float32)}
    both = drone.with_mirrored(sensed)
    np.testing.assert_array_equal(both["clearance"][count:, 0], sensed["clearance"][:, 8])
    np.testing.assert_array_equal(both["lidar"][count:, 100], sensed["lidar"][:, 259])
    np.testing.assert_array_equal(both["camera"][count:, :, 5], sensed["camera"][:, :, 58])
    data = drone.in_every_condition(sensed, np.random.default_rng(2))
    assert len(data) == 3 * count
    np.testing.assert_array_equal(data.labels[4], sensed["clearance"][1])
    np.testing.assert_array_equal(data.inputs["camera"][::3], sensed["camera"])
    assert (data.inputs["lidar"][1::3] != data.inputs["lidar"][::3]).any()
    np.testing.assert_array_equal(data.inputs["present"].sum(axis=1), [2, 2, 1] * count)


def test_mirrored_scenes_have_mirrored_headings():
    """Turning left and right around turns the safest heading around."""
    obstacles = drone.draw_obstacles(50, np.random.default_rng(2))
    turned = drone.Obstacles(obstacles.centres * [1, -1], obstacles.radii, obstacles.kinds)
    np.testing.assert_array_equal(
        drone.clearance(turned).argmax(axis=-1), 8 - drone.clearance(obstacles).argmax(axis=-1)
    )
