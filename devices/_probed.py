"""A profile of a device that was probed: what was read there, over the profile of its board or of the nearest core."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ._fitted import shipped_calibrations
from ._power_modes import find_mode, mode_key
from ._probed_values import clock_ratio, core_name, instruction_set, runtime_version, scaled
from ._profile import Profile, get

Facts = dict[str, Any]

# The model that a board's device tree starts with, the longest first. Of a Compute Module the core is the board's.
_BOARDS = {
    "Raspberry Pi Zero 2 W": "raspberry-pi-zero-2w",
    "Raspberry Pi 3 Model B Plus": "raspberry-pi-3b-plus",
    "Raspberry Pi 4 Model B": "raspberry-pi-4b",
    "Raspberry Pi 5 Model B": "raspberry-pi-5",
    "NVIDIA Jetson Nano": "jetson-nano",
    "NVIDIA Jetson Xavier NX": "jetson-xavier-nx",
    "NVIDIA Jetson Orin Nano": "jetson-orin-nano",
    "NVIDIA Jetson AGX Orin": "jetson-agx-orin",
    "Freescale i.MX8MQ Phanbell": "coral-dev-board",
}
# Boards of which only the cores are told: where a core runs that none of these has, the rates are the nearest's.
_CORES_ONLY = ("raspberry-pi-5", "raspberry-pi-4b", "raspberry-pi-3b-plus")
# How much wider an interval is where the rates are another board's of the same core, and of another core.
_WIDER_SAME, _WIDER_OTHER = (0.5, 2.0), (0.1, 5.0)


@dataclass(frozen=True)
class Probed:
    """A profile of a probed device.

    Attributes:
        profile: the profile.
        board: the shipped profile that it starts from.
        same_board: whether that is the profile of this very board.
        notes: what of it was not read there, as sentences.
    """

    profile: Profile
    board: str
    same_board: bool
    notes: tuple[str, ...]


def probed_profile(facts: Facts, name: str) -> Probed:
    """Return the profile of a device from what ``_probe.py`` printed there.

    What was read stands in it with "read" and where; rates are the board's own or those of the nearest shipped core,
    both scaled by the clock that was read.

    Raises:
        InputError: the facts tell of no cores, which no profile can do without.
    """
    if not facts.get("cpu"):
        raise InputError(f"Expected cores in the /proc/cpuinfo of {_title(facts)}. Got: none.")
    board, same_board = _start(facts)
    shipped = get(board)
    base = _as_set(shipped, facts) if same_board else shipped
    document = base.model_dump()
    notes: list[str] = []
    _put_cores(document, facts, same_board, notes)
    _put_memory(document, facts, notes)
    _put_system(document, facts, notes)
    _put_power(document, facts, shipped, same_board, notes)
    _put_runtimes(document, facts, notes)
    _put_accelerators(document, facts, notes)
    _put_rates(document, facts, base, same_board, notes)
    # Speeds were fitted at the shipped clock and on all cores; at another one the scaled rates stand for them.
    same_clock = abs(clock_ratio(base.cpu, document["cpu"], cores=False) - 1) < 0.02
    if same_board and same_clock and document["cpu"]["count"]["value"] >= base.cpu.count.value:
        fitted = (*base.calibrations, *shipped_calibrations(base))
        document["calibrations"] = [each.model_dump() for each in fitted]
    else:
        document["calibrations"] = []
    document |= {"name": name, "title": _title(facts), "sources": {}}
    if not same_board:
        notes.append(f"The budget and what is not supported are those of {base.title}.")
    return Probed(Profile.model_validate(document), board, same_board, tuple(notes))


def _title(facts: Facts) -> str:
    model = facts.get("model") or facts.get("product")
    cpu = facts.get("cpu") or {}
    return str(model["value"] if model else cpu.get("model_name") or facts.get("host") or "this device")


def _start(facts: Facts) -> tuple[str, bool]:
    """Return the shipped profile to start from, and whether it is this board's."""
    model = (facts.get("model") or {}).get("value", "")
    found = next((name for start, name in _BOARDS.items() if model.startswith(start)), "")
    if found == "raspberry-pi-4b" and any(each["unit"] == "edgetpu" for each in facts["accelerators"]):
        return "coral-usb-accelerator", True
    if found == "jetson-orin-nano" and _is_super(facts, model):
        return "jetson-orin-nano-super", True
    if found:
        return found, True
    core = core_name(facts["cpu"])
    same = [name for name in _CORES_ONLY if get(name).cpu.core.value == core]
    return (same or (_CORES_ONLY[:1] if facts["cpu"]["dotprod"]["value"] else _CORES_ONLY[1:2]))[0], False


