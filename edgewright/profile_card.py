"""A device profile as text: each value with how it was obtained and its source."""

from typing import Any

from .devices import PowerMode, Profile


def profile_card(profile: Profile) -> str:
    """Return all that a profile says, for people."""
    lines = [f"{profile.name}: {profile.title}"]
    for name in ("cpu", "memory", "system"):
        lines += _section(name, getattr(profile, name).model_dump())
    if profile.power:
        lines += _section("power", profile.power.model_dump())
    if profile.power_modes:
        lines += ["power modes, asked for as DEVICE@MODE", *(_mode(profile, mode) for mode in profile.power_modes)]
    for accelerator in profile.accelerators:
        lines += _section(accelerator.unit, accelerator.model_dump(exclude={"unit"}))
    lines.append("runtimes")
    lines += [f"    {each.format:24} {each.name} {_value(each.version.model_dump())}" for each in profile.runtimes]
    lines.append("runs, with the rate that latencies are predicted by and the factors that bound nine in ten")
    for target in profile.targets:
        interval = target.interval.value
        rows = f", {target.fitted_rows} rows" if target.fitted_rows else ""
        lines.append(
            f"    {target.format + ' ' + target.precision:24} {target.unit}, {target.runtime}, {target.threads} "
            f"thread{'s' if target.threads > 1 else ''}: {target.effective_gmacs_per_s.value:g} GMAC/s "
            f"({target.effective_gmacs_per_s.how}{rows}), {interval.low:g} to {interval.high:g}"
        )
    if profile.unsupported:
        lines.append("does not run")
    lines += [
        f"    {f'{each.format} {each.precision}' if each.precision else each.format:24} {each.reason}"
        for each in profile.unsupported
    ]
    lines.append("budget, unless another is asked for")
    lines += [
        f"    {name:24} {value:,.12g}" for name, value in profile.budget.model_dump().items() if value is not None
    ]
    return "\n".join(lines)


def _mode(profile: Profile, mode: PowerMode) -> str:
    """Return what a power mode caps, and whether the rates below are of it or scaled to it."""
    own = profile.power and profile.power.mode
    tpcs = f"{mode.gpu_tpcs.value} TPC{'s' if mode.gpu_tpcs.value > 1 else ''} " if mode.gpu_tpcs else ""
    rates = "rates are scaled"
    if own and own.value == mode.name:
        rates = f"the rates below, {_origin(profile)}"
    return (
        f"    {mode.name:24} {mode.cpu_count.value} cores at {mode.cpu_clock_ghz.value:g} GHz, "
        f"GPU {tpcs}at {mode.gpu_clock_ghz.value:g} GHz, {mode.bandwidth_gbytes_per_s.value:g} GB/s "
        f"({mode.cpu_clock_ghz.how}: {mode.cpu_clock_ghz.source}); {rates}"
    )


def _origin(profile: Profile) -> str:
    """Return how the rates of a profile's own power mode came about."""
    if profile.power and profile.power.scaled_from:
        return f"scaled from {profile.power.scaled_from.value}"
    fitted = any(target.effective_gmacs_per_s.how == "fitted" for target in profile.targets)
    return "some fitted in it" if fitted else "derived, not fitted in it"


def _section(title: str, values: dict[str, Any]) -> list[str]:
    return [title, *(f"    {name:24} {_value(value)}" for name, value in values.items() if value is not None)]


def _value(sourced: dict[str, Any]) -> str:
    value = sourced["value"]
    text = ", ".join(value) if isinstance(value, tuple) else value
    return f"{text} ({sourced['how']}: {sourced['source']})"
