"""The liquid networks' tasks: which of nine speakers, which of four motions, and the vowels with steps lost at random.

Both sets are of the UEA archive (Bagnall et al. 2018, arXiv 1811.00075), with its split, as the package aeon has them.
JapaneseVowels: 12 cepstrum coefficients, 7 to 29 steps, 270 and 370 recordings (Kudo, Toyama and Shimbo 1999).
BasicMotions: accelerometer and gyroscope on a wrist, 6 channels, 100 steps in 10 s, 40 and 40 recordings.
Time is counted in steps of the recording.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ._sources import require
from ._task import ACCURACY, Dataset, Task

LOST = 0.3


@dataclass(frozen=True)
class Recordings:
    """Recordings of different length.

    Attributes:
        values: of each, ``[steps, sensors]``.
        gaps: of each, ``[steps]``, the time since the step before; the first's since the start.
        labels: ``[recordings]`` integers.
    """

    values: Sequence[np.ndarray]
    gaps: Sequence[np.ndarray]
    labels: np.ndarray

    def kept(self, choose: Callable[[int], np.ndarray]) -> "Recordings":
        """Return the recordings with only the steps that ``choose`` names for a recording of so many steps."""
        values, gaps = [], []
        for value, gap in zip(self.values, self.gaps, strict=True):
            places = choose(len(value))
            values.append(value[places])
            gaps.append(np.diff(np.cumsum(gap)[places], prepend=0.0))
        return Recordings(values, gaps, self.labels)

    def times(self, gain: float) -> "Recordings":
        """Return the recordings of sensors with another gain."""
        return Recordings([gain * value for value in self.values], self.gaps, self.labels)


@dataclass(frozen=True)
class Scale:
    """What makes each sensor's values zero on average, with a deviation of 1, over the training set.

    Attributes:
        mean, deviation: of each sensor.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, recordings: Recordings) -> "Scale":
        """Return the scale of recordings."""
        steps = np.concatenate(list(recordings.values))
        return cls(steps.mean(axis=0), steps.std(axis=0))


def padded(recordings: Recordings, steps: int, scale: Scale) -> Dataset:
    """Return recordings as a Dataset with inputs of ``steps`` steps each.

    ``x`` ``[recordings, steps, sensors]`` are the scaled values, ``dt`` ``[recordings, steps, 1]`` the gaps, and
    ``mask`` ``[recordings, steps, 1]`` is 1 at a step that was recorded and 0 behind the end, where x and dt are zero.

    Raises:
        InputError: a recording is empty or too long, or a gap is not above zero.
    """
    count, sensors = len(recordings.values), len(scale.mean)
    x = np.zeros((count, steps, sensors), np.float32)
    dt, mask = np.zeros((count, steps, 1), np.float32), np.zeros((count, steps, 1), np.float32)
    for place, (value, gap) in enumerate(zip(recordings.values, recordings.gaps, strict=True)):
        if not 1 <= len(value) <= steps:
            raise InputError(f"Expected 1 to {steps} steps in recording {place}. Got: {len(value)}.")
        if not np.all(np.asarray(gap) > 0):
            raise InputError(f"Expected times dt above zero in recording {place}. Got: {np.min(gap)}.")
        x[place, : len(value)] = (value - scale.mean) / scale.deviation
        dt[place, : len(value), 0] = gap
        mask[place, : len(value)] = 1
    return Dataset({"x": x, "dt": dt, "mask": mask}, recordings.labels)


@functools.cache
def _archive(loader: str, split: str) -> Recordings:
    aeon = require("aeon.datasets", "aeon", "train", "which ships the recordings")
    series, names = getattr(aeon, loader)(split=split)
    values = [np.asarray(one, np.float64).T for one in series]
    labels = np.unique(names, return_inverse=True)[1].astype(np.int32)
    return Recordings(values, [np.ones(len(value)) for value in values], labels)


def _japanese_vowels(split: str) -> Recordings:
    return _archive("load_japanese_vowels", split)


def _basic_motions(split: str) -> Recordings:
    return _archive("load_basic_motions", split)


def _task(name: str, train: Recordings, test: Recordings, steps: int, scale: Scale) -> Task:
    return Task(
        name, padded(train, steps, scale), padded(test, steps, scale), "sparse_categorical_crossentropy", ACCURACY
    )


@functools.cache
def japanese_vowels() -> Task:
    """Return the task: whose vowel is it, of nine speakers; inputs as ``padded`` makes them, 29 steps.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    train, test = _japanese_vowels("train"), _japanese_vowels("test")
    return _task("japanese vowels", train, test, 29, Scale.of(train))


@functools.cache
def basic_motions() -> Task:
    """Return the task: standing, walking, running or badminton; inputs as ``padded`` makes them, 100 steps.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    train, test = _basic_motions("train"), _basic_motions("test")
    return _task("basic motions", train, test, 100, Scale.of(train))


@functools.cache
def irregular() -> Task:
    """Return the vowels with 30 % of each recording's steps lost, drawn once; dt tells the gaps.

    Raises:
        MissingRequirement: the extra ``train`` is not installed.
    """
    train, test = (_losing(_japanese_vowels(split), seed) for seed, split in enumerate(("train", "test")))
    return _task("irregular japanese vowels", train, test, 29, Scale.of(_japanese_vowels("train")))


def _losing(recordings: Recordings, seed: int) -> Recordings:
    draw = np.random.default_rng(seed)
    return recordings.kept(lambda steps: np.sort(draw.permutation(steps)[: steps - round(LOST * steps)]))


def shifted_tests(task: Task) -> Mapping[str, Dataset]:
    """Return a task's test set as other sensors or another sampling rate would have recorded it, by what is shifted."""
    split, steps = (_basic_motions, 100) if task.name == "basic motions" else (_japanese_vowels, 29)
    scale = Scale.of(split("train"))
    test = split("test")
    if task.name.startswith("irregular"):
        test = _losing(test, 1)
    shifts = {
        "sensor gain 0.8": test.times(0.8),
        "sensor gain 1.25": test.times(1.25),
        "half the sampling rate": test.kept(lambda count: np.arange(1, count, 2) if count > 1 else np.arange(count)),
    }
    return {name: padded(recordings, steps, scale) for name, recordings in shifts.items()}
