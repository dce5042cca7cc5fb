"""Chooses the drone's heading on a device from those sensors that delivered: one of the two may be missing."""

import numpy as np

SENSORS = ("camera", "lidar")  # in the order of "present"


class Host:
    """Drives the graph "model" (camera, lidar and which of them are present, to the probabilities of headings)."""

    def __init__(self, graphs: dict, settings: dict) -> None:
        """Take the graph, and the shapes of what the sensors deliver."""
        self.model = graphs["model"]
        self.shapes = {name: tuple(shape) for name, shape in settings["shapes"].items()}

    def run(self, sample: dict) -> dict:
        """Return {"heading": [9]} for a sample with "camera", "lidar" or both.

        A sensor is missing where the sample has not got it, or where "present", [2], has a 0 for it. What a missing
        sensor delivered is not looked at.
        """
        present = np.array([name in sample for name in SENSORS], np.float32)
        if "present" in sample:
            said = np.asarray(sample["present"], dtype=np.float32)
            if said.shape != (2,) or not np.isin(said, (0, 1)).all():
                raise ValueError(f"Expected 'present' to be 0 or 1 for {' and '.join(SENSORS)}. Got: {said.tolist()}.")
            present = present * said
        if not present.any():
            raise ValueError(
                f"Expected {' or '.join(SENSORS)} to be present. Got: {', '.join(sorted(sample)) or 'nothing'}."
            )
        inputs = {"present": present[None]}
        for name, here in zip(SENSORS, present):
            inputs[name] = (self.checked(sample, name) if here else np.zeros(self.shapes[name], np.float32))[None]
        return {"heading": self.model(inputs)["heading"][0]}

    def checked(self, sample: dict, name: str) -> np.ndarray:
        """Return what a sensor delivered as float32, or say what is wrong with it."""
        expected = self.shapes[name]
        array = np.asarray(sample[name], dtype=np.float32)
        if array.shape != expected:
            raise ValueError(f"Expected {name!r} {list(expected)}. Got: {list(array.shape)}.")
        if not np.isfinite(array).all():
            raise ValueError(
                f"Expected finite values of {name!r}. Got: {int((~np.isfinite(array)).sum())} that are not."
            )
        return array
