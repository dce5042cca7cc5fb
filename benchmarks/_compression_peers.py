"""The peers: what each does at each of its operating points to one graph of the float model, in a child process.

Each takes a job and returns the file that it wrote. It may raise, crash or hang: the benchmark makes a row of that.
Where a peer has a choice the documented default is taken, but for what it cannot do without: shapes are static, and
int8 of an activation falls back to float where a kernel is missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Job:
    """What a peer is given.

    Attributes:
        saved_model: the graph at batch 1, its weights constants, with the signature ``serving_default``.
        keras_file: the graph as a Keras model.
        floats: the float exports of the graph, by format.
        inputs: names of the inputs, with their shapes, batch of 1 included.
        calibration: an .npz of 256 representative inputs by name, ``[samples, ...]``.
        folder: an empty folder for the file.
        graph: the graph's name, which the file gets.
    """

    saved_model: Path
    keras_file: Path
    floats: dict[str, Path]
    inputs: dict[str, tuple[int, ...]]
    calibration: Path
    folder: Path
    graph: str

    def samples(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the representative samples one at a time, each array ``[1, ...]``, by input name."""
        with np.load(self.calibration, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in self.inputs}
        for place in range(len(next(iter(loaded.values())))):
            yield {name: array[place : place + 1] for name, array in loaded.items()}


@dataclass(frozen=True)
class Point:
    """A peer at one of its operating points.

    Attributes:
        peer: who.
        name: the operating point.
        format: of the file that it writes.
        run: does it: a function of this module or of another.
    """

    peer: str
    name: str
    format: str
    run: Callable[[Job], Path]


def tflite_dynamic(job: Job) -> Path:
    """Weights int8, activations quantized while running."""
    return _tflite(job, lambda converter: None)


def tflite_int8(job: Job) -> Path:
    """Weights and activations int8, calibrated."""

    def full(converter: Any) -> None:
        import tensorflow as tf

        converter.representative_dataset = job.samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]

    return _tflite(job, full)


def tflite_fp16(job: Job) -> Path:
    """Weights float16."""

    def half(converter: Any) -> None:
        import tensorflow as tf

        converter.target_spec.supported_types = [tf.float16]

    return _tflite(job, half)


def tflite_int16x8(job: Job) -> Path:
    """Weights int8, activations int16, calibrated."""

    def wide(converter: Any) -> None:
        import tensorflow as tf

        kinds = tf.lite.OpsSet
        converter.representative_dataset = job.samples
        converter.target_spec.supported_ops = [
            kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            kinds.TFLITE_BUILTINS,
        ]

    return _tflite(job, wide)


def _tflite(job: Job, settings: Callable[[Any], None]) -> Path:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(job.saved_model), signature_keys=[SIGNATURE])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    settings(converter)
    path = job.folder / f"{job.graph}.tflite"
    path.write_bytes(converter.convert())
    return path


def edge_quantizer_dynamic(job: Job) -> Path:
    """Weights int8, activations quantized while running."""
    return _edge_quantizer(job, "dynamic_wi8_afp32")


def edge_quantizer_dynamic_int4(job: Job) -> Path:
    """Weights int4, activations quantized while running."""
    return _edge_quantizer(job, "dynamic_wi4_afp32")


def edge_quantizer_weights_int4(job: Job) -> Path:
    """Weights int4, dequantized to compute in float."""
    return _edge_quantizer(job, "weight_only_wi4_afp32")


def edge_quantizer_int8(job: Job) -> Path:
    """Weights and activations int8; its calibration is a moving average, so it gets all 256 samples."""
    return _edge_quantizer(job, "static_wi8_ai8")


def _edge_quantizer(job: Job, recipe: str) -> Path:
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    made = quantizer.Quantizer(str(job.floats["tflite"]), getattr(recipes, recipe)())
    calibrated = _calibrated(made, job) if made.need_calibration else None
    path = job.folder / f"{job.graph}.tflite"
    made.quantize(calibrated).export_model(str(path))
    return path


def _calibrated(made: Any, job: Job) -> Any:
    """Return the ranges; by TFLite's profiler where keeping all tensors fails (0.10 on an unrolled LSTM)."""
    from ai_edge_quantizer.calibrator import CalibrationMode

    samples = {SIGNATURE: list(job.samples())}
    try:
        return made.calibrate(samples, num_threads=1)
    except ValueError:
        return made.calibrate(samples, num_threads=1, mode=CalibrationMode.CALIBRATION_PROFILER_BASED)


