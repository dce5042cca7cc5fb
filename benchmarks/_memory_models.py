"""Models whose memory is predicted and measured: keras.applications at small resolution, recurrent and attending ones.

    python benchmarks/_memory_models.py NAME FOLDER      # writes the model's files, whatever converters make of it

Weights are random: memory does not depend on them.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CALIBRATED_ON = 4


def _application(name: str, size: int, **how: Any) -> Callable[[], Any]:
    def build() -> Any:
        import keras

        return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=100, **how)

    return build


def _vgg() -> Any:
    from keras import Sequential, layers

    model = Sequential([layers.Input((64, 64, 3))])
    for filters, repeats in ((64, 2), (128, 2), (256, 3), (512, 3)):
        for _ in range(repeats):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    for part in (layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dense(100)):
        model.add(part)
    return model


def _unet() -> Any:
    import keras
    from keras import layers

    def twice(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        return x

    x = inputs = keras.Input((128, 128, 3))
    kept = []
    for filters in (16, 32, 64):
        kept.append(twice(x, filters))
        x = layers.MaxPooling2D()(kept[-1])
    x = twice(x, 128)
    for filters, skip in zip((64, 32, 16), reversed(kept), strict=True):
        x = twice(layers.Concatenate()([layers.UpSampling2D()(x), skip]), filters)
    return keras.Model(inputs, layers.Conv2D(4, 1)(x))


def _transformer(width: int, blocks: int, length: int) -> Callable[[], Any]:
    def build() -> Any:
        import keras
        from keras import layers

        x = inputs = keras.Input((length, 64))
        x = layers.Dense(width)(x)
        for _ in range(blocks):
            y = layers.LayerNormalization()(x)
            x = x + layers.MultiHeadAttention(8, width // 8)(y, y)
            y = layers.LayerNormalization()(x)
            x = x + layers.Dense(width)(layers.Dense(4 * width, activation="relu")(y))
        return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))

    return build


def _recurrent(kind: str, units: int, length: int) -> Callable[[], Any]:
    def build() -> Any:
        from keras import Sequential, layers

        cell = getattr(layers, kind)
        parts = [layers.Input((length, 64)), cell(units, return_sequences=True), cell(units), layers.Dense(10)]
        return Sequential(parts)

    return build


def _dense(width: int, count: int) -> Callable[[], Any]:
    def build() -> Any:
        from keras import Sequential, layers

        hidden = [layers.Dense(width, activation="relu") for _ in range(count)]
        return Sequential([layers.Input((256,)), *hidden, layers.Dense(10)])

    return build


def _convolutions(size: int, filters: int, count: int) -> Callable[[], Any]:
    def build() -> Any:
        from keras import Sequential, layers

        model = Sequential([layers.Input((size, size, 3))])
        for _ in range(count):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.GlobalAveragePooling2D())
        model.add(layers.Dense(10))
        return model

    return build


def _shipped(architecture: str, experiment: str, graph: str = "") -> Callable[[], Any]:
    """Return how the graph of a shipped experiment is built, the only one where none is named."""

    def build() -> Any:
        from edgewright.train import get

        found = next(entry for entry in get(architecture).experiments if entry.name == experiment)
        model = found.build("edge", 0)
        return found.deploy(model).graphs[graph] if found.deploy else model

    return build


# By name: the family, which is left out together where figures are fitted, and how it is built.
MODELS: dict[str, tuple[str, Callable[[], Any]]] = {
    "mobilenet_v2_0.35-96": ("mobilenet_v2", _application("MobileNetV2", 96, alpha=0.35)),
    "mobilenet_v2_1.0-128": ("mobilenet_v2", _application("MobileNetV2", 128)),
    "mobilenet_v2_1.0-224": ("mobilenet_v2", _application("MobileNetV2", 224)),
    "mobilenet_v1_0.5-128": ("mobilenet_v1", _application("MobileNet", 128, alpha=0.5)),
    "mobilenet_v3_small-128": ("mobilenet_v3", _application("MobileNetV3Small", 128)),
    "resnet50-96": ("resnet50", _application("ResNet50", 96)),
    "efficientnet_b0-128": ("efficientnet", _application("EfficientNetB0", 128)),
    "densenet121-96": ("densenet", _application("DenseNet121", 96)),
    "nasnet_mobile-96": ("nasnet", _application("NASNetMobile", 96)),
    "xception-96": ("xception", _application("Xception", 96)),
    "inception_v3-96": ("inception", _application("InceptionV3", 96)),
    "vgg-64": ("vgg", _vgg),
    "unet-128": ("unet", _unet),
    "convolutions-96x32": ("convolutions", _convolutions(96, 32, 6)),
    "convolutions-32x64": ("convolutions", _convolutions(32, 64, 8)),
    "dense-1024": ("dense", _dense(1024, 4)),
    "dense-256": ("dense", _dense(256, 4)),
    "transformer-128": ("transformer", _transformer(128, 4, 64)),
    "transformer-256": ("transformer", _transformer(256, 6, 128)),
    "lstm-128": ("lstm", _recurrent("LSTM", 128, 50)),
    "lstm-512": ("lstm", _recurrent("LSTM", 512, 20)),
    "gru-256": ("gru", _recurrent("GRU", 256, 50)),
    "digits": ("digits", _shipped("convolutional", "digits")),
    "sparse-digits": ("digits", _shipped("sparse", "digits")),
    "freesolv": ("graph", _shipped("graph", "mpnn-freesolv")),
    "light-field": ("light_field", _shipped("nerf", "light-field", "light_field")),
    "sort-of-clevr-look": ("clevr", _shipped("multimodal", "sort-of-clevr", "look")),
    "list-programs-step": ("list_programs", _shipped("program_synthesis", "list-programs", "step")),
}


def main(name: str, folder: Path) -> None:
    """Build a model and write the files of every format that converters make of it."""
    import keras

    from edgewright.export._freeze import freeze

    keras.utils.set_random_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    frozen = freeze(MODELS[name][1](), folder / "saved_model")
    source = str(frozen.folder)
    random = np.random.default_rng(0)
    samples = [
        {tensor.name: random.normal(size=tensor.shape).astype("float32") for tensor in frozen.inputs}
        for _ in range(CALIBRATED_ON)
    ]
    for write in (_tflite, _openvino, _onnx, _tflite_int8):  # the last may end the process
        try:
            write(source, folder, samples)
        except Exception as error:
            print(f"{name} {write.__name__}: {type(error).__name__}: {str(error)[:200]}", flush=True)


def _tflite(source: str, folder: Path, samples: list) -> None:
    import tensorflow as tf

    for precision in ("float32", "float16", "dynamic_int8"):
        converter = tf.lite.TFLiteConverter.from_saved_model(source)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        _write(folder / f"model.{precision}.tflite", converter.convert())


def _tflite_int8(source: str, folder: Path, samples: list) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter(samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    _write(folder / "model.int8.tflite", converter.convert())


def _openvino(source: str, folder: Path, samples: list) -> None:
    import openvino

    model = openvino.convert_model(source)
    openvino.save_model(model, folder / "model.float32.xml", compress_to_fp16=False)
    openvino.save_model(model, folder / "model.float16.xml", compress_to_fp16=True)
    import nncf

    quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
    openvino.save_model(quantized, folder / "model.int8.xml", compress_to_fp16=False)


def _onnx(source: str, folder: Path, samples: list) -> None:
    import onnx
    import tensorflow as tf
    import tf2onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

    signature = tf.saved_model.load(source).signatures["serving_default"]
    names = list(signature.structured_input_signature[1])
    specs = [
        tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in signature.structured_input_signature[1].items()
    ]
    call = tf.function(lambda *arrays: signature(**dict(zip(names, arrays, strict=True))), specs)
    model, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=17)
    plain = folder / "model.float32.onnx"
    onnx.save(model, plain)

    class Reader(CalibrationDataReader):
        left = list(samples)

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantize_dynamic(plain, folder / "model.dynamic_int8.onnx")
    quantize_static(plain, folder / "model.int8.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
