"""A bundle: the folder that is deployed, with its artifacts, recipe, golden inputs and outputs, and evidence."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import MANIFEST, is_ours, new_manifest, sha256
from ._artifact import Artifact, read_operations, read_tensors
from ._deployable import Deployable, HostCode, deployables

KIND = "bundle"
SCHEMA = 2
GOLDEN = "golden.npz"
HOST, SETTINGS = "host.py", "host.json"
_INPUT, _OUTPUT = "input/", "output/"


@dataclass(frozen=True)
class Bundle:
    """What is deployed.

    Attributes:
        path: the folder.
        artifacts: the exported files in it.
        manifest: the whole of manifest.json.
    """

    path: Path
    artifacts: tuple[Artifact, ...]
    manifest: dict[str, Any]

    @property
    def deployables(self) -> tuple[Deployable, ...]:
        """The artifacts as they go to a device: those of one format and precision together."""
        facts = self.manifest["deployment"]
        host = HostCode(self.path / HOST, self.path / SETTINGS, facts["per"]) if facts["host"] else None
        return deployables(
            self.artifacts, host, facts["calls"], facts.get("unit", "inference"), facts.get("units", 1.0)
        )

    def golden(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the golden inputs and the Keras model's outputs for them, ``[samples, ...]`` by name."""
        with np.load(self.path / GOLDEN, allow_pickle=False) as arrays:
            inputs = {key.removeprefix(_INPUT): arrays[key] for key in arrays if key.startswith(_INPUT)}
            outputs = {key.removeprefix(_OUTPUT): arrays[key] for key in arrays if key.startswith(_OUTPUT)}
        return inputs, outputs


def bundle_manifest(artifacts: tuple[Artifact, ...], **facts: Any) -> dict[str, Any]:
    """Return the manifest of a bundle; ``facts`` are its further sections."""
    return {
        **new_manifest(KIND, SCHEMA),
        "artifacts": [plain_artifact(artifact, "artifacts/") for artifact in artifacts],
        **facts,
    }


def save_golden(folder: Path, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
    """Write golden inputs and outputs, ``[samples, ...]`` by name, into a bundle's folder."""
    arrays = {f"{_INPUT}{name}": array for name, array in inputs.items()}
    arrays |= {f"{_OUTPUT}{name}": array for name, array in outputs.items()}
    np.savez_compressed(folder / GOLDEN, **arrays)


def load_bundle(path: Path) -> Bundle:
    """Open a bundle and check every file in it against its SHA-256.

    Raises:
        InputError: no bundle is there, a file is missing or changed, or a newer edgewright wrote it.
    """
    if not is_ours(path):
        what = "has no manifest.json of ours" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise InputError(f"Expected a bundle that edgewright wrote, a folder. Got: {path}, which {what}.")
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if manifest.get("kind") != KIND or manifest.get("schema") != SCHEMA:
        raise InputError(
            f"Expected a {KIND} of schema {SCHEMA} at {path}. "
            f"Got: a {manifest.get('kind')} of schema {manifest.get('schema')}."
        )
    for name, digest in manifest["files"].items():
        file = path / name
        if not file.is_file() or sha256(file) != digest:
            found = "another content" if file.is_file() else "no file"
            raise InputError(f"Expected {name} in {path} with SHA-256 {digest[:12]}. Got: {found}.")
    return Bundle(path, tuple(artifact_at(document, path) for document in manifest["artifacts"]), manifest)


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path in it."""
    return {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }


def plain_artifact(artifact: Artifact, folder: str = "") -> dict[str, Any]:
    """Return an artifact as plain data, its files named below ``folder`` (such as "artifacts/")."""
    document = asdict(artifact)
    document.pop("work")  # counted anew from the file where it is asked for
    return {
        **document,
        "path": f"{folder}{artifact.path.name}",
        "companions": {f"{folder}{path.name}": digest for path, digest in artifact.companions},
    }


def artifact_at(document: dict[str, Any], folder: Path) -> Artifact:
    """Return the artifact that plain data describes, its files below ``folder``."""
    return Artifact(
        **{
            **document,
            "path": folder / document["path"],
            "inputs": read_tensors(document["inputs"]),
            "outputs": read_tensors(document["outputs"]),
            "companions": tuple((folder / name, digest) for name, digest in document["companions"].items()),
            "operations": read_operations(document["operations"]),
        }
    )