def onnxruntime_dynamic(job: Job) -> Path:
    """Weights int8, activations quantized while running."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = job.folder / f"{job.graph}.onnx"
    quantize_dynamic(str(_prepared(job)), str(path), per_channel=True, weight_type=QuantType.QInt8)
    return path


def onnxruntime_static(job: Job) -> Path:
    """Weights and activations int8 as QuantizeLinear and DequantizeLinear pairs, calibrated."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        """The representative samples, one at a time."""

        def __init__(self) -> None:
            self.samples = job.samples()

        def get_next(self) -> Any:
            return next(self.samples, None)

    path = job.folder / f"{job.graph}.onnx"
    quantize_static(
        str(_prepared(job)),
        str(path),
        Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def _prepared(job: Job) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = job.folder / "prepared.onnx"
    quant_pre_process(str(job.floats["onnx"]), str(path), skip_symbolic_shape=True)
    return path


def nncf_int8(job: Job) -> Path:
    """Weights and activations int8, calibrated."""
    import nncf

    samples = list(job.samples())
    return _openvino(job, lambda model: nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples)))


def nncf_weights_int8(job: Job) -> Path:
    """Weights int8, dequantized to compute in float."""
    import nncf

    return _openvino(job, lambda model: nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM))


def nncf_weights_int4(job: Job) -> Path:
    """Weights int4 for each channel (no layer is wide enough for its groups), dequantized to compute in float."""
    import nncf

    mode = nncf.CompressWeightsMode.INT4_SYM
    return _openvino(
        job, lambda model: nncf.compress_weights(model, mode=mode, ratio=1.0, group_size=-1, all_layers=True)
    )


def openvino_fp16(job: Job) -> Path:
    """Weights float16, what OpenVINO saves by default."""
    return _openvino(job, lambda model: model, half=True)


def _openvino(job: Job, change: Callable[[Any], Any], half: bool = False) -> Path:
    import openvino

    path = job.folder / f"{job.graph}.xml"
    openvino.save_model(change(openvino.Core().read_model(job.floats["openvino"])), str(path), compress_to_fp16=half)
    return path


def keras_int8_tflite(job: Job) -> Path:
    """Keras' own int8 layers, by way of the float TFLite converter."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(_keras(job).folder), signature_keys=[SIGNATURE])
    path = job.folder / f"{job.graph}.tflite"
    path.write_bytes(converter.convert())
    return path


def keras_int8_onnx(job: Job) -> Path:
    """Keras' own int8 layers, by way of the float ONNX exporter."""
    from edgewright.export import convert

    made = convert(_keras(job), "onnx", "float32", job.folder / "onnx", graph=job.graph)
    if made.artifact is None:
        raise RuntimeError(made.reason)
    return made.artifact.path


def _keras(job: Job) -> Any:
    from edgewright.export import freeze
    from edgewright.train._checkpoints import load

    model = load(job.keras_file)
    model.quantize("int8")
    return freeze(model, job.folder / "frozen")


POINTS = (
    Point("TFLite converter", "dynamic int8", "tflite", tflite_dynamic),
    Point("TFLite converter", "static int8", "tflite", tflite_int8),
    Point("TFLite converter", "fp16", "tflite", tflite_fp16),
    Point("TFLite converter", "int16x8", "tflite", tflite_int16x8),
    Point("ai-edge-quantizer", "dynamic int8", "tflite", edge_quantizer_dynamic),
    Point("ai-edge-quantizer", "static int8", "tflite", edge_quantizer_int8),
    Point("ai-edge-quantizer", "dynamic int4", "tflite", edge_quantizer_dynamic_int4),
    Point("ai-edge-quantizer", "int4 weights", "tflite", edge_quantizer_weights_int4),
    Point("ONNX Runtime", "dynamic int8", "onnx", onnxruntime_dynamic),
    Point("ONNX Runtime", "static int8", "onnx", onnxruntime_static),
    Point("OpenVINO", "fp16", "openvino", openvino_fp16),
    Point("NNCF", "static int8", "openvino", nncf_int8),
    Point("NNCF", "int8 weights", "openvino", nncf_weights_int8),
    Point("NNCF", "int4 weights", "openvino", nncf_weights_int4),
    Point("Keras quantize", "int8 to TFLite", "tflite", keras_int8_tflite),
    Point("Keras quantize", "int8 to ONNX", "onnx", keras_int8_onnx),
)
