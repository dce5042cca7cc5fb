"""Channels of very different scale: what int8 after training costs there, and what equalizing and rounding bring back.

    python benchmarks/scaled_channels.py                        # about four minutes
    python benchmarks/scaled_channels.py --recipe int8 --recipe int8-rounded --seeds 3

A depthwise-separable net is trained on digits for five epochs. Then its channels are scaled apart by factors of up to
ten, up before a ReLU and down after it: the net computes what it did, and int8 has one scale for each activation. Each
recipe's artifacts are run in their runtimes on the test digits.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgewright
from edgewright.cli import _import_tensorflow
from edgewright.train import Schedule, Task
from edgewright.train._digits import digits

if TYPE_CHECKING:
    import keras

# The separable blocks: channels and strides.
BLOCKS = ((24, 1), (32, 2), (32, 1), (48, 2), (48, 1))
_TRAINING = Schedule(epochs=5, batch_size=64, learning_rate=4e-3)


def trained(task: Task, seed: int) -> "keras.Model":
    """Return the net, trained."""
    import keras

    from edgewright.train._training import fit

    layers = keras.layers
    keras.utils.set_random_seed(seed)
    ((name, images),) = task.train.inputs.items()
    image = keras.Input(images.shape[1:], name=name)
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    for place, (channels, stride) in enumerate(BLOCKS):
        x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"depthwise_{place}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"after_depthwise_{place}")(x))
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"pointwise_{place}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"after_pointwise_{place}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="classes")(x), name="separable")
    fit(model, task, _TRAINING, seed)
    return model


def scale_apart(model: "keras.Model", seed: int) -> None:
    """Scale the channels of each layer by ten to a power between -1 and 1, and take it back in the next layer."""
    random = np.random.default_rng(seed)
    for place in range(len(BLOCKS)):
        last = place == len(BLOCKS) - 1
        for normalization, after in (
            (f"after_depthwise_{place}", f"pointwise_{place}"),
            (f"after_pointwise_{place}", "classes" if last else f"depthwise_{place + 1}"),
        ):
            layer, kernel = model.get_layer(normalization), model.get_layer(after).kernel
            factors = 10 ** random.uniform(-1, 1, layer.gamma.shape[0])
            layer.gamma.assign(layer.gamma * factors)
            layer.beta.assign(layer.beta * factors)
            kernel.assign(kernel / factors[:, np.newaxis])


def main() -> None:
    """Print the accuracy of each recipe's artifacts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", help="int8 and int8-rounded by default")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    _import_tensorflow()
    from edgewright.train._training import outputs_of

    task = digits()
    assert task.metric is not None and task.test.labels is not None
    for seed in range(arguments.seeds):
        model = trained(task, seed)
        scale_apart(model, seed)
        reached = task.metric.measure(outputs_of(model, task.test), task.test.labels)
        print(f"seed {seed}, {len(task.test)} test digits: float {reached:.4g} % in Keras", flush=True)
        for recipe in arguments.recipe or ("int8", "int8-rounded"):
            compressed = edgewright.compress(model, task, recipe, seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                bundle = edgewright.export(compressed, Path(folder) / "bundle")
            for check in bundle.manifest["evidence"]["checks"]:
                if not check["artifact"].endswith("float32") and check["ok"]:
                    print(
                        f"  {recipe:14} {check['artifact']:16} {check['runtime']:16} {check['metric']:.4g} %",
                        flush=True,
                    )
            for name, reason in bundle.manifest["failures"].items():
                print(f"  {recipe:14} {name:16} failed: {reason}", flush=True)


if __name__ == "__main__":
    main()
