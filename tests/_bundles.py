"""Copies of bundles that tests change."""

import json
import shutil

import numpy as np

from edgewright.files import MANIFEST, sha256


def with_golden(bundle, folder, **arrays):
    """Return a copy of a bundle with other golden arrays, and the digest that belongs to them."""
    shutil.copytree(bundle.path, folder)
    golden = dict(np.load(folder / "golden.npz"))
    np.savez(folder / "golden.npz", **{**golden, **arrays})
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["golden.npz"] = sha256(folder / "golden.npz")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder
