"""Written modules simulated by Icarus Verilog beside what they must do (functional match)."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..children import run_child
from ..errors import MissingRequirement
from ..held import temporary_folder
from ._synthesis_verilog_reference import Bench

_TIME_LIMIT_S = 60


@dataclass(frozen=True)
class Trial:
    """A written module and what is wanted of it.

    Attributes:
        text: the Verilog.
        names: by role the name of the module ("module"), of its inputs and of its output ("output").
        bench: the stimuli and the outputs to be given.
    """

    text: str
    names: Mapping[str, str]
    bench: Bench


def matches(trials: Sequence[Trial]) -> list[bool]:
    """Say for each written module whether it has the wanted ports and gives the wanted outputs at every step.

    All are simulated in one process; where that fails, as with a module that does not compile, in halves.

    Raises:
        MissingRequirement: Icarus Verilog is not installed.
    """
    for program in ("iverilog", "vvp"):
        if shutil.which(program) is None:
            raise MissingRequirement(
                f"Expected Icarus Verilog, which simulates written modules. Got: no {program}. "
                "Install it, such as by apt-get install iverilog."
            )
    if not trials:
        return []
    lines = _simulated(trials)
    if lines is None and len(trials) > 1:
        middle = len(trials) // 2
        return matches(trials[:middle]) + matches(trials[middle:])
    return [lines is not None and lines.get(place, []) == wanted(trial) for place, trial in enumerate(trials)]


def wanted(trial: Trial) -> list[str]:
    """Return what the test bench prints of a module that is right: its ports' widths, then the outputs."""
    bench = trial.bench
    widths = " ".join(map(str, [*bench.inputs.values(), bench.output]))
    return [widths, *(" ".join(f"{value:0{bench.output}b}" for value in row) for row in bench.trace)]


def _simulated(trials: Sequence[Trial]) -> dict[int, list[str]] | None:
    """Return what the test benches print, by place; None where they do not compile or do not end."""
    with temporary_folder("verilog") as folder:
        source, built = Path(folder, "benches.v"), Path(folder, "benches.vvp")
        texts = []
        for place, trial in enumerate(trials):
            stimuli = Path(folder, f"{place}.txt")
            stimuli.write_text("\n".join(_rows(trial.bench)) + "\n", encoding="ascii")
            head = f"module {trial.names['module']} ("
            texts += [trial.text.replace(head, f"module written_{place} (", 1), _bench(place, trial, stimuli)]
        source.write_text("\n".join(texts), encoding="utf-8")
        child = run_child(["iverilog", "-g2005", "-o", built, source], time_limit_s=_TIME_LIMIT_S)
        if child.ok:
            child = run_child(["vvp", "-n", built], time_limit_s=_TIME_LIMIT_S)
    if not child.ok:
        return None
    lines: dict[int, list[str]] = {}
    for line in child.stdout.splitlines():
        number, _, rest = line.partition(" ")
        if number.isdigit():  # else a warning
            lines.setdefault(int(number), []).append(rest)
    return lines


def _rows(bench: Bench) -> list[str]:
    """Return the stimuli in binary, one line for each step, the inputs in their order."""
    roles = [(role, width) for role, width in bench.inputs.items() if role != "clock"]
    return ["".join(f"{step[role]:0{width}b}" for role, width in roles) for step in bench.stimuli]


def _bench(place: int, trial: Trial, stimuli: Path) -> str:
    """Return the test bench of a module: its inputs are ``in_ROLE`` here, its output is ``seen``."""
    bench, names = trial.bench, trial.names
    roles = [role for role in bench.inputs if role != "clock"]
    rising = bench.clock != "falling"
    declared = [f"  reg [{width - 1}:0] in_{role} = {bench.idle[role]};" for role, width in bench.inputs.items()]
    if bench.clock != "none":
        declared = [line for line in declared if "in_clock" not in line] + [f"  reg in_clock = {int(not rising)};"]
    ports = [f".{names[role]}(in_{role})" for role in bench.inputs] + [f".{names['output']}(seen)"]
    widths = ", ".join(f"$bits(written.{names[role]})" for role in [*bench.inputs, "output"])
    bits = sum(bench.inputs[role] for role in roles)
    # One $display for a step: what several benches write piece by piece would be mixed up.
    steps = [f"{{{', '.join(f'in_{role}' for role in roles)}}} = stimuli[step];"] if roles else []
    if bench.clock != "none":
        steps += [f"#1 before = seen; in_clock = {int(rising)};", f"#1 after = seen; in_clock = {int(not rising)};"]
    shown = ("before, after, seen" if bench.clock != "none" else "seen").split(", ")
    return f"""
module bench_{place};
{chr(10).join(declared)}
  wire [{bench.output - 1}:0] seen;
  written_{place} written({", ".join(ports)});
  reg [{bench.output - 1}:0] before, after;
  reg [{max(bits, 1) - 1}:0] stimuli [0:{len(bench.stimuli) - 1}];
  integer step;
  initial begin
    $display("{place} {" ".join(["%0d"] * (len(bench.inputs) + 1))}", {widths});
    {f'$readmemb("{stimuli}", stimuli);' if roles else ""}
    for (step = 0; step < {len(bench.stimuli)}; step = step + 1) begin
      {" ".join(steps)}
      #1 $display("{place}{" %b" * len(shown)}", {", ".join(shown)});
    end
  end
endmodule
"""
