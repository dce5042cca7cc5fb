"""The child process that runs one exporter: ``python -m edgewright.export._worker JOB.json``.

Writes ``exported.json`` beside the job when it is done; whatever goes wrong ends this process and not its parent.
"""

import json
import sys
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from ._about import About
from ._artifact import read_tensors
from ._exporter import Job
from ._legalise import RECORD, SAMPLES, legalise
from ._pass import Target


def main(job_file: str) -> None:
    """Run the job that a JSON file describes."""
    from . import get

    document = json.loads(Path(job_file).read_text(encoding="utf-8"))
    job = Job(
        saved_model=Path(document["saved_model"]),
        precision=document["precision"],
        inputs=read_tensors(document["inputs"]),
        outputs=read_tensors(document["outputs"]),
        calibration=Path(document["calibration"]) if document["calibration"] else None,
        folder=Path(document["folder"]),
        stem=document["stem"],
        group_size=document["group_size"],
        quantized=document["quantized"],
        sparse=document["sparse"],
        unit=document["unit"],
        float_tensors=document["float_tensors"],
        imported=document["imported"],
    )
    target = Target(document["format"], job.precision, job.unit)
    exporter = get(document["format"])
    exported = exporter.export(_legalised(job, target, frozenset(document["types"])))
    given = job.imported == exporter.name and job.precision == "float32"  # the user's own file, handed on
    if exporter.lean and not given:
        exporter.lean(exported.path)
    if document["about"] and exporter.describe:
        exporter.describe(exported.path, About(**document["about"]))
    (job.folder / "exported.json").write_text(json.dumps(asdict(exported), default=str), encoding="utf-8")


def _legalised(job: Job, target: Target, types: frozenset[str]) -> Job:
    """Return the job with a graph that its converter takes, and write down what came of each pass.

    What a user's file is made of is left as it is: the passes rewrite graphs of Keras.
    """
    if job.imported:
        return job
    # Read only where a pass has something to do.
    recorded = islice(job.samples(), SAMPLES) if job.calibration else ()
    place = job.folder / ".legalised"
    saved_model, made = legalise(job.saved_model, target, job.inputs, job.outputs, recorded, place, types)
    (job.folder / RECORD).write_text(json.dumps([asdict(each) for each in made]), encoding="utf-8")
    return replace(job, saved_model=saved_model)


if __name__ == "__main__":
    main(sys.argv[1])
