"""Sort-of-CLEVR: pictures of six coloured squares and circles, and questions about them.

Santoro et al., "A simple neural network module for relational reasoning" (2017), arXiv 1706.01427, section 4.2: 75 x 75
pictures, each with one object of each of six colours, square or circle; 20 questions a picture, 10 about one object and
10 about how objects relate; 9,800 pictures train and 200 test. A question is 11 bits, an answer one of ten classes.
"""

import functools
from dataclasses import dataclass

import numpy as np

from ._task import ACCURACY, Dataset, Task

SIDE = 75
TRAINING, TESTING = 9800, 200
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
}
BACKGROUND = 255
HALF = 5  # an object reaches so many pixels from its centre: 11 x 11 pixels
SQUARE, CIRCLE = 0, 1
ALONE = ("What is its shape?", "Is it on the left?", "Is it at the top?")
TOGETHER = ("What shape is the closest to it?", "What shape is the furthest from it?", "How many have its shape?")
ANSWERS = ("yes", "no", "square", "circle", "1", "2", "3", "4", "5", "6")
YES, NO, FIRST_SHAPE, ONE = 0, 1, 2, 4
QUESTIONS = 20  # of a picture: the first half about one object, the second about how objects relate
BITS = len(COLOURS) + 2 + 3  # the object, alone or together, which of the three


@dataclass(frozen=True)
class Scenes:
    """What is in pictures.

    Attributes:
        centres: ``[pictures, 6, 2]`` integers, x to the right and y down, by colour.
        shapes: ``[pictures, 6]``, SQUARE or CIRCLE.
    """

    centres: np.ndarray
    shapes: np.ndarray


def draw_scenes(count: int, random: np.random.Generator) -> Scenes:
    """Return random scenes whose objects do not overlap and whose questions have one answer each."""
    centres, shapes = _scenes(count, random)
    while True:
        again = np.flatnonzero(_ambiguous(Scenes(centres, shapes)))
        if not len(again):
            return Scenes(centres, shapes)
        centres[again], shapes[again] = _scenes(len(again), random)


def _scenes(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    centres = np.zeros((count, len(COLOURS), 2), int)
    for place in range(len(COLOURS)):
        todo = np.arange(count)
        while len(todo):
            centres[todo, place] = random.integers(HALF, SIDE - HALF, (len(todo), 2))
            apart = np.abs(centres[todo, :place] - centres[todo, place, None]).max(axis=-1)
            todo = todo[(apart <= 2 * HALF).any(axis=-1)]
    return centres, random.integers(0, 2, (count, len(COLOURS)))


def _ambiguous(scenes: Scenes) -> np.ndarray:
    """Return ``[pictures]`` whether objects of both shapes are the closest to, or the furthest from, some object."""
    found = np.zeros(len(scenes.shapes), bool)
    for extreme in _closest, _furthest:
        distances = _distances(scenes)
        chosen = distances == np.take_along_axis(distances, extreme(distances)[..., None], axis=-1)
        circles = (chosen & (scenes.shapes[:, None, :] == CIRCLE)).any(axis=-1)
        squares = (chosen & (scenes.shapes[:, None, :] == SQUARE)).any(axis=-1)
        found |= (circles & squares).any(axis=-1)
    return found


def _distances(scenes: Scenes) -> np.ndarray:
    """Return squared distances ``[pictures, 6, 6]``."""
    return ((scenes.centres[:, :, None] - scenes.centres[:, None]) ** 2).sum(axis=-1)


def _closest(distances: np.ndarray) -> np.ndarray:
    own = np.eye(distances.shape[-1], dtype=int) * (2 * SIDE**2 + 1)
    return (distances + own).argmin(axis=-1)


def _furthest(distances: np.ndarray) -> np.ndarray:
    return distances.argmax(axis=-1)


def draw_questions(count: int, random: np.random.Generator) -> np.ndarray:
    """Return ``[count, 20, 11]`` bits: 10 random questions about one object, then 10 about relations."""
    objects, subtypes = random.integers(0, len(COLOURS), (count, QUESTIONS)), random.integers(0, 3, (count, QUESTIONS))
    together = (np.arange(QUESTIONS) >= QUESTIONS // 2).astype(int)
    parts = (
        np.eye(len(COLOURS))[objects],
        np.broadcast_to(np.eye(2)[together], (count, QUESTIONS, 2)),
        np.eye(3)[subtypes],
    )
    return np.concatenate(parts, axis=-1).astype(np.float32)


def answer(scenes: Scenes, questions: np.ndarray) -> np.ndarray:
    """Return the answers ``[pictures, 20]`` to questions ``[pictures, 20, 11]``, as places in ANSWERS."""
    distances = _distances(scenes)
    shapes = scenes.shapes
    side = np.where(scenes.centres < SIDE / 2, YES, NO)
    by_object = np.stack(
        [
            FIRST_SHAPE + shapes,
            side[..., 0],
            side[..., 1],
            FIRST_SHAPE + np.take_along_axis(shapes, _closest(distances), axis=1),
            FIRST_SHAPE + np.take_along_axis(shapes, _furthest(distances), axis=1),
            ONE + (shapes[:, :, None] == shapes[:, None]).sum(axis=-1) - 1,
        ],
        axis=-1,
    )  # [pictures, 6 objects, 6 questions]
    objects = questions[..., : len(COLOURS)].argmax(axis=-1)
    kinds = 3 * questions[..., len(COLOURS) : len(COLOURS) + 2].argmax(axis=-1) + questions[..., -3:].argmax(axis=-1)
    return by_object[np.arange(len(questions))[:, None], objects, kinds].astype(np.int32)


def paint(scenes: Scenes) -> np.ndarray:
    """Return the pictures ``[pictures, 75, 75, 3]``, 0 to 255."""
    reach = np.arange(-HALF, HALF + 1)
    stamps = {SQUARE: np.ones((2 * HALF + 1,) * 2, bool), CIRCLE: reach[:, None] ** 2 + reach**2 <= HALF**2 + 1}
    pictures = np.full((len(scenes.shapes), SIDE, SIDE, 3), BACKGROUND, np.uint8)
    for picture, centres, shapes in zip(pictures, scenes.centres, scenes.shapes, strict=True):
        for (x, y), shape, colour in zip(centres, shapes, COLOURS.values(), strict=True):
            picture[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1][stamps[shape]] = colour
    return pictures


@functools.cache
def sort_of_clevr() -> Task:
    """Return the task: ``image`` ``[samples, 75, 75, 3]`` of 0 to 255, ``questions`` ``[samples, 20, 11]``.

    The labels are ``[samples, 20]``. The pictures are kept as bytes, for memory; a model takes them as float32.
    """
    random = np.random.default_rng(0)
    scenes = draw_scenes(TRAINING + TESTING, random)
    questions = draw_questions(TRAINING + TESTING, random)
    data = Dataset({"image": paint(scenes), "questions": questions}, answer(scenes, questions))
    return Task(
        name="sort-of-clevr",
        train=data.at(slice(TRAINING)),
        test=data.at(slice(TRAINING, None)),
        loss="sparse_categorical_crossentropy",
        metric=ACCURACY,
    )
