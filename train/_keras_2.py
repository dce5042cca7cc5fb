"""Keras 2 models, carried over to Keras 3: the graph of layers is replayed, and the outputs of both are compared."""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import keras

# TensorFlow operations that a Keras 2 model may hold as layers (TFOpLambda): the name in keras.ops, and TensorFlow's
# arguments in their order with their names there.
_UNARY = {"x": "x"}
_BINARY = {"x": "x1", "y": "x2"}
_FEATURES = {"features": "x"}
_REDUCE = {"input_tensor": "x", "axis": "axis", "keepdims": "keepdims"}
OPERATIONS: dict[str, tuple[str, dict[str, str]]] = {
    **{f"__operators__.{tf}": (op, _BINARY) for tf, op in {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    }.items()},
    **{f"math.{tf}": (op, _BINARY) for tf, op in {
        "add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide", "truediv": "divide",
        "pow": "power", "maximum": "maximum", "minimum": "minimum",
    }.items()},
    **{f"math.{tf}": (op, _UNARY) for tf, op in {
        "abs": "absolute", "exp": "exp", "log": "log", "negative": "negative", "rsqrt": "rsqrt", "sigmoid": "sigmoid",
        "sqrt": "sqrt", "square": "square", "tanh": "tanh",
    }.items()},
    **{f"math.reduce_{op}": (op, _REDUCE) for op in ("max", "mean", "min", "sum")},
    **{f"nn.{op}": (op, _FEATURES) for op in ("relu", "relu6", "silu", "elu", "selu", "softplus")},
    "nn.gelu": ("gelu", {"features": "x", "approximate": "approximate"}),
    "nn.leaky_relu": ("leaky_relu", {"features": "x", "alpha": "negative_slope"}),
    "math.softplus": ("softplus", _FEATURES),
    "nn.sigmoid": ("sigmoid", _UNARY),
    "nn.softmax": ("softmax", {"logits": "x", "axis": "axis"}),
    "nn.tanh": ("tanh", _UNARY),
    "cast": ("cast", {"x": "x", "dtype": "dtype"}),
    "clip_by_value": ("clip", {"t": "x", "clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "concat": ("concatenate", {"values": "xs", "axis": "axis"}),
    "expand_dims": ("expand_dims", {"input": "x", "axis": "axis"}),
    "linalg.matmul": ("matmul", {"a": "x1", "b": "x2"}),
    "reshape": ("reshape", {"tensor": "x", "shape": "newshape"}),
    # tf_keras writes tf.squeeze and tf.transpose under the names that they had in TensorFlow 1.
    "compat.v1.squeeze": ("squeeze", {"input": "x", "axis": "axis"}),
    "compat.v1.transpose": ("transpose", {"a": "x", "perm": "axes"}),
    "squeeze": ("squeeze", {"input": "x", "axis": "axis"}),
    "stack": ("stack", {"values": "x", "axis": "axis"}),
    "transpose": ("transpose", {"a": "x", "perm": "axes"}),
    "__operators__.getitem": ("getitem", {"tensor": "x", "slice_spec": "key"}),
}  # fmt: skip
TOLERANCE = 1e-5
# Settings that Keras 3 lacks, which change nothing in inference while they have one of these values; () is any value.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,), "implementation": (0, 1, 2), "fused": (True,), "input_dim": (), "input_length": (),
    "query_shape": (), "key_shape": (), "value_shape": (), "batch_input_shape": (), "build_config": (),
}  # fmt: skip
_SAMPLES = 3
_OPEN_DIMENSION = 16


def carry_over(old: Any) -> "tuple[keras.Model, tuple[str, ...]]":
    """Return a Keras 3 model that computes what a Keras 2 model does, and notes of what was changed.

    Args:
        old: a functional or Sequential ``tf_keras`` model.

    Raises:
        InputError: it holds what Keras 3 cannot compute, or the outputs differ by more than ``TOLERANCE``.
    """
    import keras

    carrier = _Carrier()
    new = carrier.model(old)
    carrier.weights()
    difference = _largest_difference(old, new)
    if not difference <= TOLERANCE:
        raise InputError(
            f"Expected the model carried over to Keras {keras.__version__} to give the outputs of the Keras 2 model to "
            f"{TOLERANCE:g}. Got: a difference of {difference:.3g} of the largest output on random inputs."
        )
    return new, (
        f"carried over from Keras 2 to Keras {keras.__version__}; largest difference on random inputs {difference:.1g}",
        *carrier.all_notes(),
    )


class _Carrier:
    """Makes the Keras 3 layers of a Keras 2 model, each once however often it is shared."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._slashed: list[str] = []
        self._layers: dict[int, Any] = {}
        self._uses: dict[str, int] = {}
        self._pairs: list[tuple[Any, Any]] = []

    def model(self, old: Any) -> "keras.Model":
        """Replay the graph of a functional or Sequential model, nested ones included."""
        import keras
        import tensorflow as tf

        if not getattr(old, "_is_graph_network", False):
            raise InputError(
                f"Expected a functional or Sequential Keras 2 model with known inputs. Got: {old.name!r} of class "
                f"{type(old).__name__}, whose graph of layers cannot be seen. Export it with tf.saved_model.save to "
                "use it as a plain graph."
            )
        tensors: dict[int, Any] = {}
        inputs = []
        for tensor in old.inputs:
            name = tensor._keras_history.layer.name
            made = keras.Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype.name, name=self._name(name))
            tensors[id(tensor)] = made
            inputs.append(made)

        def replaced(leaf: Any) -> Any:
            return tensors[id(leaf)] if hasattr(leaf, "_keras_history") else leaf

        for depth in sorted(old._nodes_by_depth, reverse=True):
            for node in old._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                # What is a list or a dictionary in the call stays one; shapes are data.
                arguments, named = tf.nest.map_structure(replaced, (node.call_args, node.call_kwargs))
                outputs = self._call(node.layer, arguments, named)
                for tensor, output in zip(tf.nest.flatten(node.outputs), keras.tree.flatten(outputs), strict=True):
                    tensors[id(tensor)] = output
        structured_in = inputs if len(inputs) > 1 else inputs[0]
        outputs = [tensors[id(tensor)] for tensor in old.outputs]
        return keras.Model(structured_in, outputs if len(outputs) > 1 else outputs[0], name=self._name(old.name))

    def all_notes(self) -> list[str]:
        """Return what was changed."""
        if not self._slashed:
            return self.notes
        first = self._slashed[0]
        return [*self.notes, f"{len(self._slashed)} names with a slash got an underscore, such as {first!r}"]

    def weights(self) -> None:
        """Give each Keras 3 layer the weights of its Keras 2 layer, shapes checked."""
        for old, new in self._pairs:
            shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (old, new)]
            if shapes[0] != shapes[1]:
                raise InputError(
                    f"Expected layer {old.name!r} of class {type(old).__name__} to have weights of the shapes "
                    f"{shapes[1]}, as in Keras 3. Got: {shapes[0]}."
                )
            for source, target in zip(old.weights, new.weights, strict=True):
                target.assign(source.numpy())
            if hasattr(new, "finalize_state"):
                new.finalize_state()

    def _call(self, old: Any, arguments: Any, named: dict[str, Any]) -> Any:
        kind = type(old).__name__
        if kind in ("TFOpLambda", "SlicingOpLambda"):
            return self._named(_operation(old, arguments, named), old.name)
        layer = self._layers.get(id(old))
        if layer is None:
            layer = self._layers[id(old)] = self._layer(old)
        # A training argument of None and the masks are decided anew by Keras 3.
        named = {name: value for name, value in named.items() if value is not None and name != "mask"}
        return layer(*arguments, **named)

    def _named(self, output: Any, name: str) -> Any:
        """Give an operation the name that it had, which no layer of its model has."""
        self._uses[name] = self._uses.get(name, 0) + 1
        uses = self._uses[name]
        output._keras_history.operation.name = self._name(name if uses == 1 else f"{name}_use_{uses}")
        return output

    def _layer(self, old: Any) -> Any:
        import keras

        kind = type(old).__name__
        if hasattr(old, "_nodes_by_depth") or kind in ("Functional", "Sequential"):
            return self.model(old)
        if kind == "Lambda":
            made = keras.layers.Lambda(old.function, arguments=dict(old.arguments), name=self._name(old.name))
            self._pairs.append((old, made))
            return made
        config = dict(old.get_config())
        if kind == "ThresholdedReLU":
            kind, config["threshold"] = "ReLU", float(config.pop("theta"))
        kind_of_layer = getattr(keras.layers, kind, None)
        if kind_of_layer is None or not type(old).__module__.startswith("tf_keras."):
            raise InputError(
                f"Expected layers that Keras {keras.__version__} has too. Got: layer {old.name!r} of class {kind}, "
                "which cannot be carried over from Keras 2. Save the model with Keras 3."
            )
        made = kind_of_layer.from_config(self._config(kind_of_layer, config, old.name))
        self._pairs.append((old, made))
        return made

    def _config(self, kind: type, config: dict[str, Any], layer: str) -> dict[str, Any]:
        """Return a layer's config in the terms of Keras 3; settings that it lacks are left out and noted."""
        import keras

        known = _accepted(kind)
        patched = {}
        for key, value in config.items():
            if key == "alpha" and kind is keras.layers.LeakyReLU:
                key = "negative_slope"
            if key not in known:
                if not _is_neutral(key, value):
                    self.notes.append(f"layer {layer!r} of class {kind.__name__}: left out {key}={value!r}")
                continue
            if key == "name":
                value = self._name(value)
            elif key == "dtype" and isinstance(value, dict):
                value = value["config"]["name"]
            elif key == "axis" and kind is keras.layers.BatchNormalization and isinstance(value, list | tuple):
                (value,) = value
            elif isinstance(value, dict) and hasattr(keras.layers, str(value.get("class_name"))):
                inner = getattr(keras.layers, value["class_name"])
                value = {
                    "module": "keras.layers",
                    "class_name": value["class_name"],
                    "config": self._config(inner, dict(value["config"]), layer),
                    "registered_name": None,
                }
            patched[key] = value
        return patched

    def _name(self, name: str) -> str:
        """Keras 3 takes no slash in a name."""
        if "/" in name and name not in self._slashed:
            self._slashed.append(name)
        return name.replace("/", "_")


def _accepted(kind: type) -> set[str]:
    names = {"name", "dtype", "trainable", "autocast", "activity_regularizer"}
    for base in kind.__mro__:
        if "__init__" in vars(base):
            names |= set(inspect.signature(vars(base)["__init__"]).parameters)
    return names - {"self", "args", "kwargs"}


def _is_neutral(key: str, value: Any) -> bool:
    if value is None or value is False or key.endswith(("_initializer", "_regularizer", "_constraint")):
        return True
    return key in _NEUTRAL and (not _NEUTRAL[key] or value in _NEUTRAL[key])


def _operation(old: Any, arguments: Any, named: dict[str, Any]) -> Any:
    import keras
    import tensorflow as tf

    symbol = old.symbol
    operation, names = OPERATIONS.get(symbol, ("", {}))
    given = {**dict(zip(names, arguments, strict=False)), **named}
    given = {name: value for name, value in given.items() if value is not None and name != "name"}
    surplus = {name: value for name, value in given.items() if name not in names and value is not False}
    # What follows in a call by position is TensorFlow's name for the result, or a setting that is off.
    rest = [value for value in arguments[len(names) :] if value is not None and value is not False]
    surplus |= {str(value): value for value in rest if not isinstance(value, str)}
    if not operation or surplus:
        raise InputError(
            f"Expected an operation that can be carried over to Keras 3. Got: tf.{symbol} in layer {old.name!r} "
            f"with {surplus or 'its arguments'}."
        )
    values = {names[name]: value for name, value in given.items() if name in names}
    if operation == "getitem":
        return values["x"][_key(values["key"])]
    plain = {name: value.numpy() if tf.is_tensor(value) else value for name, value in values.items()}
    if operation == "cast":
        plain["dtype"] = tf.as_dtype(plain["dtype"]).name
    if operation == "reshape":
        plain["newshape"] = tuple(int(size) for size in plain["newshape"])
    return getattr(keras.ops, operation)(**plain)


def _key(key: Any) -> Any:
    if isinstance(key, list | tuple):
        return tuple(_key(part) for part in key)
    return slice(key["start"], key["stop"], key["step"]) if isinstance(key, dict) else key


def _largest_difference(old: Any, new: "keras.Model") -> float:
    """Return the largest difference of the outputs on random inputs, as a share of the largest output above 1."""
    import keras

    samples = dict(zip((tensor.name for tensor in new.inputs), random_inputs(new), strict=True))
    outputs = keras.tree.flatten(new(list(samples.values()) if len(samples) > 1 else next(iter(samples.values()))))
    by_name = {
        tensor._keras_history.layer.name: samples[tensor._keras_history.layer.name.replace("/", "_")]
        for tensor in old.inputs
    }
    structured: Any = [by_name[tensor._keras_history.layer.name] for tensor in old.inputs]
    if isinstance(old.input, dict):
        structured = {name: by_name[tensor._keras_history.layer.name] for name, tensor in old.input.items()}
    elif len(structured) == 1:
        (structured,) = structured
    expected = keras.tree.flatten(old(structured, training=False))
    largest = 0.0
    for want, got in zip(map(np.asarray, expected), map(np.asarray, outputs), strict=True):
        if want.shape != got.shape:
            return float("inf")
        scale = max(1.0, float(np.max(np.abs(want), initial=0)))
        largest = max(largest, float(np.max(np.abs(want.astype("float64") - got), initial=0)) / scale)
        if not (np.isfinite(want).all() and np.isfinite(got).all()):
            return float("inf")
    return largest


def random_inputs(model: "keras.Model") -> list[np.ndarray]:
    """Return a few random samples for each input: uniform in [-1, 1), and indices that every Embedding knows."""
    random = np.random.default_rng(0)
    indices = min((layer.input_dim for layer in _layers(model) if hasattr(layer, "embeddings")), default=2)
    arrays = []
    for tensor in model.inputs:
        batch, *rest = tensor.shape
        shape = (batch or _SAMPLES, *(size or _OPEN_DIMENSION for size in rest))
        dtype = str(tensor.dtype)
        if "float" in dtype:
            arrays.append(random.uniform(-1, 1, shape).astype(dtype))
        elif "int" in dtype or dtype == "bool":
            arrays.append(random.integers(0, max(1, min(indices, 2 if dtype == "bool" else 128)), shape).astype(dtype))
        else:
            raise InputError(f"Expected inputs of numbers. Got: input {tensor.name!r} of {dtype}.")
    return arrays


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)
