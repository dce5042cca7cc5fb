"""The loop over time around a liquid network's single step. NumPy only, Python 3.7: it is copied to devices."""

import numpy as np


class Host:
    """Answers for one recording by calling the graph ``step`` once for each recorded step, with the state in between.

    Settings: ``states``, how many values each state has, by name; ``readout``, "last" to take the probabilities of the
    last recorded step, "mean" to take the mean of the logits of all, "each" for the action at each step.
    """

    def __init__(self, graphs, settings):
        self.step = graphs["step"]
        self.states = settings["states"]
        self.readout = settings["readout"]

    def run(self, sample):
        """Return the ``probabilities`` for ``x`` [steps, sensors], ``dt`` and ``mask`` [steps, 1].

        With the readout "each" it is the ``action`` [steps, actions], zero where the mask is.
        """
        x, dt, places = _checked(sample)
        states = {name: np.zeros((1, size), np.float32) for name, size in self.states.items()}
        logits = 0.0
        actions = None
        for place in places:
            inputs = {"x": x[place : place + 1], "dt": dt[place : place + 1]}
            inputs.update(states)
            outputs = self.step(inputs)
            states = {name: outputs["next_" + name] for name in self.states}
            if self.readout == "mean":
                logits = logits + np.asarray(outputs["logits"])[0] / len(places)
            if self.readout == "each":
                action = np.asarray(outputs["logits"], np.float32)[0]
                actions = np.zeros((len(x), len(action)), np.float32) if actions is None else actions
                actions[place] = action
        if self.readout == "each":
            return {"action": actions}
        if self.readout == "mean":
            raised = np.exp(logits - np.max(logits))
            return {"probabilities": (raised / raised.sum()).astype(np.float32)}
        return {"probabilities": np.asarray(outputs["probabilities"])[0]}


def _checked(sample):
    """Return x, dt and the places of the recorded steps; steps that were not recorded may hold anything."""
    x = np.asarray(sample["x"], np.float32)
    dt = np.asarray(sample["dt"], np.float32)
    mask = np.asarray(sample["mask"], np.float32)
    if x.ndim != 2 or dt.shape != (len(x), 1) or mask.shape != (len(x), 1):
        raise ValueError(
            f"Expected x [steps, sensors], dt [steps, 1] and mask [steps, 1]. Got: {x.shape}, {dt.shape}, {mask.shape}."
        )
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"Expected 0 and 1 in mask. Got: {mask[(mask != 0) & (mask != 1)][0]}.")
    places = np.flatnonzero(mask[:, 0])
    if not len(places):
        raise ValueError(f"Expected at least one recorded step (mask 1). Got: none of {len(x)}.")
    if not np.all((dt[places] > 0) & np.isfinite(dt[places])):
        wrong = dt[places][~((dt[places] > 0) & np.isfinite(dt[places]))]
        raise ValueError(f"Expected dt above zero, and finite, at every recorded step. Got: {wrong[0]}.")
    if not np.all(np.isfinite(x[places])):
        raise ValueError("Expected finite x at every recorded step. Got: NaN or infinity.")
    return x, dt, places
