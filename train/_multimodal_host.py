"""Answers questions about a picture on a device: looks at the picture once, then asks one question after the other."""

import numpy as np


class Host:
    """Drives the graphs "look" (picture to keys and values) and "ask" (these and one question to an answer)."""

    def __init__(self, graphs: dict, settings: dict) -> None:
        """Take the graphs by name, and the shapes of a sample."""
        self.look, self.ask = graphs["look"], graphs["ask"]
        self.shapes = {name: tuple(shape) for name, shape in settings["shapes"].items()}

    def run(self, sample: dict) -> dict:
        """Return the answers to the questions about one picture: {"answers": [questions, classes]}."""
        image, questions = self.checked(sample, "image"), self.checked(sample, "questions")
        seen = self.look({"image": image[None]})
        answers = []
        for question in questions:
            inputs = dict(seen)
            inputs["question"] = question[None, None]
            answers.append(self.ask(inputs)["answer"][0])
        return {"answers": np.stack(answers)}

    def checked(self, sample: dict, name: str) -> np.ndarray:
        """Return one array of the sample as float32, or say what is wrong with it."""
        expected = self.shapes[name]
        if name not in sample:
            raise ValueError(f"Expected {name!r} {list(expected)}. Got: {', '.join(sorted(sample))}.")
        array = np.asarray(sample[name], dtype=np.float32)
        if array.shape != expected:
            raise ValueError(f"Expected {name!r} {list(expected)}. Got: {list(array.shape)}.")
        if not np.isfinite(array).all():  # int8 would make an ordinary answer of it
            raise ValueError(f"Expected finite values of {name!r}. Got: NaN or infinity.")
        return array
