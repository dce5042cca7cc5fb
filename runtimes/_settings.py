"""How a runtime is to run an artifact, and how it is timed: what becomes the runner's arguments."""

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Settings:
    """How a runtime runs a file. What the runtime does not have is a failed run with its reason.

    Attributes:
        threads: of the runtime.
        cores: the cores that the process may use; all that it inherits when empty.
        delegates: of TFLite, each a shared library's path with options, such as ``libedgetpu.so.1,device=usb``.
        xnnpack: whether TFLite uses XNNPACK where it can.
        providers: of ONNX Runtime, execution providers in order of preference, such as ``("tensorrt", "cuda")``; the
            CPU when empty.
        unit: of OpenVINO, such as ``"GPU"``; the CPU when empty.
        precision: of OpenVINO, what it infers in: ``"f32"``, ``"f16"`` or ``"bf16"``; float32 when empty.

    Raises:
        InputError: fewer than one thread, a core below zero, or another precision.
    """

    threads: int = 1
    cores: tuple[int, ...] = ()
    delegates: tuple[str, ...] = ()
    xnnpack: bool = True
    providers: tuple[str, ...] = ()
    unit: str = ""
    precision: str = ""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InputError(f"Expected at least one thread. Got: {self.threads}.")
        if min(self.cores, default=0) < 0:
            raise InputError(f"Expected cores numbered from 0. Got: {', '.join(map(str, self.cores))}.")
        if self.precision not in ("", "f32", "f16", "bf16"):
            raise InputError(f"Expected the precision f32, f16 or bf16. Got: {self.precision!r}.")

    def arguments(self) -> list[str]:
        """Return the runner's arguments."""
        made = ["--threads", str(self.threads)]
        made += ["--cores", ",".join(map(str, self.cores))] if self.cores else []
        made += [text for path in self.delegates for text in ("--delegate", path)]
        made += [] if self.xnnpack else ["--no-xnnpack"]
        made += [text for name in self.providers for text in ("--provider", name)]
        made += ["--unit", self.unit] if self.unit else []
        return made + (["--precision", self.precision] if self.precision else [])


@dataclass(frozen=True)
class Timing:
    """How long one process is timed: until there are enough runs and enough time has gone by.

    Attributes:
        warmup_s: at least so long, and until latency has come to rest or five times as long.
        min_runs, min_time_s: both are reached,
        max_runs: unless there are so many runs.
        repeats: how often one sample is run again and again, and among others, to see whether answers are kept.
        cold: drop the files from the page cache before they are loaded.
    """

    warmup_s: float = 0.2
    min_runs: int = 200
    min_time_s: float = 0.5
    max_runs: int = 5000
    repeats: int = 0
    cold: bool = False

    def arguments(self, max_time_s: float) -> list[str]:
        """Return the runner's arguments; it stops at ``max_time_s`` however few runs there are."""
        made = ["--measure", "--warmup-s", str(self.warmup_s), "--min-runs", str(self.min_runs)]
        made += ["--min-time-s", str(self.min_time_s), "--max-runs", str(self.max_runs)]
        made += ["--repeats", str(self.repeats), "--max-time-s", str(max_time_s)]
        return made + (["--cold"] if self.cold else [])
