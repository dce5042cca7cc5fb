"""edgewright gets a trained Keras model onto an edge device and proves that it fits there."""

__version__ = "0.1.0"
