"""One conversion of a frozen SavedModel to float32, bare: ``_export_bare.py FORMAT SAVED_MODEL OUT``."""

import sys


def main() -> None:
    """Convert and write."""
    format, source, target = sys.argv[1:]
    if format == "openvino":
        import openvino

        openvino.save_model(openvino.convert_model(source), f"{target}.xml", compress_to_fp16=False)
    elif format == "tflite":
        import tensorflow as tf

        with open(f"{target}.tflite", "wb") as file:
            file.write(tf.lite.TFLiteConverter.from_saved_model(source).convert())
    else:
        import onnx
        import tensorflow as tf
        import tf2onnx

        signature = tf.saved_model.load(source).signatures["serving_default"]
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name)
            for name, spec in signature.structured_input_signature[1].items()
        ]
        call = tf.function(
            lambda *arrays: signature(**dict(zip([spec.name for spec in specs], arrays, strict=True))), specs
        )
        model, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=17)
        onnx.save(model, f"{target}.onnx")


if __name__ == "__main__":
    main()
