"""Imported before NumPy: one thread for its matrix library, whose threads wait for each other over small matrices."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
