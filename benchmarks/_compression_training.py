"""Sections of the compression benchmark that train: pruning beside TF-MOT's, what QAT recovers, what a step costs."""

import json
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from _compression_cells import (
    CHILD,
    TWIN,
    empty,
    keras_metric,
    once,
    own_code,
    reason_of,
    recipe_cell,
    training_child,
)
from _compression_judged import Options
from _compression_prepared import Prepared
from _compression_tables import Row, aligned, ranged, rows_of, spread
from _compression_twin import job_of

SPARSITY = 0.9
# Where int8 after training loses less than that, there is nothing for QAT to recover.
WORTH_RECOVERING = 0.3
MOST_COST = 1.5
# Of the cost section: short epochs, the first of which hold the tracing; each kind in turn, this many times.
_EPOCHS, _STEPS, _LEFT_OUT, _ROUNDS = 8, 40, 2, 3

Section = tuple[str, list[dict[str, Any]]]


def pruning(prepared: Prepared, seeds: int, options: Options) -> Section:
    """Return TF-MOT's pruning and ours to 90 % as text and as data: same weights, batches, epochs and learning rates.

    Each is given the budget's learning rate, half and twice it, and is taken at its best.
    """
    subject = prepared.subject
    if not subject.twin:
        return f"{subject.name}: TF-MOT takes no such layers, so that its pruning has nothing to be compared on", []
    found = []
    for scale in (1.0, 0.5, 2.0):
        for peer in ("TF-MOT", "edgewright"):
            for seed in range(seeds):
                made = _pruned(prepared, peer, scale * subject.budget.learning_rate, seed, options)
                found += [made] if made else []
    unit = prepared.facts["metric"]["unit"]
    lines = [["pruning to 90 %", "learning rate", "metric", "zeros", "seconds", "what failed"]]
    best: dict[str, tuple[float, ...]] = {}
    for peer, rate in dict.fromkeys((each["peer"], each["rate"]) for each in found):
        mine = [each for each in found if (each["peer"], each["rate"]) == (peer, rate)]
        right = [each for each in mine if not each["failed"]]
        metrics = tuple(each["metric"] for each in right)
        failed = next((each["failed"] for each in mine if each["failed"]), "")
        zeros = spread([100 * each["zeros"] for each in right], ".1f")
        seconds = f"{statistics.mean(each['wall_s'] for each in mine):.0f}"
        lines.append([peer, f"{rate:g}", f"{spread(metrics)} {unit}", f"{zeros} %", seconds, failed[:150]])
        if metrics and (peer not in best or _better(prepared, metrics, best[peer])):
            best[peer] = metrics
    text = f"{subject.budget.epochs} epochs each; {prepared.facts['reference']:.2f} {unit} before\n{aligned(lines)}"
    if len(best) == 2:
        ours, theirs = best["edgewright"], best["TF-MOT"]
        text += f"\neach at its best rate: edgewright {spread(ours)}, TF-MOT {spread(theirs)}: "
        text += _verdict(prepared, ours, theirs)
    return text, found


def _verdict(prepared: Prepared, ours: tuple[float, ...], theirs: tuple[float, ...]) -> str:
    """Return whether ours are worse than theirs, and by more than the seeds' spread explains."""
    if not _better(prepared, theirs, ours):
        return "not worse"
    if min(len(ours), len(theirs)) < 2:
        return "lower, by one seed"
    error = (statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs)) ** 0.5
    difference = abs(statistics.mean(ours) - statistics.mean(theirs))
    noise = "" if difference > 2 * error else ", which is noise"
    return f"lower by {difference:.2f} ± {error:.2f} (standard error){noise}"


