"""train/nerf: rays, encoding, volume rendering, sampling, and the host that renders like the model."""

import ast
import importlib.util
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

from edgewright.errors import InputError
from edgewright.hosting import answers_of
from edgewright.runtimes._runner import load_host
from edgewright.train import Dataset, Schedule, nerf
from edgewright.train._nerf_cameras import RADIUS, look_at, pose_on_sphere, poses_around, rays_of
from edgewright.train._nerf_deployments import field_deployment, light_field_deployment
from edgewright.train._nerf_field import Shape, SmoothFirst, layers_of, radiance, rendering_model
from edgewright.train._nerf_layers import (
    Composite,
    ImportanceDistances,
    PointsOnRay,
    PositionalEncoding,
    RaySegment,
    RenderingWeights,
    StratifiedDistances,
)
from edgewright.train._nerf_light_field import RayEncoding, light_field_model
from edgewright.train._nerf_quality import PSNR, object_psnr, psnr, ssim
from edgewright.train._nerf_render import answer_of, picture, save_png
from edgewright.train._nerf_scene import HELD_OUT_VIEWS, HIGHEST, LOWEST, SKY, held_out_views
from edgewright.train._task import Task
from edgewright.train._training import fit, outputs_of

BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


def _level(sigma, lowest=0.0025, highest=240.0):
    return np.log(np.asarray(sigma) / lowest) / np.log(highest / lowest)


def _mitsuba_or_skip():
    # Not imported here: mitsuba in a process that has loaded TensorFlow aborts it when it ends.
    if importlib.util.find_spec("mitsuba") is None:
        pytest.skip("mitsuba is not installed")


def _array(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


@pytest.fixture(scope="module")
def rays():
    """The 144 rays of a picture: some meet the box and some do not."""
    origin, direction = rays_of(pose_on_sphere(40.0, 30.0), 12, 12, 50.0)
    return {"origin": origin, "direction": direction}


@pytest.fixture(scope="module")
def field():
    """A small rendering model with weights that nobody trained."""
    keras.utils.set_random_seed(3)
    return rendering_model(Shape((2, 16), (5, 16), 12, 8, position_levels=6), 3)


@pytest.fixture(scope="module")
def light_field():
    """A small light field."""
    keras.utils.set_random_seed(3)
    return light_field_model(points=4, levels=3, depth=4, units=16)


@pytest.fixture(scope="module")
def task(rays):
    """A task of few rays, for the deployments."""
    rays = {name: np.tile(array, (60, 1)) for name, array in rays.items()}
    data = Dataset(rays, np.full((len(rays["origin"]), 3), 0.5, np.float32))
    return Task("few", data, data, "mean_squared_error", PSNR)


# Cameras.


def test_cameras_look_at_the_centre():
    """The middle ray of every camera on the sphere passes the scene's centre, at the sphere's radius."""
    for pose in poses_around(7):
        origin, direction = rays_of(pose, 3, 3)[:, 4].astype(np.float64)
        np.testing.assert_allclose(origin + RADIUS * direction, 0.0, atol=1e-6)
        np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
        assert pose[2, 1] > 0 and np.linalg.det(pose[:3, :3]) > 0


def test_rays_span_the_field_of_view():
    """The outermost pixels' edges lie half the field of view from the axis, the first pixel left and up."""
    pose = pose_on_sphere(0.0, 0.0)
    origin, direction = rays_of(pose, 100, 100, 60.0)
    right, up = direction @ pose[:3, 0], direction @ pose[:3, 1]
    ahead = -direction @ pose[:3, 2]
    np.testing.assert_allclose((right / ahead)[0], -np.tan(np.pi / 6) * 0.99, rtol=1e-5)
    np.testing.assert_allclose((up / ahead)[0], np.tan(np.pi / 6) * 0.99, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1.0, rtol=1e-6)


def test_held_out_cameras_stand_elsewhere():
    """No held-out or further camera stands where another one does."""
    places = np.concatenate([poses_around(30), poses_around(5, 67.0), poses_around(200, 23.0, 5.0, 68.0)])[:, :3, 3]
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(len(places))
    assert apart[30:35].min() > 0.02


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (0.0, 0.0, 3.0)])
def test_a_camera_without_a_direction_is_refused(place):
    """A camera on its target or straight above it has no upright, and the error says where it stands."""
    with pytest.raises(InputError, match="beside its target"):
        look_at(np.array(place))


