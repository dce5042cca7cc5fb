"""A format whose converter breaks, installed as another distribution would install it."""

import os


def install_broken_exporter(folder, body, monkeypatch):
    """Install an exporter ``broken`` for this process and its children; ``body`` is what its export does."""
    (folder / "broken.py").write_text(
        "import os, signal, time\n"
        "from edgewright.export import Exporter\n"
        "from edgewright.export._exporter import Exported\n"
        f"def export(job):\n    {body}\n"
        "EXPORTER = Exporter('broken', 'broken', '.broken', ('float32',), export)\n"
    )
    info = folder / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgewright.export]\nbroken = broken\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder) + os.pathsep + os.environ.get("PYTHONPATH", ""))
