"""TF-MOT on a tf_keras twin of a Keras 3 model: the same layers, weights, data, batches and budget.

TF-MOT refuses Keras 3, so the model is described as plain data and built again from tf_keras' layers, in a process of
its own with TF_USE_LEGACY_KERAS=1. A twin that answers otherwise than the model is an error, not a comparison.

    python benchmarks/_compression_twin.py JOB.json
"""

import inspect
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

# The operating points; "trained" is the twin trained on for the same budget, nothing else.
POINTS = (
    "pruning 50 % + static int8",
    "pruning 80 % + static int8",
    "pruning 90 % + static int8",
    "pruning 90 % 1x4 + sparse",
    "pruning 90 % 1x4 + sparse static int8",
    "clustering 16 + static int8",
    "QAT int8",
    "pruning 80 % + QAT int8",
)
# Masks are computed anew every so many steps, as edgewright does.
_FREQUENCY = 10
_CHECKED, _TOLERANCE = 64, 1e-3
_CLUSTERS_LEARNING_RATE = 0.1  # of the budget's: what TF-MOT's guide advises for clustering


def job_of(prepared: Any, point: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the job for a point, as plain data; the model, its weights and the data are written into ``folder``.

    Args:
        prepared: the subject, made ready.
        point: one of POINTS, or "pruning 90 %" and the like, which leaves float weights.
        seed: of everything random.
        folder: an empty folder.
    """
    from edgewright.train._training import outputs_of

    model, task = prepared.subject.model(), prepared.subject.experiment.task()
    (name,) = task.train.inputs
    weights = {str(place): array for place, array in enumerate(model.get_weights())}
    first = outputs_of(model, task.test.take(_CHECKED))
    np.savez(folder / "weights.npz", **weights)
    np.savez(
        folder / "data.npz",
        train=task.train.inputs[name],
        labels=task.train.labels,
        test=task.test.inputs[name],
        expected=next(iter(first.values())),
    )
    return {
        "point": point,
        "seed": seed,
        "layers": described(model),
        "output": next(iter(first)),
        "loss": task.loss,
        "budget": asdict(prepared.subject.budget),
        "folder": str(folder),
    }


def described(model: Any) -> list[dict[str, Any]]:
    """Return a functional model's layers as plain data: class, settings, and the layers that each is called on."""
    layers = []
    for layer in model.get_config()["layers"]:
        settings = {
            key: value
            for key, value in layer["config"].items()
            if not isinstance(value, dict) and key not in ("dtype", "trainable", "quantization_config")
        }
        calls = [_histories(node) for node in layer["inbound_nodes"]]
        layers.append({"class": layer["class_name"], "settings": settings, "calls": calls})
    return layers


def _histories(node: Any) -> list[str]:
    """Return the names of the layers whose outputs stand in a node of a Keras config."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [node["config"]["keras_history"][0]]
        node = list(node.values())
    if isinstance(node, list | tuple):
        return [name for part in node for name in _histories(part)]
    return []


def build(layers: list[dict[str, Any]], output: str, batch_size: int | None = None) -> Any:
    """Return the tf_keras model that a description is of."""
    import tf_keras

    made: dict[str, Any] = {}
    first = None
    for layer in layers:
        settings = dict(layer["settings"])
        name = settings["name"]
        if layer["class"] == "InputLayer":
            first = made[name] = tf_keras.Input(settings["batch_shape"][1:], name=name, batch_size=batch_size)
            continue
        kind = getattr(tf_keras.layers, layer["class"])
        taken = {key for base in kind.__mro__ if "__init__" in vars(base) for key in inspect.signature(base).parameters}
        # Rolled: TFLite's converter makes one fused operation of tf_keras' LSTM.
        settings = {key: value for key, value in settings.items() if key in taken and key != "unroll"}
        (call,) = layer["calls"]
        tensors = [made[before] for before in call]
        made[name] = kind(**settings)(tensors[0] if len(tensors) == 1 else tensors)
    return tf_keras.Model(first, made[output])


def main(job_file: str) -> None:
    """Build the twin, apply TF-MOT, and leave model.tflite, outputs.npz and made.json."""
    import tensorflow as tf
    import tf_keras

    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    folder, point = Path(job["folder"]), job["point"]
    with np.load(folder / "data.npz") as arrays:
        data = {name: arrays[name] for name in arrays.files}
    with np.load(folder / "weights.npz") as arrays:
        weights = [arrays[str(place)] for place in range(len(arrays.files))]
    tf_keras.utils.set_random_seed(job["seed"])
    twin = build(job["layers"], job["output"])
    twin.set_weights(weights)
    difference = np.abs(twin.predict(data["test"][:_CHECKED], verbose=0) - data["expected"]).max()
    if difference > _TOLERANCE:
        raise ValueError(
            f"expected a twin that answers as the Keras 3 model does, got a difference of {difference:.3g}"
        )

    if point.startswith("cost"):
        (folder / "made.json").write_text(json.dumps({"ends": _cost(twin, job, data)}), encoding="utf-8")
        return
    if point.startswith("pruning"):
        twin = _pruned(twin, job, data, float(point.split()[1]) / 100, blocks="1x4" in point)
    if point.startswith("clustering"):
        twin = _clustered(twin, job, data, int(point.split()[1]))
    kernels = [np.asarray(each) for each in twin.trainable_variables if len(each.shape) > 1]
    zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels) / sum(kernel.size for kernel in kernels)
    if "QAT" in point:
        twin = _quantized(twin, job, data, preserve="pruning" in point)
    np.savez(folder / "outputs.npz", **{job["output"]: twin.predict(data["test"], verbose=0)})

    converter = _converter(twin, folder / "saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if "int8" in point else []
    if "sparse" in point:
        converter.optimizations = [*converter.optimizations, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    if "static" in point:
        samples = data["train"][:256]
        converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in samples)
    (folder / "model.tflite").write_bytes(converter.convert())
    (folder / "made.json").write_text(json.dumps({"zeros": zeros}), encoding="utf-8")


def _converter(model: Any, folder: Path) -> Any:
    """Return a TFLite converter of the model at batch 1; through a SavedModel, where LSTMs can still be fused."""
    import tensorflow as tf

    (tensor,) = model.inputs
    run = tf.function(lambda array: model(array, training=False))
    spec = tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=tensor.name.split(":")[0])
    model.save(folder, save_format="tf", signatures=run.get_concrete_function(spec))
    return tf.lite.TFLiteConverter.from_saved_model(str(folder))


def _pruned(twin: Any, job: dict[str, Any], data: dict[str, Any], sparsity: float, blocks: bool = False) -> Any:
    """Prune by magnitude with the cubic schedule while training, and strip the wrappers.

    ``blocks`` are of four weights along the input axis, which TFLite's sparse kernels take, in dense layers alone:
    TF-MOT has none of a convolution.
    """
    import tf_keras
    from tensorflow_model_optimization.python.core.sparsity.keras import prune, pruning_callbacks

    schedule = _schedule(job, data, sparsity)

    def in_blocks(layer: Any) -> Any:
        if not isinstance(layer, tf_keras.layers.Dense):
            return layer
        size = (4, 1) if layer.kernel.shape[0] % 4 == 0 else (1, 1)
        return prune.prune_low_magnitude(layer, pruning_schedule=schedule, block_size=size)

    if blocks:
        wrapped = tf_keras.models.clone_model(twin, clone_function=in_blocks)
    else:
        wrapped = prune.prune_low_magnitude(twin, pruning_schedule=schedule)
    _fit(wrapped, job, data, job["budget"]["epochs"], callbacks=[pruning_callbacks.UpdatePruningStep()])
    return prune.strip_pruning(wrapped)


def _schedule(job: dict[str, Any], data: dict[str, Any], sparsity: float) -> Any:
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule

    budget = job["budget"]
    steps = budget["epochs"] * _steps(data, budget)
    end = max(1, round(steps * budget["ramp"]))
    return pruning_schedule.PolynomialDecay(0.0, sparsity, 0, end, power=3, frequency=_FREQUENCY)


def _clustered(twin: Any, job: dict[str, Any], data: dict[str, Any], clusters: int) -> Any:
    """Cluster each layer's kernel, train on, and strip the wrappers."""
    from tensorflow_model_optimization.python.core.clustering.keras import cluster, cluster_config

    start = cluster_config.CentroidInitialization.KMEANS_PLUS_PLUS
    wrapped = cluster.cluster_weights(twin, number_of_clusters=clusters, cluster_centroids_init=start)
    _fit(wrapped, job, data, job["budget"]["epochs"], scale=_CLUSTERS_LEARNING_RATE)
    return cluster.strip_clustering(wrapped)


def _quantized(twin: Any, job: dict[str, Any], data: dict[str, Any], preserve: bool) -> Any:
    """Quantize all layers and train on; keep zeros where there are."""
    from tensorflow_model_optimization.python.core.quantization.keras import quantize
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
        default_8bit_prune_preserve_quantize_scheme as schemes,
    )

    if preserve:
        annotated = quantize.quantize_annotate_model(twin)
        wrapped = quantize.quantize_apply(annotated, schemes.Default8BitPrunePreserveQuantizeScheme())
    else:
        wrapped = quantize.quantize_model(twin)
    budget = job["budget"]
    scale = budget["qat_learning_rate"] / budget["learning_rate"]
    _fit(wrapped, job, data, budget["qat_epochs"], scale=scale)
    return wrapped