def _as_set(shipped: Profile, facts: Facts) -> Profile:
    """Return the board's profile in the power mode that was read, where the profile knows it."""
    read = (facts.get("power") or {}).get("mode")
    mode = find_mode(shipped.power_modes, read["value"]) if read else None
    return shipped.in_mode(mode.name) if mode else shipped


def _is_super(facts: Facts, model: str) -> bool:
    mode = ((facts.get("power") or {}).get("mode") or {}).get("value", "")
    return "Super" in model or mode in ("MAXN_SUPER", "25W")


def _read(facts: Facts, fact: Facts, how: str = "read", value: Any = None) -> Facts:
    """Return a profile's value from what was read on the device."""
    where = facts.get("host") or "a copy of the device's files"
    given = fact["value"] if value is None else value
    return {"value": given, "how": how, "source": f"{where}, {facts['date']}: {fact['source']}"}


def _put_cores(document: Facts, facts: Facts, same_board: bool, notes: list[str]) -> None:
    cpu, into = facts["cpu"], document["cpu"]
    where = {"source": cpu["source"]}
    core, isa = core_name(cpu), instruction_set(cpu)
    into["core"] = _read(facts, where, value=core)
    into["isa"] = _read(facts, where, "derived", isa)
    for key in ("count", "dotprod", "fp16_arith"):
        into[key] = _read(facts, cpu[key])
    if cpu["clock_ghz"] is not None:
        into["clock_ghz"] = _read(facts, cpu["clock_ghz"], value=round(cpu["clock_ghz"]["value"], 4))
    else:
        notes.append("The clock could not be read: it is that of the profile that this one starts from.")
        if not same_board:
            into["clock_ghz"]["how"] = "recalled"
    if cpu["kinds"] > 1:
        notes.append(f"It has {cpu['kinds']} kinds of cores: what is told is of the fastest, the count is of all.")


def _put_memory(document: Facts, facts: Facts, notes: list[str]) -> None:
    size, into = facts["memory"]["size_bytes"], document["memory"]
    if size is not None:
        into["size_bytes"] = _read(facts, size)
    else:
        notes.append("The memory's size could not be read: it is that of the profile that this one starts from.")
    measured = facts.get("measured")
    if measured:
        bandwidth = measured["bandwidth_gbytes_per_s"]
        into["bandwidth_gbytes_per_s"] = _read(facts, bandwidth, value=round(bandwidth["value"], 2))
    else:
        notes.append("The memory's bandwidth was not measured: it is that of the profile that this one starts from.")


def _put_system(document: Facts, facts: Facts, notes: list[str]) -> None:
    system, into = facts["system"], document["system"]
    if system["name"] is not None:
        release = next((f"{what} {fact['value']}" for what, fact in _nvidia(system)), "")
        name = ", ".join(filter(None, (release, system["name"]["value"])))
        into["name"] = _read(facts, system["name"], value=name)
    else:
        notes.append("The system's name could not be read: it is that of the profile that this one starts from.")
    if system["python"] is not None:
        into["python"] = _read(facts, system["python"])
    else:
        notes.append("The version of Python could not be read: it is that of the profile that this one starts from.")


def _nvidia(system: Facts) -> list[tuple[str, Facts]]:
    return [(what, system[key]) for what, key in (("JetPack", "jetpack"), ("L4T", "l4t")) if system[key] is not None]


