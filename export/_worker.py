"""The child process that runs one exporter: ``python -m edgewright.export._worker JOB.json``.

Writes ``exported.json`` beside the job when it is done; whatever goes wrong ends this process and not its parent.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from ._artifact import read_tensors
from ._exporter import Job


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
    )
    exported = get(document["format"]).export(job)
    (job.folder / "exported.json").write_text(json.dumps(asdict(exported), default=str), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
