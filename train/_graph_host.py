"""What a device does around a molecular graph network: pairs, radial functions, forces, and dynamics by the forces.

NumPy only, Python 3.7.
"""

import numpy as np

# 1 eV / (angstrom dalton) as an acceleration in angstrom / fs^2
ACCELERATION = 9.648533212e-3


class Host:
    """Turns one molecule into a prediction, with one call of the static graph ``model``, or into a run of dynamics.

    Settings: ``elements`` (atomic numbers that the network knows), ``hydrogens`` (the highest count of hydrogens folded
    into a heavy atom; None where hydrogens are atoms), ``max_atoms``, ``basis`` (how many radial functions), ``cutoff``
    (angstrom), ``inputs`` (those that the graph takes) and ``outputs``: what ``run`` returns, in this order.
    With ``pairs`` (the ``coefficients`` [elements, elements, basis] and the ``offset`` of a potential of pairs, eV) the
    graph gives what pairs do not explain. With ``dynamics`` (``steps``, ``step_fs`` and ``masses``, in dalton and the
    order of ``elements``) an answer is a run of molecular dynamics.
    """

    def __init__(self, graphs, settings):
        self.graph = graphs["model"]
        self.settings = settings
        self.elements = np.array(settings["elements"])
        self.folds = settings["hydrogens"] is not None
        self.folded = np.arange(settings["hydrogens"] + 1 if self.folds else 0)
        self.centers = np.linspace(0, settings["cutoff"], settings["basis"]).astype(np.float32)
        self.others = 1 - np.eye(settings["max_atoms"], dtype=np.float32)[:, :, None]
        self.needed = set(settings["inputs"])
        if "forces" in settings["outputs"]:
            self.needed.add("directions")
        if "pairs" in settings:
            self.needed |= {"radial", "radial_slope", "cutoff", "cutoff_slope"}

    def run(self, sample):
        """Return the answer to a sample: see ``move`` for dynamics, and ``predict``."""
        for name in ("positions", "velocities"):
            # int8 would make an ordinary answer of it.
            if name in sample and not np.isfinite(np.asarray(sample[name])).all():
                raise ValueError(f"Expected finite {name}. Got: NaN or infinity.")
        return self.move(sample) if "dynamics" in self.settings else self.predict(sample)

    def move(self, sample):
        """Return a run of dynamics from ``positions`` and ``velocities`` [atoms, 3] (angstrom / fs) of ``numbers``.

        The answer: ``potential`` and ``kinetic`` energy before each step and after the last [steps + 1] in eV, and the
        last ``positions``. Where forces are not finite a run ends, and the energies from there on are NaN.
        """
        dynamics, numbers = self.settings["dynamics"], np.asarray(sample["numbers"])
        known = dict(zip(self.settings["elements"], dynamics["masses"]))
        if not all(number in known for number in numbers.tolist()):
            raise ValueError(
                "Expected the elements {}, without padding. Got: {}.".format(list(known), numbers.tolist())
            )
        masses = np.array([known[number] for number in numbers.tolist()])
        potential, kinetic, positions, _ = velocity_verlet(
            lambda places: self.energy_and_forces(numbers, places),
            np.asarray(sample["positions"], np.float64),
            np.asarray(sample["velocities"], np.float64),
            masses,
            dynamics["step_fs"],
            dynamics["steps"],
        )
        return {"potential": potential, "kinetic": kinetic, "positions": positions}

    def predict(self, sample):
        """Return the prediction for a molecule: ``numbers`` [atoms] (0 for padding) and ``positions`` [atoms, 3]."""
        atoms, positions, mask = self.padded(np.asarray(sample["numbers"]), np.asarray(sample["positions"]))
        pairs = self.pairs(positions, mask)
        fed = dict(pairs, atoms=atoms, mask=mask)
        made = self.graph({name: fed[name][None] for name in self.settings["inputs"]})
        answer = {name: array[0] for name, array in made.items()}
        tensions = [array.astype(np.float64) for name, array in answer.items() if name.startswith("tension_")]
        if tensions:
            tension = sum(tensions)
            if "pairs" in self.settings:
                energy, slopes = self.pair_potential(atoms, pairs)
                answer["energy"] = (answer["energy"] + energy).astype(np.float32)
                tension = tension + slopes
            forces = -np.sum((tension + tension.T)[:, :, None] * pairs["directions"], axis=1)
            answer["forces"] = forces.astype(np.float32)
        return {name: answer[name] for name in self.settings["outputs"]}

    def energy_and_forces(self, numbers, positions):
        """Return the energy in eV and the forces [atoms, 3] in eV / angstrom, as a step of molecular dynamics needs."""
        made = self.predict({"numbers": numbers, "positions": positions})
        return float(made["energy"][0]), made["forces"][: len(numbers)]

    def padded(self, numbers, positions):
        """Return one-hot atoms [N, features], positions [N, 3] and mask [N, 1]."""
        if positions.shape != numbers.shape + (3,):
            raise ValueError(
                f"Expected positions of shape {numbers.shape + (3,)}, one row for each number. Got: {positions.shape}."
            )
        real = numbers > (1 if self.folds else 0)
        kinds, places = numbers[real], positions[real]
        features = kinds[:, None] == self.elements
        size = self.settings["max_atoms"]
        if not self.folds and not real[: len(kinds)].all():
            raise ValueError("Expected the padding, number 0, after the atoms. Got: {}.".format(numbers.tolist()))
        if not features.any(1).all() or not (numbers[~real] == 0).all():
            left_out = {0, 1} if self.folds else {0}
            unknown = sorted(set(numbers.tolist()) - set(self.settings["elements"]) - left_out)
            if unknown:
                raise ValueError(
                    "Expected the elements {}. Got: atomic number {}.".format(self.settings["elements"], unknown[0])
                )
        if not 0 < len(kinds) <= size:
            what = "heavy atoms" if self.folds else "atoms"
            raise ValueError("Expected 1 to {} {}. Got: {}.".format(size, what, len(kinds)))
        atoms = np.zeros((size, len(self.elements) + len(self.folded)), np.float32)
        padded = np.zeros((size, 3), np.float32)
        mask = np.zeros((size, 1), np.float32)
        atoms[: len(kinds), : len(self.elements)] = features
        if self.folds:
            counts = self.hydrogens(positions[numbers == 1], places)
            if counts.max() > self.folded[-1]:
                raise ValueError(
                    "Expected up to {} hydrogens at a heavy atom. Got: {}.".format(self.folded[-1], counts.max())
                )
            atoms[: len(kinds), len(self.elements) :] = counts[:, None] == self.folded
        padded[: len(kinds)] = places
        mask[: len(kinds)] = 1
        return atoms, padded, mask

    def hydrogens(self, hydrogens, places):
        """Return how many hydrogens are nearest to each heavy atom."""
        if not len(hydrogens):
            return np.zeros(len(places), int)
        apart = hydrogens[:, None] - places
        return np.bincount(np.einsum("ijk,ijk->ij", apart, apart).argmin(1), minlength=len(places))

    def pairs(self, positions, mask):
        """Return what is needed of all pairs: radial functions and cutoff, their slopes, and the pairs' directions."""
        differences = positions[:, None] - positions
        distances = np.sqrt(np.einsum("ijk,ijk->ij", differences, differences)[:, :, None] + np.float32(1e-12))
        counts = mask[:, None] * mask * self.others
        width = float(self.centers[1])
        apart = distances - self.centers
        # Not below exp(-70): subnormal numbers take a core many times as long.
        radial = np.exp(np.maximum(apart * apart * np.float32(-0.5 / width**2), np.float32(-70))) * counts
        cutoff = self.settings["cutoff"]
        angle = np.minimum(distances * np.float32(np.pi / cutoff), np.float32(np.pi))
        made = {
            "radial": lambda: radial,
            "radial_slope": lambda: radial * apart * np.float32(-1 / width**2),
            "cutoff": lambda: (np.cos(angle) + 1) * counts * np.float32(0.5),
            "cutoff_slope": lambda: np.sin(angle) * counts * np.float32(-0.5 * np.pi / cutoff),
            "directions": lambda: differences / distances,
        }
        return {name: make() for name, make in made.items() if name in self.needed}

    def pair_potential(self, atoms, pairs):
        """Return the energy of the potential of pairs in eV, and its slopes over the distances [N, N] in eV / angstrom.

        1/2 sum_ij sum_k c_k(z_i, z_j) e_k(d_ij) f_c(d_ij), and the offset.
        """
        of_kinds = np.array(self.settings["pairs"]["coefficients"])
        kinds = atoms.argmax(-1)
        coefficients = 0.5 * of_kinds[kinds[:, None], kinds]
        values = pairs["radial"] * pairs["cutoff"]
        slopes = pairs["radial_slope"] * pairs["cutoff"] + pairs["radial"] * pairs["cutoff_slope"]
        energy = np.sum(coefficients * values) + self.settings["pairs"]["offset"]
        return energy, np.sum(coefficients * slopes, axis=-1)


def velocity_verlet(energy_and_forces, positions, velocities, masses, step_fs, steps):
    """Return potential and kinetic energies [steps + 1] in eV, and the last positions and velocities, of NVE dynamics.

    Half a kick, a drift, half a kick (Swope et al., 1982, doi 10.1063/1.442716). ``energy_and_forces`` maps positions
    [atoms, 3] in angstrom to eV and eV / angstrom, velocities are in angstrom / fs, masses [atoms] in dalton.
    """
    inverse = ACCELERATION / masses[:, None]
    potential, kinetic = np.full(steps + 1, np.nan), np.full(steps + 1, np.nan)
    energy, forces = energy_and_forces(positions)
    for step in range(steps + 1):
        if step:
            velocities = velocities + 0.5 * step_fs * inverse * forces
            positions = positions + step_fs * velocities
            energy, forces = energy_and_forces(positions)
            velocities = velocities + 0.5 * step_fs * inverse * forces
        if not np.isfinite(forces).all():
            break
        potential[step], kinetic[step] = energy, 0.5 * np.sum(velocities**2 / inverse)
    return potential, kinetic, positions, velocities
