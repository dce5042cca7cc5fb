"""Seeded training that goes on where it was killed, with the same result."""

import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MissingRequirement
from ..files import write_bytes
from ._data_file import outside_type
from ._sources import digest_of_arrays
from ._task import Arrays, Dataset, Experiment, Schedule, Task

if TYPE_CHECKING:
    import keras

OnEpoch = Callable[[int, int], None]
CHECKPOINT = "checkpoint.npz"
_SEEDS = 2**32


def check_seed(seed: int) -> None:
    """Raise unless everything random can be seeded with ``seed``.

    Raises:
        InputError: it is no whole number, or one that NumPy and Keras do not take.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < _SEEDS:
        raise InputError(f"Expected a seed from 0 to {_SEEDS - 1}. Got: {seed!r}.")


def schedule_of(experiment: Experiment, size: str) -> Schedule:
    """Return how an experiment is trained in a size.

    Raises:
        InputError: it has no such size.
    """
    if size not in experiment.schedules:
        raise InputError(f"Expected a size of {experiment.name}: {', '.join(experiment.schedules)}. Got: {size!r}.")
    return experiment.schedules[size]


def train(
    experiment: Experiment,
    size: str = "edge",
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    folder: Path | None = None,
) -> "keras.Model":
    """Build a model and train it on its task, the same for the same seed.

    Args:
        experiment: what to train.
        size: one of ``experiment.schedules``.
        seed: of the initial weights, the order of the samples and dropout.
        on_epoch: called with (epochs done, epochs in all).
        folder: where a checkpoint is kept after each epoch; a training that finds one there goes on from it.

    Raises:
        InputError: the experiment has no such size, the seed is out of range, or the checkpoint is another training's
            or damaged.
        MissingRequirement: a checkpoint cannot be written.
        FloatingPointError: the loss became NaN or infinite.
    """
    check_seed(seed)
    schedule = schedule_of(experiment, size)
    with devices():
        model = experiment.build(size, seed)
    fit(
        model,
        experiment.task(),
        schedule,
        seed,
        on_epoch,
        callbacks=experiment.callbacks(model, steps_of(schedule, len(experiment.task().train)))
        if experiment.callbacks
        else (),
        optimizer=experiment.optimizer,
        folder=folder,
        name=f"{experiment.name}, {size}",
    )
    return model


def devices() -> AbstractContextManager[Any]:
    """Return the scope to build a model in: spread over all GPUs that the environment has.

    With TensorFlow that is ``MirroredStrategy`` where there are several GPUs; with JAX it is Keras' ``DataParallel``.

    Raises:
        MissingRequirement: TF_CONFIG names several hosts: Keras 3's ``fit`` does not run under
            ``MultiWorkerMirroredStrategy`` (keras-team/keras, issue 20585).
    """
    import keras

    if keras.backend.backend() == "jax":
        if len(keras.distribution.list_devices()) > 1:
            keras.distribution.set_distribution(keras.distribution.DataParallel())
        return nullcontext()
    if keras.backend.backend() == "tensorflow":
        if len(json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}).get("worker", [])) > 1:
            raise MissingRequirement(
                "Expected one host to train on: Keras 3 does not train under TensorFlow's MultiWorkerMirroredStrategy "
                f"(keras-team/keras, issue 20585). Got: TF_CONFIG={os.environ['TF_CONFIG']}. Unset it."
            )
        import tensorflow as tf

        if len(tf.config.list_logical_devices("GPU")) > 1:
            return tf.distribute.MirroredStrategy().scope()
    return nullcontext()


def steps_of(schedule: Schedule, samples: int) -> int:
    """Return how many steps a schedule takes on a training set of so many samples."""
    return schedule.epochs * math.ceil(min(schedule.samples_per_epoch or samples, samples) / schedule.batch_size)


def fit(
    model: "keras.Model",
    task: Task,
    schedule: Schedule,
    seed: int,
    on_epoch: OnEpoch | None = None,
    *,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    optimizer: "Callable[[Any], keras.optimizers.Optimizer] | None" = None,
    folder: Path | None = None,
    name: str = "",
) -> None:
    """Train ``model`` in place on ``task.train``; see ``train``.

    ``name`` is what the checkpoints' training is called: models of the same shape are trained on several tasks.

    Raises:
        InputError: the checkpoint in ``folder`` is another training's, or damaged.
        MissingRequirement: a checkpoint cannot be written.
        FloatingPointError: the loss became NaN or infinite.
    """
    import keras

    keras.utils.set_random_seed(seed)
    batches = _batches(model, task.train, schedule, seed)
    model.compile(
        optimizer=(optimizer or _adam(schedule))(_learning_rate(schedule, steps_of(schedule, len(task.train)))),
        loss=task.loss or "mean_squared_error",
    )
    assert model.optimizer is not None
    model.optimizer.build(model.trainable_variables)
    identity = _identity(name, model, task.train, seed, schedule) if folder else ""
    done = _restore(model, folder, identity) if folder else 0
    batches.epoch = done

    def begin(epoch: int, logs: Any = None) -> None:
        _reseed(model, seed, epoch)

    def end(epoch: int, logs: dict[str, float]) -> None:
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"the training loss became {logs['loss']} in epoch {epoch + 1}")
        if folder:
            _save(model, folder, identity, epoch + 1)
        if on_epoch:
            on_epoch(epoch + 1, schedule.epochs)

    model.fit(
        batches,
        shuffle=False,  # the batches are shuffled already
        initial_epoch=done,
        epochs=schedule.epochs,
        verbose=0,
        callbacks=[*callbacks, keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)],
    )


def _learning_rate(schedule: Schedule, steps: int) -> Any:
    import keras

    warmup = round(schedule.warmup * steps)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(schedule.learning_rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=schedule.learning_rate, warmup_steps=warmup
    )


def _adam(schedule: Schedule) -> "Callable[[Any], keras.optimizers.Optimizer]":
    import keras

    if schedule.weight_decay:
        return lambda rate: keras.optimizers.AdamW(
            rate, weight_decay=schedule.weight_decay, global_clipnorm=schedule.clip_norm
        )
    return lambda rate: keras.optimizers.Adam(rate, global_clipnorm=schedule.clip_norm)


def _batches(model: "keras.Model", data: Dataset, schedule: Schedule, seed: int) -> Any:
    """Return the training set as batches whose order follows from the seed and the epoch alone."""
    import keras

    per_epoch = min(schedule.samples_per_epoch or len(data), len(data))

    class Batches(keras.utils.PyDataset):
        """Shuffled batches."""

        epoch = 0

        def __init__(self) -> None:
            super().__init__()
            self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

        def __len__(self) -> int:
            return math.ceil(per_epoch / schedule.batch_size)

        def __getitem__(self, place: int) -> Any:
            if self._order[0] != self.epoch:
                order = np.random.default_rng((seed, self.epoch)).permutation(len(data))[:per_epoch]
                self._order = (self.epoch, order)
            chosen = self._order[1][place * schedule.batch_size : (place + 1) * schedule.batch_size]
            batch = data.at(chosen)
            # tf.data takes no lists; a model with a list of inputs takes them by name too.
            inputs = dict(batch.inputs) if isinstance(input_of(model), list) else as_inputs(model, batch.inputs)
            return (inputs,) if batch.labels is None else (inputs, batch.labels)

        def on_epoch_end(self) -> None:
            self.epoch += 1

    return Batches()


def _reseed(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set every seed generator in the model by the seed and the epoch, so that a resumed epoch draws the same."""
    draws = np.random.default_rng((seed, epoch, 1))
    for variable in model.non_trainable_variables:
        if "seed_generator" in variable.path:
            variable.assign(draws.integers(0, 2**31, tuple(variable.shape)).astype(str(variable.dtype)))


