"""What a bundle's folder says about its artifacts: golden inputs and outputs, the recipe, and the manifest."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .attempts import Attempt, conversion_name
from .checks import Reference
from .compress import Recipe
from .converting import versions
from .errors import GateFailed
from .export import About
from .export._bundle import bundle_manifest, files_of, save_golden
from .files import MANIFEST, write_json
from .model_card import CARD, model_card

GOLDEN_SAMPLES = 16


def check_any_right(name: str, made: Attempt, failures: Mapping[str, str]) -> None:
    """Raise GateFailed where no artifact came out right."""
    if not made.right:
        reasons = "; ".join(f"{which}: {reason}" for which, reason in failures.items())
        raise GateFailed(f"Expected an artifact of {name} that runs. Got: none. {reasons}")


def write_facts(
    folder: Path,
    about: About,
    made: Attempt,
    reference: Reference,
    recipe: Recipe,
    task: str,
    failures: Mapping[str, str],
    notes: Sequence[str],
    seed: int,
    **more: Any,
) -> None:
    """Write golden.npz, recipe.toml, the model card and, last, manifest.json into a bundle's folder.

    Args:
        folder: the bundle's, with all its other files.
        about: what the model is; reports call it by its name.
        made: the artifacts, and how they ran.
        reference: what they were compared with.
        recipe: what was done.
        task: the name of what the model is judged by.
        failures: why there is no artifact, or another file, by its name.
        notes: sentences for the report.
        seed: of everything random.
        more: further sections of the manifest.
    """
    samples = reference.data.take(GOLDEN_SAMPLES)
    outputs = {key: array[:GOLDEN_SAMPLES] for key, array in reference.compressed.items()}
    save_golden(folder, dict(samples.inputs), outputs)
    (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    artifacts = tuple(artifact for deployable in made.right for artifact in deployable.artifacts)
    facts = {
        **more,
        "model": about.name,
        "about": asdict(about),
        "notes": list(notes),
        "seed": seed,
        "recipe": {**recipe.resolved(), "sha256": recipe.sha256},
        "versions": versions(),
        "host": {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()},
        "failures": dict(failures),
        **_conversion_facts(made),
        "evidence": _evidence(made, reference, task),
    }
    manifest = bundle_manifest(artifacts, **facts)
    (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
    write_json(folder / MANIFEST, {**manifest, "files": files_of(folder)})


def _conversion_facts(made: Attempt) -> dict[str, Any]:
    return {
        "conversions": [
            {
                "artifact": conversion_name(each),
                "wall_s": round(each.wall_s, 2),
                "peak_memory_bytes": each.peak_memory_bytes,
            }
            for each in made.conversions
        ],
        "legalised": {
            conversion_name(each): [asdict(one) for one in each.legalised]
            for each in made.conversions
            if each.legalised
        },
    }


def _evidence(made: Attempt, reference: Reference, task: str) -> dict[str, Any]:
    metric = reference.metric
    return {
        "task": task,
        "samples": len(reference.data),
        "reference": reference.name,
        "metric": metric and {"name": metric.name, "unit": metric.unit, "better": metric.better},
        "original_metric": reference.original_metric(),
        "compressed_metric": reference.compressed_metric(),
        "checks": [check.plain() for check in made.checks],
    }