def _cost(twin: Any, job: dict[str, Any], data: dict[str, Any]) -> list[float]:
    """Return when each epoch ended of a training: plain, pruning or QAT."""
    import time

    import tf_keras
    from tensorflow_model_optimization.python.core.quantization.keras import quantize
    from tensorflow_model_optimization.python.core.sparsity.keras import prune, pruning_callbacks

    ends: list[float] = []
    callbacks = [tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))]
    kind = job["point"].split()[1]
    if kind == "pruning":
        twin = prune.prune_low_magnitude(twin, pruning_schedule=_schedule(job, data, 0.8))
        callbacks.append(pruning_callbacks.UpdatePruningStep())
    elif kind == "QAT":
        twin = quantize.quantize_model(twin)
    _fit(twin, job, data, job["budget"]["epochs"], callbacks=callbacks)
    return ends


def _steps(data: dict[str, Any], budget: dict[str, Any]) -> int:
    return -(-min(budget.get("samples_per_epoch") or len(data["train"]), len(data["train"])) // budget["batch_size"])


def _fit(
    model: Any, job: dict[str, Any], data: dict[str, Any], epochs: int, callbacks: Any = (), scale: float = 1.0
) -> None:
    """Train on the batches that edgewright draws: their order follows from the seed and the epoch."""
    import tf_keras

    budget = job["budget"]
    size, steps = budget["batch_size"], _steps(data, budget)

    class Batches(tf_keras.utils.Sequence):
        """Shuffled batches."""

        epoch = 0

        def __len__(self) -> int:
            return steps

        def __getitem__(self, place: int) -> Any:
            if place == 0 or not hasattr(self, "order"):
                self.order = np.random.default_rng((job["seed"], self.epoch)).permutation(len(data["train"]))
            chosen = self.order[: budget.get("samples_per_epoch")][place * size : (place + 1) * size]
            return data["train"][chosen], data["labels"][chosen]

        def on_epoch_end(self) -> None:
            self.epoch += 1

    rate = tf_keras.optimizers.schedules.CosineDecay(scale * budget["learning_rate"], epochs * steps)
    model.compile(tf_keras.optimizers.Adam(rate), loss=job["loss"])
    model.fit(Batches(), epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))


if __name__ == "__main__":
    main(sys.argv[1])