def test_a_pose_of_another_shape_is_refused():
    """A pose that is no 4 x 4 matrix names its shape."""
    with pytest.raises(InputError, match=r"Got: \[3, 4\]"):
        rays_of(np.eye(4)[:3], 2, 2)


def test_the_renderer_looks_along_our_rays(tmp_path):
    """A pixel of the path tracer is sky where its ray misses the box, and many whose rays hit are not."""
    _mitsuba_or_skip()
    code = (
        "import sys, numpy as np\n"
        "from edgewright.train._nerf_scene import rendered\n"
        "from edgewright.train._nerf_cameras import pose_on_sphere\n"
        "np.save(sys.argv[1], rendered(pose_on_sphere(40.0, 30.0), side=24, samples_per_pixel=8))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "shown.npy")], check=True)
    shown = np.load(tmp_path / "shown.npy").reshape(-1, 3)
    hit = nerf.hits(*rays_of(pose_on_sphere(40.0, 30.0), 24, 24))
    assert 0.2 < hit.mean() < 0.95
    np.testing.assert_array_equal(shown[~hit], SKY)
    assert 0.2 < (shown.min(axis=1) < 0.9).mean() < hit.mean()


def test_held_out_views_are_rendered_at_any_size(monkeypatch, tmp_path):
    """At another size the held-out cameras stand where they stood, and what misses the scene is all but white."""
    _mitsuba_or_skip()
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    made = held_out_views(20)
    assert made["pictures"].shape == (HELD_OUT_VIEWS, 20, 20, 3)
    np.testing.assert_allclose(made["poses"], poses_around(HELD_OUT_VIEWS, turn_degrees=67.0))
    for pose, shown in zip(made["poses"], made["pictures"].reshape(HELD_OUT_VIEWS, -1, 3), strict=True):
        hit = nerf.hits(*rays_of(pose, 20, 20))
        np.testing.assert_allclose(shown[~hit], SKY, atol=0.1)
        assert shown[hit].min() < 0.5


# A ray's samples.


def test_a_ray_meets_the_box_where_geometry_says():
    """A ray along an axis crosses the box from 3 to 5; one that misses, or has it behind, has an empty segment."""
    origin = np.array([[0, 0, -4], [0, 0, -4], [0, 3, -4], [0, 0, 0]], np.float32)
    direction = np.array([[0, 0, 1], [0, 0, -1], [0, 0, 1], [1, 0, 0]], np.float32)
    segment = _array(RaySegment(*BOX)(origin, direction))
    np.testing.assert_allclose(segment, [[3, 5], [0, 0], [0, 0], [0, 1]], atol=1e-6)


def test_stratified_samples_stay_in_their_strata():
    """In training each part of the ray gets one sample at random; otherwise its centre."""
    layer = StratifiedDistances(5, seed=1)
    segment = np.array([[2.0, 7.0]] * 200, np.float32)
    np.testing.assert_allclose(_array(layer(segment, training=False))[0], [2.5, 3.5, 4.5, 5.5, 6.5])
    drawn = _array(layer(segment, training=True))
    assert np.array_equal(np.floor(drawn - 2), np.tile(np.arange(5), (200, 1)))
    assert drawn.std(axis=0).min() > 0.2
    assert not np.array_equal(drawn, _array(layer(segment, training=True)))


def _inverse_by_search(distances, weights, near, far, places):
    """The same samples by cumulative sums and interpolation."""
    edges = np.concatenate([[near], (distances[1:] + distances[:-1]) / 2, [far]])
    shares = weights + 0.01 / len(weights)
    return np.interp(places, np.concatenate([[0], np.cumsum(shares / shares.sum())]), edges)


def test_importance_samples_are_where_the_weights_are():
    """They ascend, equal the inverse of the cumulative weights, and nearly all lie in the one piece that has weight."""
    distances = (np.arange(10, dtype=np.float32) + 0.5)[None] / 10
    weights = np.zeros((1, 10), np.float32)
    weights[0, 6] = 0.9
    segment = np.array([[0.0, 1.0]], np.float32)
    drawn = _array(ImportanceDistances(50)(segment, distances, weights, training=False))[0]
    assert np.all(np.diff(drawn) > 0)
    assert np.mean((drawn > 0.6) & (drawn < 0.7)) > 0.95
    expected = _inverse_by_search(distances[0], weights[0], 0, 1, (np.arange(50) + 0.5) / 50)
    np.testing.assert_allclose(drawn, expected, atol=1e-5)


def test_an_empty_ray_is_sampled_evenly():
    """Without any weight the importance samples are spread like the stratified ones."""
    distances = (np.arange(4, dtype=np.float32) + 0.5)[None] / 4
    drawn = ImportanceDistances(8)(np.array([[0.0, 1.0]], np.float32), distances, np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(_array(drawn)[0], (np.arange(8) + 0.5) / 8, atol=1e-6)


def test_points_lie_on_the_ray():
    """A point is the origin plus the distance times the direction."""
    points = PointsOnRay()(
        np.ones((1, 3), "float32"), np.array([[0, 0, 2.0]], "float32"), np.array([[0, 3.0]], "float32")
    )
    np.testing.assert_array_equal(_array(points)[0], [[1, 1, 1], [1, 1, 7]])


@pytest.mark.parametrize(("levels", "width"), [(10, 63), (4, 27)])
def test_the_encoding_is_the_published_one(levels, width):
    """[p, sin 2^k pi p, cos 2^k pi p] as NumPy computes it in double precision."""
    points = np.random.default_rng(0).uniform(-1, 1, (2, 5, 3)).astype(np.float32)
    encoded = _array(PositionalEncoding(levels)(points))
    assert encoded.shape == (2, 5, width)
    turns = np.concatenate([2.0**k * np.pi * points.astype(np.float64) for k in range(levels)], axis=-1)
    np.testing.assert_allclose(encoded, np.concatenate([points, np.sin(turns), np.cos(turns)], axis=-1), atol=3e-4)


def test_the_encoding_of_a_ray_is_that_of_its_points():
    """Doubled angles give the same features as sines and cosines of each level."""
    points = np.random.default_rng(0).uniform(-1, 1, (3, 4, 3)).astype(np.float32)
    expected = _array(PositionalEncoding(4)(points)).reshape(3, -1)
    np.testing.assert_allclose(_array(RayEncoding(4)(points)), expected, atol=2e-5)


# Volume rendering.


def _rendered(sigma, colours, distances, far, background=1.0):
    """Return (colour, weights) of one ray by the layers."""
    level = _level(sigma).astype(np.float32)[None, :, None]
    distances = np.asarray(distances, np.float32)[None]
    segment = np.array([[distances[0, 0], far]], np.float32)
    weights = RenderingWeights(0.0025, 240.0)(level, distances, segment)
    colour = Composite(background)(weights, np.asarray(colours, np.float32)[None])
    return _array(colour)[0], _array(weights)[0]


def test_constant_density_lets_through_what_beer_and_lambert_say():
    """Through a fog of density sigma, exp(-sigma t) of the background is seen, however it is sampled."""
    for count in (2, 7, 40):
        distances = np.sort(np.random.default_rng(count).uniform(1, 3, count))
        colour, weights = _rendered(np.full(count, 0.7), np.zeros((count, 3)), distances, 3.0)
        through = np.exp(-0.7 * (3.0 - distances[0]))
        np.testing.assert_allclose(colour, through, rtol=1e-5)
        np.testing.assert_allclose(weights.sum(), 1 - through, rtol=1e-5)


def test_an_opaque_slab_hides_what_is_behind_it():
    """The colour is that of the first dense sample, not that of a later one nor the background."""
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    colour, weights = _rendered(np.array([0.0025, 240, 240]), colours, [1.0, 1.5, 2.0], 2.5)
    np.testing.assert_allclose(colour, [0, 1, 0], atol=2e-3)
    assert np.argmax(weights) == 1


def test_empty_space_shows_the_background():
    """At the least density the background shines through, but for half a percent over two units."""
    colour, _ = _rendered(np.full(20, 0.0025), np.zeros((20, 3)), np.linspace(0, 1.9, 20), 2.0)
    np.testing.assert_allclose(colour, 1.0, atol=0.0051)


def test_weights_are_those_of_the_published_sums():
    """w_i = exp(-sum_{j<i} sigma_j delta_j)(1 - exp(-sigma_i delta_i)) in a plain loop; their sum stays at most 1."""
    random = np.random.default_rng(5)
    for _ in range(20):
        sigma, distances = np.exp(random.uniform(-5, 5, 12)), np.sort(random.uniform(0, 2, 12))
        _, weights = _rendered(sigma, np.zeros((12, 3)), distances, 2.0)
        reaching, expected = 1.0, []
        for density, step in zip(sigma, np.diff([*distances, 2.0]), strict=True):
            expected.append(reaching * (1 - np.exp(-density * step)))
            reaching *= np.exp(-density * step)
        np.testing.assert_allclose(weights, expected, atol=2e-5)
        assert weights.sum() <= 1 + 1e-6


# The networks.


def test_density_does_not_depend_on_the_direction():
    """Another view direction changes the colour and leaves the density's bits."""
    layers = layers_of("fine", 5, 8)
    random = np.random.default_rng(0)
    position = random.normal(size=(1, 6, 63)).astype(np.float32)
    first, second = (random.normal(size=(1, 6, 27)).astype(np.float32) for _ in range(2))
    (density, colour), (density_2, colour_2) = (radiance("fine", layers, position, d) for d in (first, second))
    np.testing.assert_array_equal(_array(density), _array(density_2))
    assert np.abs(_array(colour) - _array(colour_2)).max() > 1e-3


def test_the_field_starts_smooth():
    """The first kernel's rows halve with each level above the full ones; a kernel without such rows is refused."""
    kernel = _array(SmoothFirst(10, 5, 0)((63, 4000)))
    sizes = np.abs(kernel).max(axis=1)
    np.testing.assert_allclose(
        sizes[3:33].reshape(10, 3).mean(axis=1) / sizes[0], [1] * 5 + [0.5**k for k in range(1, 6)], rtol=0.02
    )
    np.testing.assert_allclose(sizes[3:33], sizes[33:], rtol=0.02)
    with pytest.raises(InputError, match="10 levels"):
        SmoothFirst(10, 5, 0)((64, 4))


@pytest.mark.parametrize("kind", ["field", "light_field"])
def test_rays_that_miss_show_the_background(kind, rays, request):
    """A ray beside the box has the sky's colour, one through it has not."""
    colour = outputs_of(request.getfixturevalue(kind), Dataset(rays))["colour"]
    hit = nerf.hits(rays["origin"], rays["direction"])
    assert 20 < hit.sum() < 124
    np.testing.assert_array_equal(colour[~hit], SKY)
    assert np.all(colour[hit].min(axis=1) < 1)


@pytest.mark.parametrize("kind", ["field", "light_field"])
def test_a_model_is_kept_and_cloned(kind, rays, request, tmp_path):
    """Saved and loaded, or cloned with the same weights, a model gives the same colours to the last bit."""
    model = request.getfixturevalue(kind)
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    expected = outputs_of(model, Dataset(rays))
    for again in (keras.saving.load_model(tmp_path / "model.keras"), clone):
        for name, array in outputs_of(again, Dataset(rays)).items():
            np.testing.assert_array_equal(array, expected[name])


def test_a_field_is_learnt_from_rays():
    """A few dozen steps on rays of one colour bring a small field near that colour, both outputs alike."""
    origin, direction = np.concatenate([rays_of(pose, 16, 16, 20.0) for pose in poses_around(3)], axis=1)
    colour = np.tile(np.float32([0.8, 0.3, 0.1]), (len(origin), 1))
    data = Dataset({"origin": origin, "direction": direction}, {"colour": colour, "coarse_colour": colour})
    task = Task("red", data, data, {"colour": "mean_squared_error", "coarse_colour": "mean_squared_error"}, PSNR)
    keras.utils.set_random_seed(0)
    model = rendering_model(Shape((2, 16), (2, 16), 8, 8), 0)
    before = PSNR.measure(outputs_of(model, data), data.labels)
    fit(model, task, Schedule(epochs=1, batch_size=16, learning_rate=1e-2), 0)
    outputs = outputs_of(model, data)
    assert PSNR.measure(outputs, data.labels) > before + 8
    assert psnr(outputs["coarse_colour"], colour) > before + 8


# The host.


def _task_like(deployment):
    return deployment.task.test.take(4)


def test_the_host_renders_like_the_model(field, task):
    """The NumPy host around the two networks gives the rendering model's colours."""
    deployment = field_deployment(field, task)
    data = _task_like(deployment)
    answers, calls = answers_of(deployment, data)
    flat = Dataset({name: array.reshape(-1, 3) for name, array in data.inputs.items()})
    expected = outputs_of(field, flat)["colour"]
    np.testing.assert_allclose(answers["colour"].reshape(-1, 3), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1 and calls["coarse"] >= 1


def test_the_host_renders_like_the_model_at_full_encoding(rays, task):
    """With 10 levels the last bit of a distance turns the highest sine by 1e-3: colours agree to that, not to 1e-5."""
    keras.utils.set_random_seed(3)
    model = rendering_model(Shape((2, 16), (2, 16), 12, 8), 3)
    deployment = field_deployment(model, task)
    assert [tuple(graph.input_shape[0]) for graph in deployment.graphs.values()] == [(None, 512, 63)] * 2
    assert [tuple(graph.input_shape[1]) for graph in deployment.graphs.values()] == [(None, 512, 27)] * 2
    data = _task_like(deployment)
    answers, _ = answers_of(deployment, data)
    flat = Dataset({name: array.reshape(-1, 3) for name, array in data.inputs.items()})
    error = np.abs(answers["colour"].reshape(-1, 3) - outputs_of(model, flat)["colour"])
    assert error.max() < 1e-3 and np.median(error[error > 0]) < 1e-5


def test_the_light_fields_host_renders_like_the_model(light_field, task):
    """The NumPy host around the one network gives the light field's colours."""
    deployment = light_field_deployment(light_field, task)
    data = _task_like(deployment)
    answers, calls = answers_of(deployment, data)
    flat = Dataset({name: array.reshape(-1, 3) for name, array in data.inputs.items()})
    expected = outputs_of(light_field, flat)["colour"]
    np.testing.assert_allclose(answers["colour"].reshape(-1, 3), expected, atol=1e-5)
    assert calls == {"light_field": 1.0}


@pytest.mark.parametrize("kind", ["field", "light_field"])
@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"origin": np.zeros((2, 3))}, "'origin' and 'direction'. Got: origin"),
        ({"origin": np.zeros((2, 3)), "direction": np.ones((2, 2))}, r"'direction'.*\[2, 2\]"),
        ({"origin": np.zeros((1, 3)), "direction": np.ones((1, 3))}, "length 1. Got: 1.732"),
        ({"origin": np.full((1, 3), np.nan), "direction": np.ones((1, 3))}, "finite numbers in 'origin'"),
    ],
)
def test_the_hosts_refuse_bad_rays(kind, spoilt, message, field, light_field, task):
    """Rays that are missing, misshapen, not finite or not of unit length are an error that says so."""
    deployment = field_deployment(field, task) if kind == "field" else light_field_deployment(light_field, task)
    host = load_host(str(deployment.host))(
        dict.fromkeys(deployment.graphs), json.loads(json.dumps(deployment.settings))
    )
    with pytest.raises(ValueError, match=message):
        host.run(spoilt)


