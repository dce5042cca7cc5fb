"""The ways to run an artifact on a device that are worth to be compared: threads, XNNPACK, Edge TPU, GPU."""

from collections.abc import Sequence
from dataclasses import replace

from .devices import Profile, Target
from .devices._edgetpu_graph import COMPILED
from .errors import InputError
from .export import Deployable
from .runtimes import Runtime, Settings
from .runtimes._runner import HEEDED

LIBEDGETPU = "libedgetpu.so.1"
_EDGETPU = "edgetpu"


def ways(deployable: Deployable, runtime: Runtime, profile: Profile, threads: Sequence[int]) -> tuple[Settings, ...]:
    """Return the ways to run an artifact in a runtime; of a file that is compiled for the Edge TPU its delegate alone.

    TensorRT and CUDA are among them wherever the device has a GPU: whether its ONNX Runtime has them shows there.
    """
    heeded = HEEDED.get(runtime.name, ())
    plain = tuple(Settings(threads=count) for count in threads)
    if _compiled(deployable) and "delegate" in heeded and profile.accelerator(_EDGETPU):
        return (Settings(delegates=(LIBEDGETPU,)),)
    if "no_xnnpack" in heeded:
        return (*plain, *(replace(each, xnnpack=False) for each in plain))
    if "provider" in heeded and profile.accelerator("gpu"):
        return (*plain, Settings(providers=("tensorrt", "cuda")), Settings(providers=("cuda",)))
    return plain


def unit_of(settings: Settings) -> str:
    """Return where settings run an artifact, as profiles name it: "cpu", "gpu" or "edgetpu"."""
    if any("edgetpu" in text for text in settings.delegates):
        return _EDGETPU
    on_gpu = {"tensorrt", "cuda"} & set(settings.providers) or settings.unit.startswith("GPU")
    return "gpu" if on_gpu else "cpu"


def not_on_edgetpu(deployable: Deployable, profile: Profile) -> str:
    """Return why an artifact is not tried on the Edge TPU that would run it, as a sentence; empty where it is."""
    target = profile.target(deployable.format, deployable.precision)
    if not isinstance(target, Target) or target.unit != _EDGETPU or _compiled(deployable):
        return ""
    return f"{deployable.name} on the Edge TPU: the file is not compiled for it; edgetpu_compiler does that"


def on_cores(profile: Profile) -> Profile:
    """Return a device's profile as a bundle's own files run there: what its Edge TPU would take runs on the cores."""
    targets = [
        each.model_copy(update={**dict(each.fallback), "fallback": None})
        if each.unit == _EDGETPU and each.fallback
        else each
        for each in profile.targets
    ]
    others = tuple(each for each in profile.accelerators if each.unit != _EDGETPU)
    return profile.model_copy(update={"targets": tuple(targets), "accelerators": others})


def threads_of(asked: Sequence[int], cores: int, device: str) -> tuple[int, ...]:
    """Return how many threads are tried: those asked for, else one, half and all of the cores.

    Raises:
        InputError: the device has fewer cores than threads.
    """
    if any(not 1 <= count <= cores for count in asked):
        raise InputError(f"Expected 1 to {cores} threads on {device}. Got: {', '.join(map(str, asked))}.")
    return tuple(sorted(set(asked or (1, max(1, cores // 2), cores))))


def _compiled(deployable: Deployable) -> bool:
    return any(operation.name == COMPILED for part in deployable.artifacts for operation in part.operations)
