"""The command line: a thin shell over the Python API. Nothing heavy is imported before a command runs."""

import atexit
import gc
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_deploying import COMMANDS as DEPLOYING
from .cli_deploying import devices_release, service
from .cli_devices import devices_add, devices_list, devices_remove
from .cli_emulator import emulator
from .cli_measuring import COMMANDS
from .cli_options import (
    INTERRUPTED,
    About,
    Allow,
    Data,
    Devices,
    Formats,
    Json,
    Model,
    Out,
    Quiet,
    Recipe,
    Seed,
    end,
    end_usage,
    written,
)
from .cli_predicting import devices_calibrate, predict
from .cli_probe import devices_probe
from .errors import InputError
from .progress import shown

app = typer.Typer(
    name="edgewright",
    help="Get a trained Keras model onto an edge device and prove that it fits there.",
    epilog="Exit codes: 0 done, 1 a gate failed, 2 usage, 3 environment or missing extra, 4 device or network, "
    "5 inconclusive, 70 a bug of edgewright, 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing what draws boxes around help takes a fifth of its time
)


@app.command()
def compress(
    model: Model,
    out: Out,
    data: Data = None,
    recipe: Recipe = "int8",
    format: Formats = None,
    about: About = None,
    allow: Allow = None,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress MODEL by a recipe, export it to each format, and write a bundle with the evidence."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .compress import load_recipe
        from .export import get

        resolved = load_recipe(recipe)
        for name in format or ():
            get(name)  # raises where there is no such format
        if dry_run:
            return {"recipe": resolved.resolved(), "sha256": resolved.sha256}, 0, resolved.to_toml()
        from .export import load_about
        from .export._bundle import KIND
        from .files import check_output_folder
        from .held import alone

        check_output_folder(out, KIND)
        told = load_about(about) if about else None
        with alone(out):
            _import_tensorflow()
            from . import api
            from .importing import is_imported
            from .progress import part

            with shown(quiet) as on_progress:
                listener = part(on_progress, 0, 0.3)
                compressed = (
                    api.quantize(model, data, resolved, seed=seed, on_progress=listener)
                    if is_imported(model)
                    else api.compress(
                        model,
                        data,
                        resolved,
                        seed=seed,
                        allow=tuple(allow or ()),
                        for_export=True,
                        on_progress=listener,
                    )
                )
                bundle = api.export(
                    compressed, out, format, about=told, work=_work_folder(out), on_progress=part(on_progress, 0.3, 1)
                )
            _remove(_work_folder(out))
        return {"bundle": str(bundle.path), "manifest": bundle.manifest}, 0, _bundle_text(bundle)

    end("compress", json_, work, keeps_stages=True)


@app.command()
def validate(
    bundle: Annotated[Path, typer.Argument(help="A bundle that 'edgewright compress' wrote.")],
    data: Data = None,
    device: Devices = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Instead of the device's default budget.")] = None,
    max_size_bytes: Annotated[int | None, typer.Option(help="Instead of the device's default budget.")] = None,
    max_memory_bytes: Annotated[int | None, typer.Option(help="Peak; the device's own by default.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Points of the metric that may be lost.")] = None,
    measure: Annotated[bool, typer.Option(help="Measure latencies on this host.")] = True,
    emulate: Annotated[
        bool, typer.Option("--emulate", help="Also run the golden inputs on a Raspberry Pi's emulated core.")
    ] = False,
    allow: Allow = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge each artifact of BUNDLE against each device; the exit code is the verdict."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from . import api
        from .report import table

        if data is not None:
            _import_tensorflow()

        with shown(quiet) as on_progress:
            report = api.validate(
                bundle,
                data,
                device,
                max_latency_ms=max_latency_ms,
                max_size_bytes=max_size_bytes,
                max_memory_bytes=max_memory_bytes,
                max_drop=max_drop,
                measure=measure,
                emulate=emulate,
                allow=tuple(allow or ()),
                on_progress=on_progress,
            )
        return report.plain(), report.exit_code, table(report)

    end("validate", json_, work)


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="A .tflite, .onnx or OpenVINO .xml file, or a bundle's folder.")],
    device: Annotated[
        str | None, typer.Option(help="A profile or registered device: what runs where on it, and why.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Each operation, with its shapes.")] = False,
    json_: Json = False,
) -> None:
    """Tell what ARTIFACT is made of, what loads it, and what a device runs where; the model is not run."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .inspecting import inspect as inspect_files
        from .inspection_text import inspection_text

        found = inspect_files(artifact, device)
        text = "\n\n".join(inspection_text(inspection, every) for inspection in found)
        return {"files": [inspection.plain() for inspection in found]}, 0, text

    end("inspect", json_, work)


@app.command()
def split(
    artifact: Annotated[Path, typer.Argument(help="An int8 .tflite file.")],
    out: Out,
    device: Annotated[str, typer.Option(help="A profile or registered device with an Edge TPU.")] = "coral-dev-board",
    json_: Json = False,
) -> None:
    """Cut ARTIFACT into parts so that more of it runs on the Edge TPU; they are proven to compute the same bytes."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .splitting import split as split_file
        from .splitting import split_text

        made = split_file(artifact, device, out)
        return made.plain(), 0, split_text(made)

    end("split", json_, work)