def _state(model: "keras.Model") -> list[Any]:
    assert model.optimizer is not None
    return [*model.variables, *model.optimizer.variables]


def _identity(name: str, model: "keras.Model", data: Dataset, seed: int, schedule: Schedule) -> str:
    """Return all that the result of a training follows from: with anything else it is not gone on with."""
    import keras

    labels = data.labels if isinstance(data.labels, Mapping) else {"": data.labels} if data.labels is not None else {}
    arrays = {**data.inputs, **{f"labels {output}": array for output, array in labels.items()}}
    shapes = repr([tuple(variable.shape) for variable in _state(model)])
    packages = ("edgewright", "keras", keras.backend.backend(), "numpy")
    parts = [name, model.name, f"variables {hashlib.sha256(shapes.encode()).hexdigest()[:12]}", f"seed {seed}"]
    parts += [str(schedule), f"data {digest_of_arrays(arrays)[:12]}"]
    return ", ".join([*parts, *(f"{package} {metadata.version(package)}" for package in packages)])


def _save(model: "keras.Model", folder: Path, identity: str, epochs: int) -> None:
    arrays = {str(place): np.asarray(variable) for place, variable in enumerate(_state(model))}
    content = io.BytesIO()
    np.savez(content, **arrays, epochs=np.array(epochs), made_by=np.array(identity))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / CHECKPOINT, content.getvalue())
    except OSError as error:
        raise MissingRequirement(
            f"Expected room and the right to write a checkpoint of {content.tell()} bytes into {folder}. "
            f"Got: {error.strerror or error}; what was there is kept."
        ) from error


