"""The report: each artifact of each model against each device, with the verdict and how each number was obtained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .checks import KERAS, Check, read_check
from .devices import Budget, Evidence, Placement, Profile, Status, Target, Verdict, judge
from .export import Bundle, Deployable
from .figures import Figure
from .kernels import Computed, Emulated, Kernels, computed_on, emulated_evidence, emulated_of
from .measured_latency import Kept, deciding
from .measuring_text import throughput
from .runtimes import Measurement

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = "edgewright.report/1"

# By device and artifact, such as ("coral-dev-board", "tflite int8"), for each graph what runs where.
Placements = Mapping[tuple[str, str], Mapping[str, Placement]]


@dataclass(frozen=True)
class Row:
    """One artifact against one device.

    Attributes:
        model: the model's name.
        format, precision: the artifact's.
        device: the profile's name.
        size_bytes, gzip_bytes: the artifact's.
        check: the run on this host that accuracy and agreement come from.
        latency_here_ms: latency measured on this host, for comparison only; None where none was.
        verdict: what follows for the device, with the latency there.
        computed: on which kernels accuracy and agreement were computed.
    """

    model: str
    format: str
    precision: str
    device: str
    size_bytes: int
    gzip_bytes: int
    check: Check | None
    latency_here_ms: Figure | None
    verdict: Verdict
    computed: Computed


@dataclass(frozen=True)
class Report:
    """Verdicts for one or more bundles.

    Attributes:
        rows: one for each artifact and device.
        models: for each model's name what its bundle's manifest says of it: evidence, failures, versions.
    """

    rows: tuple[Row, ...]
    models: dict[str, dict[str, Any]]

    def best(self, model: str, device: str) -> Row | None:
        """Return the fastest row that passes, or None when none does; one whose latency is not known comes last."""
        passing = [row for row in self._of(model, device) if row.verdict.status == Status.PASS]
        return min(
            passing, key=lambda row: row.verdict.latency.value if row.verdict.latency else math.inf, default=None
        )

    @property
    def exit_code(self) -> int:
        """0 when each model has an artifact that passes on each device; 5 when at best one is inconclusive; else 1."""
        code = 0
        for model, device in self._pairs():
            if self.best(model, device):
                continue
            statuses = {row.verdict.status for row in self._of(model, device)}
            if Status.INCONCLUSIVE not in statuses:
                return 1
            code = 5
        return code

    def plain(self) -> dict[str, Any]:
        """Return the report as plain data for JSON; raw latency samples are left to the bundle and to ``checks``."""
        return {
            "schema": SCHEMA,
            "exit_code": self.exit_code,
            "summary": [
                {"model": model, "device": device, "deploy": _name(best) if best else None}
                for model, device in self._pairs()
                for best in [self.best(model, device)]
            ],
            "rows": [_plain_row(row) for row in self.rows],
            "models": self.models,
        }

    def _pairs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((row.model, row.device) for row in self.rows))

    def _of(self, model: str, device: str) -> list[Row]:
        return [row for row in self.rows if (row.model, row.device) == (model, device)]


def joined(reports: Sequence[Report]) -> Report:
    """Return one report of several."""
    return Report(
        rows=tuple(row for report in reports for row in report.rows),
        models={name: facts for report in reports for name, facts in report.models.items()},
    )


def judge_bundle(
    bundle: Bundle,
    deployables: Sequence[Deployable],
    checks: tuple[Check, ...],
    profiles: Sequence[Profile],
    limits: dict[str, float],
    placements: Placements | None = None,
    too_new: Mapping[tuple[str, str], str] | None = None,
    emulated: Emulated | None = None,
    memories: Mapping[tuple[str, str], Figure] | None = None,
    kept: Kept | None = None,
) -> Report:
    """Judge each artifact of a bundle against each profile.

    Args:
        bundle: what the artifacts are of.
        deployables: the artifacts, with the work of their files; see ``counted``.
        checks: what their runs on this host showed.
        profiles: the devices.
        limits: fields of ``Budget`` that replace each profile's default.
        placements: by device and artifact, what its accelerator runs of each graph.
        too_new: by device and artifact, why the device's runtime is too old for it, where it is.
        emulated: what emulated cores computed of the artifacts; see ``emulate_bundle``.
        memories: by device and artifact, the peak memory of its runtime with it.
        kept: by device and artifact, what was measured of it there; see ``kept_for``.
    """
    name = str(bundle.manifest["model"])
    machine = str(bundle.manifest["host"]["machine"])
    seen = _Seen(checks, placements or {}, too_new or {}, emulated or {}, machine, memories or {}, kept or {})
    rows = [
        _row(name, artifact, profile, Budget(**{**profile.budget.model_dump(), **limits}), seen)
        for artifact in deployables
        for profile in profiles
    ]
    facts = {
        "evidence": {key: value for key, value in bundle.manifest["evidence"].items() if key != "checks"},
        "checks": [made.plain() for made in checks],
        **{
            key: bundle.manifest[key]
            for key in ("recipe", "seed", "failures", "deployment", "conversions", "versions", "host")
        },
    }
    return Report(tuple(rows), {name: facts})


@dataclass(frozen=True)
class _Seen:
    """All that was seen of a bundle's artifacts; see ``judge_bundle``."""

    checks: tuple[Check, ...]
    placements: Placements
    too_new: Mapping[tuple[str, str], str]
    emulated: Emulated
    machine: str
    memories: Mapping[tuple[str, str], Figure]
    kept: Kept