def _better(prepared: Prepared, one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    difference = statistics.mean(one) - statistics.mean(other)
    return difference > 0 if prepared.facts["metric"]["better"] == "higher" else difference < 0


def _pruned(prepared: Prepared, peer: str, rate: float, seed: int, options: Options) -> Any:
    subject, budget = prepared.subject, prepared.subject.budget
    name = f"pruned {peer} {rate:g} seed {seed}"
    step = {"technique": "magnitude_pruning", "sparsity": SPARSITY, "scope": subject.scope, "schedule": "cubic"}
    step |= {"epochs": budget.epochs, "ramp": budget.ramp, "batch_size": budget.batch_size, "learning_rate": rate}

    def make() -> dict[str, Any]:
        folder = empty(options.out / subject.name / "files" / name)
        if peer == "TF-MOT":
            job = job_of(prepared, f"pruning {100 * SPARSITY:g} %", seed, folder)
            job["budget"]["learning_rate"] = rate
            child = training_child(TWIN, folder, job, options, legacy=True)
        else:
            job = {"kind": "pruned", **_from_recipe(prepared, folder, step, options), "seed": seed}
            child = training_child(CHILD, folder, job, options)
        made = {"peer": peer, "rate": rate, "seed": seed, "wall_s": child.wall_s, "failed": ""}
        if not child.ok:
            return {**made, "failed": reason_of(child)}
        facts = json.loads((folder / "made.json").read_text(encoding="utf-8"))
        return {**made, "metric": float(keras_metric(prepared, folder)), "zeros": facts["zeros"]}

    code = TWIN.read_text(encoding="utf-8") if peer == "TF-MOT" else own_code()
    return once(_cell(prepared, name, options), [subject.sha256, step, seed, code], make, options)


def qat(prepared: Prepared, seeds: int, options: Options) -> Section:
    """Return what int8 after training loses, and what quantization-aware training loses, as text and as data."""
    budget = prepared.subject.budget
    step = {"technique": "quantization_aware_training", "epochs": budget.qat_epochs}
    step |= {"learning_rate": budget.qat_learning_rate, "batch_size": budget.batch_size}
    recipe = _recipe(options.out / prepared.subject.name / "qat.toml", step)
    before = recipe_cell(prepared, "int8", 0, options)
    after = [each for seed in range(seeds) for each in recipe_cell(prepared, str(recipe), seed, options)]
    lines = [["int8", "lost after training", "lost with QAT", "recovered", "what failed"]]
    trained = {(row.format, row.runtime): row for row in rows_of(after)}
    failed = next((row.failed for row in trained.values() if row.failed), "")
    for row in rows_of(before):
        found = trained.get((row.format, row.runtime), Row("edgewright", "qat", row.format, failed=failed))
        lines.append(
            [
                row.runtime or row.format,
                spread(row.lost, "+.2f"),
                spread(found.lost, "+.2f"),
                _recovered(row, found),
                (row.failed or found.failed)[:150],
            ]
        )
    return aligned(lines), before + after


def _recovered(before: Row, after: Row) -> str:
    if not before.lost or not after.lost:
        return "-"
    lost = statistics.mean(before.lost)
    if lost <= WORTH_RECOVERING:
        return f"(nothing: at most {WORTH_RECOVERING} lost)"
    share = (lost - statistics.mean(after.lost)) / lost
    return f"{100 * share:.0f} %{'' if share >= 0.5 else ', less than half'}"


def cost(prepared: Prepared, seeds: int, options: Options) -> Section:
    """Return what a training step takes, plain, pruning and with QAT, as text and as data."""
    kinds = [("edgewright", kind) for kind in ("plain", "magnitude_pruning", "quantization_aware_training")]
    if prepared.subject.twin:
        kinds += [("TF-MOT", "plain"), ("TF-MOT", "pruning"), ("TF-MOT", "QAT")]
    name = "cost"

    def make() -> list[dict[str, Any]]:
        return [_timed(prepared, peer, kind, turn, options) for turn in range(_ROUNDS) for peer, kind in kinds]

    key = [
        prepared.subject.sha256,
        own_code(),
        TWIN.read_text(encoding="utf-8"),
        kinds,
        "fastest",
        _EPOCHS,
        _STEPS,
        _ROUNDS,
    ]
    found = once(_cell(prepared, name, options), key, make, options) or []
    plain = {(each["peer"], each["round"]): each for each in found if each["kind"] == "plain"}
    lines = [["training step", "", "ms", "times a plain one", "what failed"]]
    for peer, kind in kinds:
        mine = [each for each in found if (each["peer"], each["kind"]) == (peer, kind)]
        right = [each for each in mine if not each["failed"]]
        ratios = [
            each["step_ms"] / plain[peer, each["round"]]["step_ms"]
            for each in right
            if not plain[peer, each["round"]]["failed"]
        ]
        failed = next((each["failed"] for each in mine if each["failed"]), "")
        too_much = peer == "edgewright" and ratios and statistics.median(ratios) > MOST_COST
        told = f"{ranged(ratios)}{f', more than {MOST_COST:g}' if too_much else ''}"
        lines.append([peer, kind, ranged([each["step_ms"] for each in right]), told, failed[:150]])
    return aligned(lines), found


def _timed(prepared: Prepared, peer: str, kind: str, turn: int, options: Options) -> dict[str, Any]:
    """Return the ms of a step in the fastest epoch: what else the host does only ever adds."""
    budget = prepared.subject.budget
    folder = empty(options.out / prepared.subject.name / "files" / f"cost {peer} {kind}")
    training = {"epochs": _EPOCHS, "batch_size": budget.batch_size, "learning_rate": 1e-4}
    training |= {"samples_per_epoch": _STEPS * budget.batch_size}
    if peer == "TF-MOT":
        job = job_of(prepared, f"cost {kind}", 0, folder)
        job["budget"] |= training
        child = training_child(TWIN, folder, job, options, legacy=True)
    else:
        (folder / "schedule.json").write_text(json.dumps(training), encoding="utf-8")
        step = {"technique": kind, **({"sparsity": 0.8} if kind == "magnitude_pruning" else {}), **training}
        job = {"kind": "cost", **_from_recipe(prepared, folder, step, options)}
        job |= {"recipe": ""} if kind == "plain" else {}
        child = training_child(CHILD, folder, job, options)
    made = {"peer": peer, "kind": kind, "round": turn, "failed": "" if child.ok else reason_of(child)}
    if child.ok:
        ends = json.loads((folder / "made.json").read_text(encoding="utf-8"))["ends"]
        samples = min(training["samples_per_epoch"], len(prepared.subject.experiment.task().train))
        steps = -(-samples // budget.batch_size)
        epochs = [after - before for before, after in pairwise(ends[_LEFT_OUT - 1 :])]
        made["step_ms"] = 1e3 * min(epochs) / steps
    return made


def _cell(prepared: Prepared, name: str, options: Options) -> Path:
    return options.out / prepared.subject.name / "cells" / f"{name}.json"


def _from_recipe(prepared: Prepared, folder: Path, step: dict[str, Any], options: Options) -> dict[str, Any]:
    recipe = _recipe(folder / "recipe.toml", step)
    return {"subject": prepared.subject.name, "out": str(options.out), "recipe": str(recipe), "folder": str(folder)}


def _recipe(path: Path, step: dict[str, Any]) -> Path:
    """Write a recipe of one step."""
    lines = ["[[steps]]", *(f"{key} = {json.dumps(value)}" for key, value in step.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
