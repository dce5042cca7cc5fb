"""Compression side by side: edgewright and its peers on identical models, in one run.

    python benchmarks/compression.py                                     # every subject, after-training section; hours
    python benchmarks/compression.py --model sparse --model convolutional
    python benchmarks/compression.py --model lstm --section pruning --section qat --section cost
    python benchmarks/compression.py --model sparse --recipe int8 --recipe mine.toml
    python benchmarks/compression.py --model mobilenet_v2 --recipe benchmarks/recipes/blocks-macs25-dynamic-int8.toml
    python benchmarks/compression.py --model nerf --recipe int8 --section emulated       # instructions on Pi 4 and Pi 5
    python benchmarks/compression.py --kept                              # computes nothing: prints what was computed

Every peer starts from the same trained model, is calibrated on the same 256 samples, runs in a child process with
limits, and is judged on the task's test samples; what dies is a row. Sizes are of the files. Latency is of this host on
one thread, told as the ratio to the float export in the same runtime: the two are timed in turn, each time in a fresh
process. It is of whole answers, host code included, which no compression changes; the graphs alone are timed beside it.
Start it on a core of its own (taskset -c 0); the load average is printed. Everything computed is kept below --out and
not computed again while the model, the peer and the versions are the same.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from _compression_cells import float_cell, peer_cell, recipe_cell, twin_cell
from _compression_emulated import emulated
from _compression_judged import Options, Result
from _compression_peers import POINTS
from _compression_prepared import Prepared, kept, prepare
from _compression_subjects import known, subject_of
from _compression_tables import OURS, rows_of, summary, table
from _compression_training import cost, pruning, qat
from _compression_twin import POINTS as TWIN_POINTS

from edgewright.cli import _import_tensorflow
from edgewright.errors import EdgewrightError, MissingRequirement
from edgewright.files import write_json
from edgewright.runtimes._place import HERE

# What edgewright does to each subject unless --recipe says otherwise: a name of a shipped recipe each.
RECIPES = {
    "sparse": ("int8", "dynamic-int8", "tenth-int8", "tenth-dynamic-int8", "sparse-90-int8", "block-sparse-90"),
    "convolutional": ("int8", "dynamic-int8", "int4-weights", "tenth-int8", "tenth-dynamic-int8"),
    "mobilenet_v2": ("int8", "int8-rounded", "dynamic-int8", "int4-weights"),
    "lstm": ("int8", "dynamic-int8", "int4-weights", "tenth-dynamic-int8"),
    "liquid": ("int8", "dynamic-int8", "int4-weights", "half-int8", "tenth-int8"),
    "graph": ("int8", "dynamic-int8", "int4-weights", "half-int8"),
    "multimodal": ("int8", "dynamic-int8", "int4-weights", "half-int8"),
    "nerf": ("int8", "dynamic-int8", "int4-weights", "half-int8"),
    "program_synthesis": ("int8", "dynamic-int8", "int4-weights", "tenth-dynamic-int8"),
}
RUNTIMES = ("litert", "onnxruntime", "openvino")
_FORMATS = {"litert": "tflite", "tflite_runtime": "tflite", "litert_kernels": "tflite"}
_FORMATS |= {"onnxruntime": "onnx", "openvino": "openvino"}
SECTIONS = ("ptq", "pruning", "qat", "cost", "emulated")


def main() -> None:
    """Compute what is missing and print the tables."""
    arguments = _arguments()
    options = Options(
        out=arguments.out,
        runtimes={
            format: tuple(name for name in arguments.runtime or RUNTIMES if _FORMATS[name] == format)
            for format in ("tflite", "onnx", "openvino")
        },
        pairs=arguments.pairs,
        time_limit_s=arguments.time_limit_s,
        recipe_time_limit_s=arguments.recipe_time_limit_s,
        fresh=arguments.fresh,
        retry=arguments.retry,
        retime=arguments.retime,
        quiet_s=arguments.quiet_s,
        kept=arguments.kept,
    )
    if not options.kept:
        _import_tensorflow()
    conditions = HERE.conditions()
    if not options.kept:
        print(f"{conditions['cpu']}, {conditions['cores_allowed']} of {conditions['cores']} cores", flush=True)
        print(f"load average {os.getloadavg()[0]:.2f} at the start", flush=True)
    document = {"host": conditions, "subjects": {}}
    for name in arguments.model or known():
        prepared = _prepared(name, options)
        if prepared is None:
            continue
        facts, kind = prepared.facts, prepared.facts["metric"]
        parameters = sum(each["parameters"] for each in facts["graphs"].values())
        print(
            f"\n{name}: {prepared.subject.experiment.title}; {len(facts['graphs'])} graphs, {parameters:,} parameters; "
            f"{kind['name']} {facts['reference']:.4g} {kind['unit']} in Keras on {facts['samples']} test samples",
            flush=True,
        )
        found = document["subjects"][name] = {}
        recipes = tuple(arguments.recipe or RECIPES.get(name, ("int8",)))
        for section in arguments.section or SECTIONS[:1]:
            if section == "ptq":
                found["ptq"] = _after_training(prepared, arguments.peer, recipes, arguments.seeds, options)
            elif section == "emulated":
                cells = _cells(prepared, arguments.peer or [OURS], recipes, arguments.seeds, options)
                text, found[section] = emulated(prepared, chain.from_iterable(cells), options)
                print(f"\n{text}", flush=True)
            else:
                text, found[section] = {"pruning": pruning, "qat": qat, "cost": cost}[section](
                    prepared, arguments.seeds, options
                )
                print(f"\n{text}", flush=True)
    if not options.kept:
        print(f"\nload average {os.getloadavg()[0]:.2f} at the end")
    if arguments.json:
        write_json(arguments.json, document)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"one of {', '.join(known())}, or ARCHITECTURE/EXPERIMENT")
    parser.add_argument("--section", action="append", choices=SECTIONS)
    parser.add_argument("--peer", action="append", help="only these: such as NNCF, TF-MOT, edgewright; all when none")
    parser.add_argument("--recipe", action="append", help="of edgewright: a shipped recipe's name or a TOML file")
    parser.add_argument("--seeds", type=int, default=3, help="of everything that trains")
    parser.add_argument("--runtime", action="append", choices=sorted(_FORMATS))
    parser.add_argument("--pairs", type=int, default=3, help="how often float export and result are timed in turn")
    parser.add_argument("--time-limit-s", type=float, default=600.0, help="of a peer")
    parser.add_argument("--recipe-time-limit-s", type=float, default=3000.0, help="of what trains")
    parser.add_argument("--out", type=Path, default=Path("build/compression"))
    parser.add_argument("--fresh", action="store_true", help="compute everything again")
    parser.add_argument("--retry", action="store_true", help="compute again what failed")
    parser.add_argument("--retime", action="store_true", help="time anew what was computed before")
    parser.add_argument("--quiet-s", type=float, default=5.0, help="how long to wait for a quiet host before timing")
    parser.add_argument("--kept", action="store_true", help="compute nothing: print what lies in --out")
    parser.add_argument("--json", type=Path, help="write every result there, raw")
    return parser.parse_args()


def _prepared(name: str, options: Options) -> Prepared | None:
    try:
        if options.kept:
            return kept(subject_of(name, options.out), options.out)
        print(f"{name}: making ready", file=sys.stderr, flush=True)
        return prepare(subject_of(name, options.out), options.out)
    except (EdgewrightError, OSError, ImportError, RuntimeError, ValueError) as error:
        print(f"\n{name}: left out: {error}")
        return None


def _after_training(
    prepared: Prepared, peers: list[str] | None, recipes: tuple[str, ...], seeds: int, options: Options
) -> list[Result]:
    """Print the subject's table and its summary."""
    results = [result for cell in _cells(prepared, peers, recipes, seeds, options) for result in cell]
    unit = prepared.facts["metric"]["unit"]
    rows = rows_of(results, unit)
    loads = [load for each in results for run in each["runs"] for load in run.get("load", ())]
    print(f"\n{table(rows, unit)}\n")
    print(f"at no more than 1 point (1 % of a metric that is no share, dB included) lost:\n{summary(rows)}")
    if loads:
        print(f"load average while timing: {min(loads):.2f} to {max(loads):.2f}; ~: the host was busy", flush=True)
    return results


def _cells(
    prepared: Prepared, peers: list[str] | None, recipes: tuple[str, ...], seeds: int, options: Options
) -> Iterator[list[Result]]:
    def asked(peer: str) -> bool:
        return not peers or peer in peers

    for format in ("tflite", "onnx", "openvino"):
        yield float_cell(prepared, format, options)
    for point in POINTS:
        if asked(point.peer):
            yield peer_cell(prepared, point, options)
    if prepared.subject.twin and asked("TF-MOT"):
        for name in TWIN_POINTS:
            for seed in range(seeds):
                yield twin_cell(prepared, name, seed, options)
    for recipe in recipes if asked(OURS) else ():
        for seed in range(seeds if trains(recipe) else 1):
            yield recipe_cell(prepared, recipe, seed, options)


def trains(recipe: str) -> bool:
    """Tell whether a recipe trains, so that its seed matters; one that cannot be read does not."""
    from edgewright.compress import load_recipe
    from edgewright.errors import InputError

    try:
        steps = load_recipe(recipe).steps
    except InputError:
        return False
    return any(getattr(step.parameters, "epochs", 0) for step in steps)


if __name__ == "__main__":
    try:
        main()
    except MissingRequirement as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