@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("kind", ["field", "light_field"])
def test_the_hosts_call_nothing_for_rays_that_miss(kind, count, field, light_field, task):
    """Where no ray meets the box, or there is none, all colours are the sky's and no network is called."""
    deployment = field_deployment(field, task) if kind == "field" else light_field_deployment(light_field, task)
    host = load_host(str(deployment.host))(
        dict.fromkeys(deployment.graphs), json.loads(json.dumps(deployment.settings))
    )
    away = np.tile(np.float32([0, 0, 1]), (count, 1))
    np.testing.assert_array_equal(host.run({"origin": 4 * away, "direction": away})["colour"], np.full((count, 3), SKY))


def test_hosts_run_on_python_3_7():
    """Host files are valid Python 3.7 and import NumPy alone."""
    for name in ("_nerf_host.py", "_nerf_light_field_host.py"):
        tree = ast.parse((Path(nerf.__file__).parent / name).read_text(encoding="utf-8"), feature_version=(3, 7))
        imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert imported == ["numpy"] and not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


# Pictures and their quality.


def test_psnr_and_ssim_have_hand_values():
    """An error of 0.1 is 20 dB; SSIM of a picture with itself is 1, of two flat ones what the luminance term says."""
    flat = np.full((16, 16, 3), 0.5)
    assert psnr(flat + 0.1, flat) == pytest.approx(20.0)
    random = np.random.default_rng(0).uniform(size=(20, 20, 3))
    assert ssim(random, random) == pytest.approx(1.0)
    assert ssim(flat, flat + 0.2) == pytest.approx((2 * 0.5 * 0.7 + 1e-4) / (0.25 + 0.49 + 1e-4))
    assert ssim(random, 1 - random) < 0