def _row(model: str, artifact: Deployable, profile: Profile, budget: Budget, seen: _Seen) -> Row:
    pair, what = (profile.name, artifact.name), (profile, artifact.format, artifact.precision)
    mine = [made for made in seen.checks if made.artifact == artifact.name and not made.referee]
    # The first runtime that ran it stands in for the device's; if none did, the first failure tells why.
    stand_in = next((made for made in mine if made.ok), mine[0] if mine else None)
    there = emulated_of(stand_in, *what, seen.emulated) if stand_in else None
    evidence = emulated_evidence(_evidence(stand_in), there)
    target = profile.target(artifact.format, artifact.precision)
    unit = target.unit if isinstance(target, Target) else ""
    decides = deciding(seen.kept.get(pair, ()), budget.latency_ms, unit)
    return Row(
        model=model,
        format=artifact.format,
        precision=artifact.precision,
        device=profile.name,
        size_bytes=artifact.size_bytes,
        gzip_bytes=artifact.gzip_bytes,
        check=stand_in,
        latency_here_ms=stand_in.measurement.latency() if stand_in and stand_in.measurement else None,
        verdict=judge(
            *(profile, artifact, decides.judged(evidence) if decides else evidence, budget),
            measured=decides.latency_ms if decides else None,
            doubt=decides.doubt if decides else "",
            placements=seen.placements.get(pair),
            too_new=seen.too_new.get(pair, ""),
            memory=seen.memories.get(pair),
        ),
        computed=computed_on(stand_in, *what, seen.machine, seen.emulated),
    )


def _evidence(made: Check | None) -> Evidence:
    if made is None:
        return Evidence(None, None, None, None, runtime="", ok=False, reason="No runtime here runs it.")
    agreement = made.agreement_original_percent
    return Evidence(
        ok=made.ok,
        reason=made.reason,
        runtime=f"{made.runtime} {made.runtime_version or ''}".strip(),
        metric_reference=made.metric_reference,
        metric_value=made.metric,
        metric_lost=made.metric_lost,
        agreement=None if agreement is None else agreement / 100,
    )


def _plain_row(row: Row) -> dict[str, Any]:
    document = asdict(row)
    document["check"] = row.check and {key: value for key, value in row.check.plain().items() if key != "measurement"}
    return document


def table(report: Report) -> "RenderableType":
    """Return the report for people: what ran on this host, what follows for each device, and why if it is no pass.

    Figures of this host and of devices stand in tables of their own, so that none is taken for another.
    """
    from rich.console import Group
    from rich.text import Text

    notes: dict[str, list[str]] = {}
    for row in report.rows:
        for reason in row.verdict.deciding_reasons if row.verdict.status != Status.PASS else ():
            notes.setdefault(f"{row.verdict.status}: {reason}", []).append(f"{row.model} {_name(row)} on {row.device}")
    why = [f"{note}\n    {', '.join(where)}" for note, where in notes.items()]
    deploy = [_deploy_line(report, model, device) for model, device in report._pairs()]
    return Group(
        Text("Measured here, on this host: every artifact in every runtime that is installed, batch 1, one thread\n"),
        _host_table(report),
        Text("\n".join(["", *_model_lines(report), ""])),
        Text(f"What follows for each device; metric and size as measured here\n{_legend(report)}\n"),
        _device_table(report),
        Text("\n".join(["", *why, "", *deploy])),
    )


def _table(left: Sequence[str], right: Sequence[str], last: Sequence[str] = ()) -> Any:
    """Return an empty table with left-aligned, right-aligned and again left-aligned columns."""
    from rich.table import Table

    made = Table(box=None, header_style="bold", pad_edge=False)
    for heading in left:
        made.add_column(heading)
    for heading in right:
        made.add_column(heading, justify="right")
    for heading in last:
        made.add_column(heading)
    return made


def _host_table(report: Report) -> Any:
    references = {_reference(facts) for facts in report.models.values()}
    agrees = "agrees with Keras" if references <= {KERAS} else "agrees with ref."
    made = _table(
        ("model", "artifact", "runtime"),
        ("samples", "metric", agrees, "largest diff.", "p50", "90 % interval", "p90", "throughput"),
    )
    for model, facts in report.models.items():
        for document in facts["checks"]:
            run = read_check(document)
            runtime = f"{run.runtime} {run.runtime_version or ''}{' (referee)' if run.referee else ''}"
            if run.agreement_keras_percent is None or not run.ok:
                made.add_row(model, run.artifact, runtime, "-", f"failed: {run.reason[:80]}")
                continue
            measured = run.measurement
            made.add_row(
                *(model, run.artifact, runtime, str(run.samples), _quality(run, facts)),
                *(f"{run.agreement_keras_percent:.4g} %", f"{run.max_difference:.2g}"),
                *_latency_cells(measured),
            )
    return made


