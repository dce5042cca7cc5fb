"""Bad artifacts in every runtime: cut off, changed at random, too large, with outputs that are no numbers."""

import shutil
import time

import numpy as np
import pytest

from edgewright.checks import Reference, check
from edgewright.export import Artifact, Deployable
from edgewright.runtimes import get, names, run_artifact
from edgewright.train import Dataset

TIMED = [name for name in names() if not get(name).referee]
LIMIT_S, LIMIT_BYTES = 20, 1 << 30
# Of each format; `make slow` takes them all.
MUTATED, MUTATED_IN_CI = 500, 12


def _run(path, name, inputs):
    """Run a bad file; whatever it does, there is an answer in time, and no exception."""
    started = time.monotonic()
    run = run_artifact(path, name, inputs, time_limit_s=LIMIT_S, memory_limit_bytes=LIMIT_BYTES)
    assert time.monotonic() - started < LIMIT_S + 15
    assert run.ok or run.reason
    return run


@pytest.mark.parametrize("name", TIMED)
def test_a_file_cut_off_anywhere_is_a_reason(name, artifacts, inputs, tmp_path):
    """Cut at every 5 % of its length, a file does not run, and the reason says how it ended."""
    (format,) = get(name).formats
    whole = artifacts[format, "float32"]
    content = whole.read_bytes()
    for percent in range(0, 100, 5):
        path = tmp_path / f"cut-{percent}{whole.suffix}"
        path.write_bytes(content[: len(content) * percent // 100])
        if format == "openvino":
            shutil.copyfile(whole.with_suffix(".bin"), path.with_suffix(".bin"))
        run = _run(path, name, inputs)
        assert not run.ok or _same(run, whole, name, inputs), f"{percent} %"


def _same(run, whole, name, inputs):
    """Tell whether it computes what the whole file does: what was cut off then were bytes that nobody reads."""
    expected = run_artifact(whole, name, inputs)
    return all(np.array_equal(array, run.outputs[key], equal_nan=True) for key, array in expected.outputs.items())


def _mutated(content, seed):
    """Return a file's bytes with a few changed, a stretch zeroed, removed or doubled."""
    random = np.random.default_rng(seed)
    array = np.frombuffer(content, np.uint8).copy()
    start, length = int(random.integers(len(array))), int(random.integers(1, 65))
    kind = seed % 4
    if kind == 0:
        places = random.integers(len(array), size=length)
        array[places] = random.integers(256, size=length)
    elif kind == 1:
        array[start : start + length] = 0
    elif kind == 2:
        array = np.delete(array, slice(start, start + length))
    else:
        array = np.insert(array, start, array[start : start + length])
    return array.tobytes()


def _all_mutated(name, seeds, artifacts, inputs, folder):
    (format,) = get(name).formats
    endings = {}
    for precision in ("float32", "int8"):
        if (format, precision) not in artifacts:
            continue
        whole = artifacts[format, precision]
        for seed in seeds:
            path = folder / f"mutated{whole.suffix}"
            path.write_bytes(_mutated(whole.read_bytes(), seed))
            if format == "openvino":
                weights = whole.with_suffix(".bin").read_bytes()
                path.with_suffix(".bin").write_bytes(_mutated(weights, seed) if seed % 8 > 3 else weights)
            run = _run(path, name, inputs)
            ending = "ran" if run.ok else run.ending.split(" of ")[0]
            endings[ending] = endings.get(ending, 0) + 1
    return endings


@pytest.mark.parametrize("name", TIMED)
def test_a_file_changed_at_random_harms_nobody(name, artifacts, inputs, tmp_path):
    """Whether it crashes its runtime, hangs, or runs, the one who asked gets an answer within the limits."""
    endings = _all_mutated(name, range(MUTATED_IN_CI), artifacts, inputs, tmp_path)
    assert sum(endings.values()) >= MUTATED_IN_CI and set(endings) != {"ran"}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMED)
def test_hundreds_of_files_changed_at_random_harm_nobody(name, artifacts, inputs, tmp_path, capsys):
    """Of 500 changed files of each precision every one has an answer within the limits; how they end is printed."""
    endings = _all_mutated(name, range(MUTATED), artifacts, inputs, tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {endings}")
    assert sum(endings.values()) >= MUTATED


@pytest.mark.parametrize("name", names())
def test_too_little_memory_is_a_reason(name, artifacts, inputs):
    """A run that needs more than its limit is ended, with the limit as the reason."""
    run = run_artifact(
        artifacts[get(name).formats[0], "float32"], name, inputs, measure=True, memory_limit_bytes=16 << 20
    )
    assert not run.ok and run.reason.startswith("memory limit of 0.0 GiB")


@pytest.mark.parametrize("name", names())
def test_outputs_that_are_no_numbers_fail_the_check(name, artifacts, inputs, weights, expected):
    """A runtime hands on what is not finite as it is, and the check says which output it is in."""
    (format,) = get(name).formats
    artifact = artifacts[format, "float32"]
    given = {key: array.copy() for key, array in inputs.items()}
    # OpenVINO's Relu makes zeros of NaN, and TFLite's own kernels keep what overflows at the largest float.
    given["first"][3] = 3e38 * np.sign(weights["kernel"][3:, 0]) if name == "openvino" else np.nan
    run = run_artifact(artifact, name, given)
    assert run.ok and not np.isfinite(run.outputs["narrow"][3]).all() and np.isfinite(run.outputs["narrow"][2]).all()
    deployable = Deployable((Artifact(artifact, format, "float32", (), (), "", 1, 1),))
    made = check(deployable, name, Reference(Dataset(given), None, expected, expected))
    assert made.ran and not made.ok and "values that are NaN or infinite" in made.reason
