"""A subject made ready for the peers: its graphs frozen and exported as float, samples to calibrate on, a reference."""

import functools
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from _compression_subjects import Subject

from edgewright.export import Artifact, Deployable, HostCode, convert, freeze
from edgewright.export import names as format_names
from edgewright.export._bundle import artifact_at, plain_artifact
from edgewright.files import write_json
from edgewright.hosting import answers_of, calibration_of
from edgewright.stages import Stages
from edgewright.train import Deployment

CALIBRATION_SAMPLES = 256
# Peers and runtimes: what they make is kept as long as their versions stay.
_PACKAGES = ("tensorflow", "keras", "tf_keras", "tensorflow-model-optimization", "ai-edge-quantizer", "ai-edge-litert")
_PACKAGES += ("tf2onnx", "onnx", "onnxruntime", "openvino", "nncf", "numpy")


@dataclass(frozen=True)
class Prepared:
    """What lies on disk for a subject.

    Attributes:
        subject: the trained model.
        folder: ``graphs/GRAPH.keras``, ``frozen/GRAPH``, ``calibration/GRAPH.npz`` and ``float/FORMAT``.
        facts: prepared.json.
    """

    subject: Subject
    folder: Path
    facts: Mapping[str, Any]

    @functools.cached_property
    def deployment(self) -> Deployment:
        """The deployment form, made of the model in this process when it is first asked for."""
        return self.subject.experiment.deployment(self.subject.model())

    @property
    def graphs(self) -> tuple[str, ...]:
        """The names of the graphs."""
        return tuple(self.facts["graphs"])

    def floats(self, format: str) -> Deployable | None:
        """Return the float export in a format, or None where it failed."""
        documents = self.facts["floats"].get(format)
        if documents is None:
            return None
        return self.deployable([artifact_at(document, self.folder / "float" / format) for document in documents])

    def deployable(self, artifacts: list[Artifact]) -> Deployable:
        """Return artifacts, one for each graph, with the host code around them."""
        host = None
        if self.facts["host"]:
            host = HostCode(self.folder / "host.py", self.folder / "host.json", self.facts["per"])
        return Deployable(tuple(artifacts), host, self.facts["calls"])


def prepare(subject: Subject, out: Path, formats: tuple[str, ...] = ()) -> Prepared:
    """Return the subject made ready in some formats, all when none are given; from disk where it was before."""
    formats = formats or format_names()
    key = [subject.sha256, CALIBRATION_SAMPLES, formats, installed()]
    folder = Stages(out / subject.name).once("prepared", key, lambda folder: _make(subject, folder, formats))
    return _opened(subject, folder)


def kept(subject: Subject, out: Path) -> Prepared:
    """Return the subject as it was last made ready, whatever made it.

    Raises:
        FileNotFoundError: it never was.
    """
    found = sorted((out / subject.name).glob("prepared-*/prepared.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"Expected {subject.name} made ready below {out}. Got: none.")
    return _opened(subject, found[-1].parent)


def _opened(subject: Subject, folder: Path) -> Prepared:
    return Prepared(subject, folder, json.loads((folder / "prepared.json").read_text(encoding="utf-8")))


def installed() -> dict[str, str]:
    """Return the versions of the peers and runtimes that are installed."""
    found = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _make(subject: Subject, folder: Path, formats: tuple[str, ...]) -> None:
    deployment = subject.experiment.deployment(subject.model())
    for name in ("graphs", "frozen", "calibration", "float"):
        (folder / name).mkdir()
    for name, graph in deployment.graphs.items():
        with suppress(ValueError, TypeError, RuntimeError):  # a graph that Keras cannot save: what needs it fails
            graph.save(folder / "graphs" / f"{name}.keras")
    for name, arrays in calibration_of(deployment, CALIBRATION_SAMPLES, seed=0).items():
        np.savez(folder / "calibration" / f"{name}.npz", **arrays)
    frozen = {name: freeze(graph, folder / "frozen" / name) for name, graph in deployment.graphs.items()}
    floats, failures = {}, {}
    for format in formats:
        place = folder / "float" / format
        made = [convert(frozen[name], format, "float32", place / name, graph=name) for name in deployment.graphs]
        failed = [f"{each.graph}: {each.reason}" for each in made if each.artifact is None]
        if failed:
            failures[format] = "; ".join(failed)
            continue
        artifacts = [each.artifact for each in made if each.artifact]
        for artifact in artifacts:
            for path in (artifact.path, *(path for path, _ in artifact.companions)):
                shutil.move(path, place / path.name)
            shutil.rmtree(place / artifact.graph)
        floats[format] = [plain_artifact(artifact) for artifact in artifacts]
    if deployment.host:
        shutil.copyfile(deployment.host, folder / "host.py")
        write_json(folder / "host.json", dict(deployment.settings))
    answers, calls = answers_of(deployment, deployment.task.test)
    metric, labels = deployment.task.metric, deployment.task.test.labels
    assert metric is not None and labels is not None
    facts = {
        "graphs": {
            name: {"inputs": {tensor.name: list(tensor.shape) for tensor in each.inputs}}
            | {"macs": each.macs, "parameters": each.parameters}
            for name, each in frozen.items()
        },
        "floats": floats,
        "failures": failures,
        "host": deployment.host is not None,
        "per": deployment.per,
        "calls": dict(calls),
        "outputs": list(answers),
        "samples": len(deployment.task.test),
        "metric": {"name": metric.name, "unit": metric.unit, "better": metric.better},
        "reference": metric.measure(answers, labels),
    }
    write_json(folder / "prepared.json", facts)