def _put_power(document: Facts, facts: Facts, base: Profile, same_board: bool, notes: list[str]) -> None:
    """What a board draws is kept of the same board in the same mode alone."""
    power, watts = facts.get("power"), document.get("power") or {}
    if not power or power["mode"] is None:
        document["power"] = document.get("power") if same_board else None
        document["power_modes"] = document["power_modes"] if same_board else []
        return
    was = base.power.mode.value if base.power and base.power.mode else "another mode"
    same_mode = mode_key(was) == mode_key(power["mode"]["value"])
    kept = {name: watts.get(name) for name in ("idle_w", "load_w")} if same_board and same_mode else {}
    if same_board and not same_mode:
        kept["scaled_from"] = _read(facts, power["mode"], "derived", was)
    document["power"] = {"mode": _read(facts, power["mode"]), "modes": _read(facts, power["modes"]), **kept}
    names = {mode_key(name): name for name in power["modes"]["value"]} if same_board else {}
    kept_modes = [mode for mode in document["power_modes"] if mode_key(mode["name"]) in names]
    document["power_modes"] = [mode | {"name": names[mode_key(mode["name"])]} for mode in kept_modes]
    if not same_mode:
        notes.append(f"Rates were fitted in the mode {was} and are scaled by clocks to {power['mode']['value']}.")


def _put_runtimes(document: Facts, facts: Facts, notes: list[str]) -> None:
    """Replace the version of each runtime by the one that is installed, and its name in the targets of its format."""
    for entry in document["runtimes"]:
        found = runtime_version(entry, facts)
        if found is None:
            notes.append(f"{entry['name']} is not installed there: its version is the one that was tested elsewhere.")
            continue
        name, fact, value = found
        for target in document["targets"]:
            if target["runtime"] == entry["name"]:
                target["runtime"] = name
        entry |= {"name": name, "version": _read(facts, fact, value=value)}


def _put_accelerators(document: Facts, facts: Facts, notes: list[str]) -> None:
    """Name the accelerators as they were found; of those with targets, clocks where they were read."""
    kept = {each["unit"]: each for each in document["accelerators"]}
    for found in facts["accelerators"]:
        entry = kept.get(found["unit"])
        if entry is None:
            notes.append(f"It has an accelerator without rates in a shipped profile: {found['name']}.")
        elif found.get("clock_ghz"):
            entry["clock_ghz"] = _read(facts, found["clock_ghz"], value=round(found["clock_ghz"]["value"], 4))
        elif found["unit"] == "edgetpu":
            entry["name"] = _read(facts, found, value=found["name"])
    missing = set(kept) - {found["unit"] for found in facts["accelerators"]}
    notes.extend(f"Its {unit} was not found there; the profile keeps it." for unit in sorted(missing))


def _put_rates(document: Facts, facts: Facts, base: Profile, same_board: bool, notes: list[str]) -> None:
    """Scale the rates by the clocks that were read; of another board, or with fewer cores, also by their number."""
    threads = document["cpu"]["count"]["value"]
    fewer = threads < base.cpu.count.value
    clocks = {"cpu": clock_ratio(base.cpu, document["cpu"], cores=not same_board or fewer)}
    for each in base.accelerators:
        new = next(entry for entry in document["accelerators"] if entry["unit"] == each.unit)
        clocks[each.unit] = new["clock_ghz"]["value"] / each.clock_ghz.value
    wider, same_core = (1.0, 1.0), base.cpu.core.value == document["cpu"]["core"]["value"]
    if not same_board:
        wider = _WIDER_SAME if same_core else _WIDER_OTHER
        notes.append(f"Rates are those of {base.title}, scaled by cores and clocks, with wider intervals.")
        if facts.get("measured"):
            product = facts["measured"]["product_gmacs_per_s"]["value"]
            notes.append(f"A product in NumPy did {product:.3g} GMAC/s on one thread; networks reach a share of that.")
    for target in document["targets"]:
        for roofline in filter(None, (target, target["fallback"])):
            scaled(roofline, clocks[roofline["unit"]], wider, base.title)
            if (not same_board or fewer) and roofline["unit"] == "cpu":
                roofline["threads"] = threads
            if not same_board and not same_core:
                roofline["fitted_rows"] = 0
