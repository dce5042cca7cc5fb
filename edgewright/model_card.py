"""What a bundle tells of its model: the facts for the formats' own fields, and the model card for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Reference
from .compress import Recipe
from .export import About, Frozen
from .export._about import check_about

CARD = "README.md"
# Of a sample's inputs so many are looked at for their range; of a graph's, the representative dataset.
_LOOKED_AT = 256


def about_model(
    about: About,
    recipe: Recipe,
    frozen: Mapping[str, Frozen],
    reference: Reference,
    calibration: Mapping[str, Path],
) -> About:
    """Return what the user told of a model with what is known of it: its recipe, and the ranges of its inputs.

    Raises:
        InputError: the user told of an input or output that the model does not have.
    """
    samples = dict(reference.data.take(_LOOKED_AT).inputs)
    check_about(
        about,
        inputs=[*samples, *(tensor.name for graph in frozen.values() for tensor in graph.inputs)],
        outputs=[*reference.compressed, *(tensor.name for graph in frozen.values() for tensor in graph.outputs)],
    )
    ranges: dict[str, tuple[float, float]] = {}
    _widen(ranges, samples)
    for path in calibration.values():
        with np.load(path, allow_pickle=False) as arrays:
            _widen(ranges, dict(arrays))
    return replace(about, ranges=ranges, recipe=recipe.sha256)


def _widen(ranges: dict[str, tuple[float, float]], arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.size and array.dtype.kind in "fiu":
            bounds = float(array.min()), float(array.max())
            low, high = ranges.get(name, bounds)
            if np.isfinite(bounds).all():
                ranges[name] = min(low, bounds[0]), max(high, bounds[1])


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the model card of a bundle, Markdown with the front matter that model hubs read; the manifest has it all.

    Its parts are those of Mitchell et al., Model Cards for Model Reporting (2019, arXiv 1810.03993), as far as a tool
    can know them: details, intended inputs and outputs, the metric and what it was measured on, and caveats.
    """
    lines = [*_front_matter(manifest), f"# {manifest['model']}", ""]
    lines += [*_details(manifest), "", *_tensors(manifest), "", *_artifacts(manifest), "", *_measured(manifest)]
    lines += ["", *_made(manifest), *_caveats(manifest)]
    return "\n".join(lines) + "\n"


def _front_matter(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    if licence := manifest["about"]["licence"]:
        yield f"license: {_quoted(licence)}"
    yield f"tags: [{', '.join(sorted({entry['format'] for entry in manifest['artifacts']}))}]"
    if metric := manifest["evidence"]["metric"]:
        yield f"metrics: [{_quoted(metric['name'])}]"
    yield "---"
    yield ""


def _quoted(text: str) -> str:
    """Return a text as YAML takes it whatever it holds."""
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"


def _details(manifest: Mapping[str, Any]) -> Iterator[str]:
    about = manifest["about"]
    if about["description"]:
        yield about["description"]
        yield ""
    yield f"- Version: {about['version'] or 'not stated'}"
    yield f"- Author: {about['author'] or 'not stated'}"
    yield f"- Licence: {about['licence'] or 'not stated'}"
    recipe = manifest["recipe"]
    steps = ", ".join(step["technique"] for step in recipe["steps"])
    yield f"- Recipe: {recipe['name']} ({steps or 'nothing done'}), SHA-256 {recipe['sha256']}, seed {manifest['seed']}"
    deployment = manifest["deployment"]
    if deployment["host"]:
        yield f"- Graphs: {', '.join(deployment['graphs'])}; host.py runs them as one, from a sample to its answer"


def _tensors(manifest: Mapping[str, Any]) -> list[str]:
    """Return the signature of each graph, as the first artifact of it that has float tensors states it."""
    about = manifest["about"]
    rows = [("graph", "tensor", "shape", "what it holds", "range in the samples")]
    for graph in manifest["deployment"]["graphs"]:
        entries = [entry for entry in manifest["artifacts"] if entry["graph"] == graph]
        entries.sort(key=lambda entry: any(tensor["scale"] for tensor in entry["inputs"]))
        for kind in ("inputs", "outputs"):
            for tensor in entries[0][kind]:
                low_high = about["ranges"].get(tensor["name"]) if kind == "inputs" else None
                rows.append(
                    (
                        graph,
                        f"{kind[:-1]} `{tensor['name']}`",
                        f"{' x '.join(str(size) for size in tensor['shape'])} {tensor['dtype']}",
                        about[kind].get(tensor["name"], ""),
                        f"{low_high[0]:.4g} to {low_high[1]:.4g}" if low_high else "",
                    )
                )
    return ["## Inputs and outputs", "", *_table(rows)]


def _artifacts(manifest: Mapping[str, Any]) -> list[str]:
    rows = [("file", "bytes", "after gzip", "integer inputs and outputs: real = scale * (stored - zero point)")]
    for entry in manifest["artifacts"]:
        scales = [
            f"`{tensor['name']}` {tensor['dtype']}, scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"
            for tensor in (*entry["inputs"], *entry["outputs"])
            if tensor["scale"] is not None
        ]
        rows.append((entry["path"], f"{entry['size_bytes']:,}", f"{entry['gzip_bytes']:,}", "; ".join(scales)))
    return ["## Files", "", *_table(rows, right=(1, 2))]


def _measured(manifest: Mapping[str, Any]) -> list[str]:
    evidence = manifest["evidence"]
    metric = evidence["metric"]
    unit = f" ({metric['unit']})" if metric and metric["unit"] else ""
    title = f"{metric['name']}{unit}" if metric else "metric"
    rows = [("artifact", "runtime", title, "lost", f"agreement with {evidence['reference']} (%)", "samples")]
    for made in evidence["checks"]:
        if made["ok"]:
            rows.append(
                (
                    made["artifact"],
                    f"{made['runtime']} {made['runtime_version'] or ''}".strip(),
                    _number(made["metric"]),
                    _number(made["metric_lost"]),
                    _number(made["agreement_keras_percent"]),
                    str(made["samples"]),
                )
            )
    head = f"Run on this host in each runtime, on {evidence['samples']} samples of {evidence['task']}"
    if evidence["original_metric"] is not None:
        head += (
            f"; {evidence['reference']} reaches {_number(evidence['original_metric'])}{unit}, "
            f"compressed {_number(evidence['compressed_metric'])}"
        )
    return ["## What was measured", "", f"{head}.", "", *_table(rows, right=(2, 3, 4, 5))]


def _made(manifest: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    host = manifest["host"]
    return ["## How it was made", "", f"On {host['machine']}, Python {host['python']}, with {versions}."]


def _caveats(manifest: Mapping[str, Any]) -> list[str]:
    told = [*manifest["notes"], *(f"{name}: not handed over: {why}" for name, why in manifest["failures"].items())]
    return ["", "## Caveats", "", *(f"- {' '.join(each.split())}" for each in told)] if told else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    rule = ["---:" if column in right else "---" for column in range(len(rows[0]))]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (rows[0], rule, *rows[1:])]