def test_the_objects_psnr_leaves_out_the_sky():
    """What is true white counts for nothing, whatever is answered there; a picture of sky alone is refused."""
    truth = np.ones((2, 4, 4, 3))
    truth[:, 1:3, 1:3] = 0.4
    answered = truth + np.where(truth < 1, 0.1, -0.5)
    assert object_psnr(answered, truth) == pytest.approx(20.0)
    assert psnr(answered, truth) < 10
    with pytest.raises(InputError, match="Got: 32 that are all"):
        object_psnr(answered, np.ones((2, 4, 4, 3)))


def test_a_view_is_a_picture(field, rays):
    """A pose gives [height, width, 3] colours in [0, 1], row by row."""
    shown = picture(answer_of(field), pose_on_sphere(40.0, 30.0), 12, 12, 50.0)
    assert shown.shape == (12, 12, 3) and shown.dtype == np.float32
    np.testing.assert_allclose(shown.reshape(-1, 3), outputs_of(field, Dataset(rays))["colour"], atol=1e-6)


def test_a_png_holds_the_picture(tmp_path):
    """The file's chunks have right checksums and its rows are the picture's, to 8 bits."""
    colours = np.random.default_rng(0).uniform(size=(5, 7, 3))
    save_png(tmp_path / "picture.png", colours)
    data = (tmp_path / "picture.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + length
    assert struct.unpack(">IIBB", chunks[b"IHDR"][:10]) == (7, 5, 8, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 22)
    np.testing.assert_array_equal(rows[:, 1:].reshape(5, 7, 3), np.round(255 * colours))
    with pytest.raises(InputError, match=r"Got: \[5, 7\]"):
        save_png(tmp_path / "grey.png", colours[..., 0])


def test_training_rays_all_meet_the_box():
    """30 views train without the rays that miss, the 50,000 rays of 5 views test, and what misses is sky."""
    _mitsuba_or_skip()
    task = nerf.scene()
    assert len(task.test) == 50_000
    assert 150_000 < len(task.train) < 300_000
    assert nerf.hits(task.train.inputs["origin"], task.train.inputs["direction"]).all()
    missed = ~nerf.hits(task.test.inputs["origin"], task.test.inputs["direction"])
    np.testing.assert_array_equal(task.test.labels["colour"][missed], SKY)
    assert np.all(np.array(LOWEST) < np.array(HIGHEST))


@pytest.mark.parametrize("experiment", nerf.ARCHITECTURE.experiments, ids=lambda each: each.name)
def test_radiance_fields_compute_in_half_precision(experiment):
    """With the policy mixed_float16 the networks compute in float16, and places along rays stay float32."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = experiment.build("edge", 0)
    finally:
        keras.config.set_dtype_policy("float32")
    kinds = {layer.compute_dtype for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)}
    assert "float16" in kinds
    rays = {tensor.name: np.full((2, *tensor.shape[1:]), 0.5, "float32") for tensor in model.inputs}
    for colour in outputs_of(model, Dataset(rays)).values():
        assert np.isfinite(colour).all()