def _restore(model: "keras.Model", folder: Path, identity: str) -> int:
    """Load the checkpoint into the model and its optimizer; return how many epochs it has had."""
    if not (folder / CHECKPOINT).exists():
        return 0
    try:
        with np.load(folder / CHECKPOINT, allow_pickle=False) as file:
            arrays = dict(file)
        received, epochs = str(arrays["made_by"]), int(arrays["epochs"])
        state = [arrays[str(place)] for place in range(len(arrays) - 2)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"Expected a checkpoint at {folder / CHECKPOINT}. Got: a damaged file ({error}). "
            "Remove it to train from the start."
        ) from error
    if identity != received:
        raise InputError(
            f"Expected a checkpoint of this training at {folder / CHECKPOINT}: {identity}. Got: {received}. "
            "Remove it to train from the start."
        )
    for variable, values in zip(_state(model), state, strict=True):
        variable.assign(values)
    return epochs


def outputs_of(model: "keras.Model", data: Dataset, batch_size: int = 256) -> dict[str, np.ndarray]:
    """Return the model's outputs for every sample, ``[samples, ...]`` by output name."""
    import keras

    batches = []
    for start in range(0, len(data), batch_size):
        inputs = {name: array[start : start + batch_size] for name, array in data.inputs.items()}
        batches.append(keras.tree.flatten(model(as_inputs(model, inputs), training=False)))
    arrays = [np.concatenate([np.asarray(array) for array in parts]) for parts in zip(*batches, strict=True)]
    arrays = [array.astype(outside_type(str(array.dtype)), copy=False) for array in arrays]
    return dict(zip(output_names(model), arrays, strict=True))


def as_inputs(model: "keras.Model", inputs: Arrays) -> Any:
    """Return the arrays in the structure that the model takes: an array, a list or a dictionary."""
    import keras

    return keras.tree.map_structure(lambda tensor: inputs[tensor.name], input_of(model))


def structured(model: "keras.Model", inputs: Any) -> Any:
    """Return inputs in the structure that the model takes, whether they come by name or in it already."""
    if isinstance(inputs, dict) and not isinstance(input_of(model), dict):
        return as_inputs(model, inputs)
    return inputs


def input_of(model: "keras.Model") -> Any:
    """Return a model's inputs in their structure; Keras has none for a sequential model that nothing called."""
    import keras

    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def output_names(model: "keras.Model") -> list[str]:
    """Return one distinct name for each output, none of them an input's: its key in a dictionary, else its layer's."""
    import keras

    names = [str(name) for name in getattr(model, "output_names", None) or ["output"]]
    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict):
        paths = [path for path, _ in keras.tree.flatten_with_path(structure)]
        if all(len(path) == 1 for path in paths):
            names = [str(key).replace(":", "_") for (key,) in paths]  # runtimes put a port's number after a colon
    # Files tell tensors apart by their names: an input that is an output too would be found twice.
    taken = {tensor.name for tensor in getattr(model, "inputs", None) or ()}
    distinct = []
    for place, name in enumerate(names):
        name = name if names.count(name) == 1 else f"{name}_{place}"
        while name in taken:
            name += "_output"
        taken.add(name)
        distinct.append(name)
    return distinct