@app.command()
def run(
    out: Out = Path("build/run"),
    architecture: Annotated[list[str] | None, typer.Option(help="Only this one; repeat. All by default.")] = None,
    device: Devices = None,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the main job: the shipped models, compressed and exported on real data, to verdicts for three devices."""

    def work() -> tuple[dict[str, Any], int, Any]:
        _import_tensorflow()
        from .main_job import DEFAULTS, defaults_of
        from .main_job import run as run_main_job
        from .progress import clock
        from .report import table

        started, took = time.monotonic(), []
        with shown(quiet) as on_progress:
            report = run_main_job(
                out,
                defaults_of(architecture) if architecture else DEFAULTS,
                tuple(device) if device else None,
                seed=seed,
                on_progress=on_progress,
                on_done=lambda name, seconds: took.append(f"{name} {clock(seconds)}"),
            )
        print(f"wrote {out} in {clock(time.monotonic() - started)}: {', '.join(took)}", file=sys.stderr)
        # Nobody asked for a gate: the job is done when every cell has its verdict. ``validate`` is the gate.
        return report.plain(), 0, table(report)

    end("run", json_, work, keeps_stages=True)


@app.command()
def train(
    architecture: Annotated[str, typer.Argument(help="See 'edgewright architectures'.")],
    experiment: Annotated[str | None, typer.Option(help="One of its experiments; by default the first.")] = None,
    size: Annotated[str, typer.Option(help="edge, or full for a GPU.")] = "edge",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The folder to write; below build/train by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training in --out.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an ARCHITECTURE on its task; a checkpoint is kept after each epoch."""

    def work() -> tuple[dict[str, Any], int, Any]:
        _import_tensorflow()
        from .training import train_experiment

        with shown(quiet) as on_progress:
            trained = train_experiment(
                architecture, experiment, size, seed, out, resume=resume, on_progress=on_progress
            )
        return {"model": str(trained.model), "trained": trained.record}, 0, _trained_text(trained)

    end("train", json_, work, keeps_stages=True)


@app.command()
def architectures(json_: Json = False) -> None:
    """List the architectures and their experiments, with what the shipped models reach."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from . import train as folder
        from .train._checkpoints import record_of, shipped

        lines, found = [], []
        for name in folder.names():
            architecture = folder.get(name)
            lines.append(f"{name}: {architecture.title}")
            for experiment in architecture.experiments:
                checkpoint = shipped(name, experiment.name)
                record = record_of(checkpoint) if checkpoint else None
                reached = _reached(record.get("deployed", record["metric"])) if record else "not shipped"
                lines.append(f"    {experiment.name:28} {experiment.title:44} {reached}")
                found.append({"architecture": name, "experiment": experiment.name, "trained": record})
        return {"experiments": found}, 0, "\n".join(lines)

    end("architectures", json_, work)


@app.command()
def render(
    bundle: Annotated[
        Path | None, typer.Argument(help="A radiance field's bundle; the shipped model by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("view.png"),
    azimuth: Annotated[float, typer.Option(help="Of the camera, in degrees.")] = 40.0,
    elevation: Annotated[float, typer.Option(help="Of the camera, in degrees; between -90 and 90.")] = 25.0,
    side: Annotated[int, typer.Option(help="Pixels along each side.")] = 100,
    artifact: Annotated[str | None, typer.Option(help="Such as 'tflite int8'; the bundle's first by default.")] = None,
    runtime: Annotated[str | None, typer.Option(help="That runs it; the first that takes it by default.")] = None,
    json_: Json = False,
) -> None:
    """Render a view of a neural radiance field, by an exported artifact or by the shipped Keras model."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .rendering import render_view

        if bundle is None:
            _import_tensorflow()
        view = render_view(bundle, out, azimuth, elevation, side, artifact, runtime)
        text = f"{view.path}: {side} x {side} pixels by {view.source}, {view.seconds:.2f} s, measured here"
        return {"path": str(view.path), "source": view.source, "seconds": view.seconds}, 0, text

    end("render", json_, work)


@app.command()
def recipes(json_: Json = False) -> None:
    """List the recipes that come with edgewright."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .compress import load_recipe, shipped_recipes

        found = [load_recipe(name) for name in shipped_recipes()]
        text = "\n".join(f"{recipe.name:22} {recipe.description}" for recipe in found)
        return {"recipes": [recipe.resolved() for recipe in found]}, 0, text

    end("recipes", json_, work)


@app.command()
def techniques(json_: Json = False) -> None:
    """List the techniques that a recipe's steps can have, in the order of what they change, with their parameters."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .compress import get, names
        from .compress._technique import STAGES

        found = sorted((get(name) for name in names()), key=lambda technique: STAGES.index(technique.stage))
        document: list[dict[str, Any]] = [
            {
                "name": technique.name,
                "title": technique.title,
                "changes": technique.stage,
                "parameters": _parameters_of(technique.parameters),
            }
            for technique in found
        ]
        lines = []
        for each in document:
            lines.append(f"{each['name']}: {each['title']} (changes {each['changes']})")
            lines += [f"    {name} = {default}" for name, default in each["parameters"].items()]
        return {"techniques": document}, 0, "\n".join(lines)

    end("techniques", json_, work)


@app.command()
def formats(json_: Json = False) -> None:
    """List which formats have which precisions, which runtimes run them, and why there are gaps."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .cells import cells, cells_text

        found = cells()
        return {"cells": [asdict(cell) for cell in found]}, 0, cells_text(found)

    end("formats", json_, work)


devices_app = typer.Typer(
    help="Device profiles, and devices of your own: listed, shown, added, probed.", invoke_without_command=True
)
app.add_typer(devices_app, name="devices")
devices_app.command("add")(devices_add)
devices_app.command("list")(devices_list)
devices_app.command("remove")(devices_remove)
devices_app.command("release")(devices_release)
devices_app.command("probe")(devices_probe)
devices_app.command("calibrate")(devices_calibrate)


@devices_app.callback()
def devices(context: typer.Context, json_: Json = False) -> None:
    """List the device profiles that come with edgewright, and the devices that you have registered."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from . import devices as folder
        from .registering import registered, registered_text

        found = [folder.get(name) for name in folder.names()]
        mine, damaged = registered()
        text = "\n".join(f"{profile.name:24} {profile.title}" for profile in found)
        text += f"\n\nRegistered:\n{registered_text(mine, damaged)}" if mine or damaged else ""
        document = {
            "devices": [{"name": profile.name, "title": profile.title} for profile in found],
            "registered": [asdict(device) for device in mine],
            "damaged": damaged,
        }
        return document, InputError.exit_code if damaged else 0, text

    if context.invoked_subcommand is None:
        end("devices", json_, work)


@devices_app.command("show")
def devices_show(
    name: Annotated[
        str,
        typer.Argument(help="A profile's name or a .toml file, either with @MODE such as @7W; or a registered device."),
    ],
    json_: Json = False,
) -> None:
    """Show what a profile says of its device: each value with how it was obtained and its source."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .device_names import profile_of
        from .profile_card import profile_card

        profile = profile_of(name)
        return {"profile": profile.model_dump(mode="json")}, 0, profile_card(profile)

    end("devices show", json_, work)


def _parameters_of(parameters: Any) -> dict[str, str]:
    """Return the default of each parameter as a recipe writes it, or that there is none."""
    return {
        name: "(needed)" if field.is_required() else json.dumps(field.default)
        for name, field in parameters.model_fields.items()
    }


def _bundle_text(bundle: Any) -> str:
    lines = [f"{bundle.path}: {len(bundle.artifacts)} artifacts of {bundle.manifest['model']}"]
    lines += [f"  note: {note}" for note in bundle.manifest["notes"]]
    lines += [f"  {line}" for line in _variables_text(bundle.manifest["variables"])]
    evidence = bundle.manifest["evidence"]
    if "imported" in bundle.manifest:
        lines.append(f"  compared with {evidence['reference']}")
    unit = evidence["metric"]["unit"] if evidence["metric"] else ""
    for check in evidence["checks"]:
        where = f"  {check['artifact']:18} in {check['runtime']:16} {check['runtime_version'] or 'not installed':10}"
        if not check["ok"]:
            lines.append(f"{where} failed: {check['reason']}")
            continue
        metric = "" if check["metric"] is None else f"{evidence['metric']['name']} {check['metric']:.4g} {unit}, "
        lines.append(
            f"{where} {metric}agrees with the original {check['agreement_original_percent']:.4g} % "
            f"on {check['samples']} samples"
        )
    lines += [f"  not exported: {name}: {reason}" for name, reason in bundle.manifest["failures"].items()]
    return "\n".join(lines)


def _variables_text(variables: list[dict[str, Any]]) -> list[str]:
    """Return a line for each variable: what was done to it, or why it was left alone."""
    lines = []
    for variable in variables:
        shape = " x ".join(str(size) for size in variable["shape"]) or "scalar"
        facts = [f"{variable['bits']:g} bits"]
        if variable["sparsity"]:
            facts.append(f"{100 * variable['sparsity']:.3g} % zeros")
        if variable["applied"]:
            facts.append(f"{variable['values']} distinct values")
        if variable["error"]:
            facts.append(f"changed by {100 * variable['error']:.3g} %")
        facts += list(variable["applied"]) or [f"left alone ({reason})" for reason in variable["skipped"]]
        lines.append(f"{variable['path']} [{shape}]: {', '.join(facts)}")
    return lines


def _trained_text(trained: Any) -> str:
    record = trained.record
    lines = [f"{trained.model}: {record['parameters']:,} parameters, {record['wall_s']:.0f} s, seed {record['seed']}"]
    lines += [f"  {_reached(record[kind])} ({kind})" for kind in ("metric", "deployed") if kind in record]
    lines += [f"  {name}: {value:.4g}" for name, value in record.get("measures", {}).items()]
    return "\n".join(lines)


def _reached(metric: dict[str, Any]) -> str:
    return f"{metric['name']} {metric['value']:.4g} {metric['unit']}"


def _work_folder(out: Path) -> Path:
    return out.absolute().parent / f".{out.name}.work"


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _import_tensorflow() -> None:
    """Import TensorFlow without its greetings: it writes them to stderr before any of its settings are read."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow

        tensorflow.constant(0)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


for _command in (*COMMANDS, predict, *DEPLOYING):
    app.command()(_command)
app.add_typer(emulator, name="emulator")
app.add_typer(service, name="service")


def main() -> None:
    """Entry point of the console script."""
    # A tenth of a second of a short command: what imports make is looked through for garbage, and again at the end.
    gc.set_threshold(20_000, 20, 20)
    atexit.register(gc.freeze)
    try:
        written(app)
    except SystemExit as ending:
        end_usage(ending)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