def _latency_cells(measured: Measurement | None) -> tuple[str, str, str, str]:
    """Return p50, its interval, p90 and throughput; what noise or throttling made worthless says so."""
    latency = measured.latency() if measured else None
    if measured is None or latency is None:
        return "-", "-", "-", "-"
    doubt = " (inconclusive)" if measured.inconclusive() else ""
    return (
        _milliseconds(latency.value),
        f"{latency.low:.3g} to {latency.high:.3g}{doubt}",
        _milliseconds(measured.p90_ms),
        throughput(measured),
    )


_STYLES = {Status.PASS: "green", Status.FAIL: "red", Status.INCONCLUSIVE: "yellow", Status.UNSUPPORTED: "dim"}


def _device_table(report: Report) -> Any:
    from rich.text import Text

    made = _table(
        ("model", "artifact", "device"),
        ("metric", "lost", "size", "gzip", "memory there", "latency there"),
        ("90 % interval", "how obtained", "computed on", "verdict"),
    )
    for row in report.rows:
        latency = row.verdict.latency
        lost = row.check.metric_lost if row.check else None
        made.add_row(
            *(row.model, _name(row), row.device, _quality(row.check, report.models[row.model])),
            "" if lost is None else f"{lost:+.1f}",
            *(
                _kilobytes(row.size_bytes),
                _kilobytes(row.gzip_bytes),
                _mebibytes(row.verdict.memory),
                _milliseconds(latency.value if latency else None),
            ),
            f"{latency.low:.2g} to {latency.high:.2g}" if latency and latency.low is not None else "",
            f"{latency.how}, {row.verdict.unit}" if latency else "",
            str(row.computed.kernels) if row.verdict.status != Status.UNSUPPORTED else "",
            Text(str(row.verdict.status), style=_STYLES[row.verdict.status]),
        )
    return made


_MEANT = {
    Kernels.SAME_RUNTIME: "same runtime: the device's, in this host's build",
    Kernels.STAND_IN: "stand-in: another runtime or unit than the device's",
    Kernels.EMULATED: "emulated: compared with the device's own build on its emulated core, on golden inputs",
}


def _legend(report: Report) -> str:
    """Say which runtime stands in for the devices' own, and on what was computed."""
    stand_ins = {row.format: row.check for row in report.rows if row.check}
    named = (f"{format} in {run.runtime} {run.runtime_version}" for format, run in stand_ins.items())
    used = {row.computed.kernels for row in report.rows if row.verdict.status != Status.UNSUPPORTED}
    meant = "; ".join(text for kernels, text in _MEANT.items() if kernels in used)
    return f"({', '.join(named)}); latency there is the device's, never this host's.\n{meant}"


def _quality(made: Check | None, facts: dict[str, Any]) -> str:
    if made is None or not made.ok:
        return "-"
    metric = facts["evidence"]["metric"]
    if made.metric is not None and metric:
        return f"{made.metric:.4g} {metric['unit']}".strip()
    return f"agrees {made.agreement_original_percent:.4g} %"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def _model_lines(report: Report) -> list[str]:
    lines = []
    for name, facts in report.models.items():
        evidence = facts["evidence"]
        metric = evidence["metric"]
        line = f"{name}: recipe {facts['recipe']['name']}; {evidence['samples']} test samples of {evidence['task']}"
        if _reference(facts) != KERAS:
            line += f"; the reference is {_reference(facts)}"
            if metric:
                line += f": {metric['name']} {evidence['original_metric']:.4g} {metric['unit']}".rstrip()
        elif metric and evidence["original_metric"] is not None:
            line += (
                f"; {metric['name']} in Keras {evidence['original_metric']:.4g} {metric['unit']} as it came, "
                f"{evidence['compressed_metric']:.4g} {metric['unit']} compressed"
            )
        if facts["deployment"]["host"]:
            per = facts["deployment"]["per"]
            line += f"; latencies are those of one {f'call of {per}' if per else 'answer'}"
        lines.append(line)
        lines += [f"    not exported: {what}: {why}" for what, why in facts["failures"].items()]
    return lines


def _reference(facts: dict[str, Any]) -> str:
    """Return what a model's artifacts were compared with; bundles of before that was told have Keras' answers."""
    return str(facts["evidence"].get("reference", KERAS))


def _deploy_line(report: Report, model: str, device: str) -> str:
    best = report.best(model, device)
    if not best:
        return f"{model} on {device}: nothing passes"
    return f"{model} on {device}: deploy {_name(best)}"


def _name(row: Row) -> str:
    return f"{row.format} {row.precision}"


def _mebibytes(memory: Figure | None) -> str:
    return "-" if memory is None else f"{memory.value / 2**20:.3g} MiB"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:.0f} kB" if size >= 10_000 else f"{size / 1000:.1f} kB"
