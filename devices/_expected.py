"""How long each kind of work is expected to take on a processor: from its datasheet, and from what others take."""

from collections.abc import Mapping

import numpy as np

from ..export._work import COUNTS
from ._fitted import document
from ._fitting import Speeds, prior
from ._profile import Cpu, Memory

# Multiply-accumulates that a core's vector units do in a cycle at float32: one 128-bit FMA on the small and older
# cores, two on the later ones (Arm's software optimization guides of the Cortex-A72 and Cortex-A76). A Cortex-A53
# begins none while it loads a vector, which takes two cycles (github:Tencent/ncnn, arm-a53-a55-dual-issue.md), and by
# kernels written for it does 6.4 GFLOPS at 1.4 GHz (github:OpenMathLib/OpenBLAS/pull/2643).
_FLOAT_MACS = {"Cortex-A53": 2.25, "Cortex-A57": 4, "Cortex-A72": 4, "Cortex-A76": 8, "Cortex-A78AE": 8, "Carmel": 8}
# Of int8 to float32: SDOT multiplies and adds 16 pairs where FMLA does 4; without, SMULL, SMLAL and SADALP take three
# instructions for 16. On two cores the third goes to the pipe beside, while a 128-bit FMLA takes both pipes (their
# software optimization guides, and llvm's AArch64SchedA57.td, which models them). A Cortex-A53
# loads a quarter of the bytes for as many products: its rate at int8 is that of the other small cores.
_DOT_PRODUCT, _NO_DOT_PRODUCT = 4.0, 4 / 3
_INT8_GAIN = {"Cortex-A57": 2.0, "Cortex-A72": 2.0, "Cortex-A53": 4 / 3 * 4 / 2.25}
# What more threads do not shorten: these kinds of work, and a share of the others (Amdahl's law), as it is of TFLite's
# networks on Raspberry Pis at one to four threads (github:NobuoTsukamoto; see benchmarks/_measured_threads.py).
_ONE_BY_ONE = ("weights", "streamed", "sorting")
_SERIAL = {"float32": 0.22, "int8": 0.05}
# Cycles of one core for the start of an operation and of an inference, and how many more for each other thread that is
# woken. On one thread the emulated Cortex-A72 counts 17,000 instructions for an inference by LiteRT, its copies
# included, 41,000 by ONNX Runtime and 54,000 by OpenVINO, and 300 to 8,000 for a small operation. Woken threads are
# what TFLite's smallest networks take at no pixels: some 0.05 ms on one core of an AGX Orin, 0.4 ms on all twelve.
_STARTS = {"launches": (1e3, 3e3, 3), "inferences": (2e4, 6e4, 63)}  # cycles, for each woken, and of how many at most
# Cycles of one core for a score of a detector that is compared, as measured there: see export/_work.py. Those of later
# cores are of what more threads do not shorten of an int8 EfficientDet-Lite on a Pi 5.
_SORTING, _SORTING_BEFORE = 4.0, {"Cortex-A53": 31.0, "Cortex-A57": 9.5, "Cortex-A72": 9.5}
_CACHED = ("inputs", "outputs", "patches", "moved")


def expected_speeds(cpu: Cpu, memory: Memory, precision: str, threads: int) -> Speeds:
    """Return the speeds of a processor of which no measurement was seen.

    Args:
        precision: what is computed in: "float32" or "int8".
        threads: of the runtime.
    """
    factors = document()["expected"][precision]
    return prior(_of_processor(cpu, memory, precision, threads) * np.array([factors[name] for name in COUNTS]))


def least_ms(cpu: Cpu, memory: Memory, precision: str, threads: int) -> np.ndarray:
    """Return what a unit of each kind of work takes at least, as ``datasheet_ms``; 0 on a core that is not known."""
    known = any(cpu.core.value.startswith(name) for name in _FLOAT_MACS)
    return _of_processor(cpu, memory, precision, threads) if known else np.zeros(len(COUNTS))


def _of_processor(cpu: Cpu, memory: Memory, precision: str, threads: int) -> np.ndarray:
    return datasheet_ms(
        cpu.core.value,
        cpu.clock_ghz.value,
        min(threads, cpu.count.value),
        cpu.dotprod.value,
        memory.bandwidth_gbytes_per_s.value,
        precision,
    )


def datasheet_ms(
    core: str, clock_ghz: float, cores: int, dotprod: bool, bandwidth_gbytes_per_s: float, precision: str
) -> np.ndarray:
    """Return the least that a unit of each kind of work can take in ms, shape [len(COUNTS)].

    A multiply-accumulate at the vector units' rate; a byte of weights, and of activations beyond what caches hold, at
    the memory's bandwidth, and of other activations at half the vector units' width a cycle; a score of a detector that
    is sorted as it was measured; where nothing tells, a value of a function in 8 cycles; the start of an operation and
    of an inference as ``_STARTS`` has them.
    """
    per_cycle = _of(core, _FLOAT_MACS, 8 if dotprod else 4)
    gain = 1.0 if precision != "int8" else _DOT_PRODUCT if dotprod else _of(core, _INT8_GAIN, _NO_DOT_PRODUCT)
    mac_ms = 1e-6 / (cores * clock_ghz * per_cycle * gain)
    other = dict.fromkeys(_CACHED, 1e-6 / (cores * clock_ghz * per_cycle * 2))
    other |= dict.fromkeys(("weights", "streamed"), 1e-6 / bandwidth_gbytes_per_s)
    other |= {"sorting": 1e-6 / clock_ghz * _of(core, _SORTING_BEFORE, _SORTING)}
    other |= {"functions": 8e-6 / (clock_ghz * cores)} | {
        name: 1e-6 / clock_ghz * _start(name, cores) for name in _STARTS
    }
    return np.array([other.get(name, mac_ms) for name in COUNTS])


def _of(core: str, known: Mapping[str, float], other: float) -> float:
    """Return what is known of a core, whose name may say more, such as a revision."""
    return next((value for name, value in known.items() if core.startswith(name)), other)


def thread_factors(precision: str, threads: int, fitted_at: int) -> np.ndarray:
    """Return how many times longer than with ``fitted_at`` threads each kind takes with ``threads``; [len(COUNTS)]."""
    serial = _SERIAL[precision]
    factor = (serial + (1 - serial) / threads) / (serial + (1 - serial) / fitted_at)
    known = dict.fromkeys(_ONE_BY_ONE, 1.0) | {
        name: _start(name, threads) / _start(name, fitted_at) for name in _STARTS
    }
    return np.array([known.get(name, factor) for name in COUNTS])


def _start(name: str, threads: int) -> float:
    """Return the cycles that something takes to start with so many threads."""
    alone, woken, most = _STARTS[name]
    return alone + woken * min(threads - 1, most)
