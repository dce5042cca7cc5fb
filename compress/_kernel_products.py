"""The products of a model's kernels with activations: where its graph has them, and what the kernels are multiplied by.

They are found in the operations that TensorFlow creates for a model's layers, whatever the layers are, inside of loops
too. A kernel may be reshaped and transposed on its way to a product; one that is read in any other way is left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ._kernel_trace import Trace
from ._points import caller_of, each_operation
from ._product_layouts import Layout, layout_of
from ._samples import Samples, run_over

if TYPE_CHECKING:
    import keras

# So many elements of Gram matrices are held at a time: 256 MB.
_HELD = 2**26
# And about so many numbers that a kernel is multiplied by, the patches of a convolution's input among them.
_MULTIPLIED = 2**24
# Mean squares below this are rounding: float32 has no seven digits for them.
_NOTHING = 1e-30


@dataclass(frozen=True)
class Products:
    """All products of one kernel.

    Attributes:
        path: of the kernel.
        sites: the names of the operations, in the order of computation; see ``Point.name``.
        layout: how they read the kernel, the same in all.
        in_loop: whether one of them is inside of a loop.
        elements: how many numbers the kernel is multiplied by for one sample, in one of the sites.
    """

    path: str
    sites: tuple[str, ...]
    layout: Layout
    in_loop: bool
    elements: int


def find_products(
    model: "keras.Model", kernels: Sequence["keras.Variable"], trace: Trace | None = None
) -> tuple[list[Products], dict[str, str]]:
    """Return the products of some kernels in the order of computation, and by path why a kernel has none."""
    trace = trace or Trace(model)
    names = {(id(operation.graph), operation.name): name for name, operation in trace.operations.items()}
    order = {name: place for place, name in enumerate(names.values())}
    wanted = {variable.path for variable in kernels}
    found: dict[str, list[tuple[str, Layout, bool, int]]] = {}
    reasons: dict[str, str] = {}
    for operation, place, path, places in trace.readers():
        if path not in wanted or path in reasons:
            continue
        name = names.get((id(operation.graph), operation.name))
        layout: Layout | str = f"is read by {operation.type}, which is no product of a known kind"
        if name and places is not None:
            layout = layout_of(operation, place, places)
        if isinstance(layout, str):
            reasons[path] = layout
        elif path in found and not np.array_equal(found[path][0][1].places, layout.places):
            reasons[path] = "is multiplied along several of its axes"
        else:
            _, inputs, outputs = layout.places.shape
            elements = (operation.outputs[0].shape.num_elements() or 0) // outputs * inputs
            found.setdefault(path, []).append((name or "", layout, _is_in_loop(operation.graph, trace), elements))
    for path in wanted - set(found) - set(reasons):
        reasons[path] = "is in no product with activations in 32 bits: it is changed before, or looked up"
    made = [
        Products(
            path,
            tuple(name for name, *_ in sites),
            sites[0][1],
            any(inside for *_, inside, _ in sites),
            max(elements for *_, elements in sites),
        )
        for path, sites in found.items()
        if path not in reasons
    ]
    return sorted(made, key=lambda product: order[product.sites[0]]), reasons


def _is_in_loop(graph: Any, trace: Trace) -> bool:
    while graph is not trace.graph and (call := caller_of(graph)) is not None:
        graph = call.graph
    return graph is not trace.graph


def in_parts(products: Sequence[Products]) -> Iterable[list[Products]]:
    """Yield the products in runs whose Gram matrices fit into memory together."""
    part: list[Products] = []
    held = 0
    for product in products:
        groups, inputs, _ = product.layout.places.shape
        if part and held + groups * inputs**2 > _HELD:
            yield part
            part, held = [], 0
        part.append(product)
        held += groups * inputs**2
    if part:
        yield part


def gram_matrices(model: "keras.Model", samples: Samples, products: Sequence[Products]) -> dict[str, np.ndarray]:
    """Return the mean of x x' over all that each kernel is multiplied by, ``[groups, inputs, inputs]``, by path.

    Raises:
        InputError: there are no samples; a value is not finite.
    """
    import tensorflow as tf

    held, counts, by_site = {}, {}, {}
    for product in products:
        groups, inputs, _ = product.layout.places.shape
        held[product.path] = tf.Variable(tf.zeros((groups, inputs, inputs)), trainable=False)
        counts[product.path] = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        by_site.update(dict.fromkeys(product.sites, product))

    def seen(name: str, tensor: Any) -> None:
        if name not in by_site:
            return
        product = by_site[name]
        rows = product.layout.rows(tensor.op)
        held[product.path].assign_add(tf.einsum("ngi,ngj->gij", rows, rows))
        counts[product.path].assign_add(tf.cast(tf.shape(rows)[0], tf.float64))

    largest = max((product.elements for product in products), default=1)
    observe(model, lambda: _split(samples(), max(1, _MULTIPLIED // max(largest, 1))), seen)
    grams = {path: gram.numpy().astype(np.float64) / max(float(counts[path]), 1) for path, gram in held.items()}
    for path, gram in grams.items():
        if not np.isfinite(gram).all():
            raise InputError(f"Expected finite activations. Got: NaN or infinity in what {path} is multiplied by.")
        gram[np.einsum("gii->gi", gram).mean(axis=1) < _NOTHING] = 0
    return grams


def _split(batches: Iterable[Mapping[str, np.ndarray]], size: int) -> Iterable[Mapping[str, np.ndarray]]:
    for batch in batches:
        samples = len(next(iter(batch.values())))
        for start in range(0, samples, size):
            yield {name: array[start : start + size] for name, array in batch.items()}


def observe(model: "keras.Model", samples: Samples, seen: Callable[[str, Any], Any]) -> None:
    """Run a model on samples with ``seen`` called at its operations; see ``each_operation``.

    Raises:
        InputError: there are no samples.
    """

    def run(inputs: Any) -> Any:
        with each_operation(model, seen):
            return model(inputs, training=False)

    run_over(model, samples, run)
