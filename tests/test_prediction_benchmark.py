"""benchmarks/: the rows and networks that the prediction is fitted to, and what is left out where it is judged."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def _holds(script):
    """Run lines beside the benchmarks, whose modules are imported by their own names; they end in what has to hold."""
    script = f"import sys; sys.path.insert(0, sys.argv[1]); {script}"
    done = subprocess.run([sys.executable, "-c", script, BENCHMARKS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_shipped_speeds_are_those_that_the_script_fits():
    """speeds.json holds what benchmarks/fit_speeds.py finds in the rows that are kept beside it."""
    script = (
        "import fit_speeds as f;"
        "from edgewright.devices._fitted import document;"
        "s = [e for e in f.all_series() if f.on_processor(e)]; factors = f.pooled(f.general(s));"
        "pairs = list(zip(f.WANTED, document()['speeds'], strict=True));"
        "made = [(f._named(f.speeds_for(w, s, factors)[1].ms), e['calibration']['ms']) for w, e in pairs];"
        "assert all(abs(m[k] / e[k] - 1) < 0.01 for m, e in made for k in e), made"
    )
    _holds(script)


def test_what_is_expected_comes_of_the_same_kernels_where_two_cores_ran_them():
    """XNNPACK's rows stand for themselves once they are of two cores; before, other kernels' rows join them."""
    script = (
        "import _fitted as f; import fit_speeds as s;"
        "known = [e for e in s.general(f.all_series()) if e.kind == 'float32' and len(e.models) >= 6];"
        "own = f._of_kernels(known, 'xnnpack');"
        "assert {e.kernels for e in own} == {'xnnpack'} and len({f._core(e) for e in own}) >= 2;"
        "one = [e for e in known if e.kernels != 'xnnpack' or e.device == 'Raspberry Pi 5'];"
        "joined = f._of_kernels(one, 'xnnpack');"
        "assert {e.kernels for e in joined} == {'xnnpack', 'others'};"
        "assert all(e.kernels == 'xnnpack' for e in joined if e.device == 'Raspberry Pi 5')"
    )
    _holds(script)


def test_no_row_does_more_than_its_threads_can():
    """Products that no kernel saves take a row at least what the vector units of its cores take for them."""
    script = (
        "import numpy as np; import _fitted as f;"
        "from edgewright.devices._speeds import _IRREDUCIBLE as kinds;"
        "at = [f.COUNTS.index(kind) for kind in kinds];"
        "series = [e for e in f.all_series() if f.on_processor(e)];"
        "least = [np.max(e.counts[:, at] @ f.datasheet(e)[at] / e.latency_ms) for e in series];"
        "assert 0.5 < max(least) < 1, series[int(np.argmax(least))].title"
    )
    _holds(script)


def test_what_a_model_does_on_narrower_numbers_streams_less():
    """A network's bytes at int8 are a quarter, and of a tensor of four MiB at float32 nothing is streamed any more."""
    script = (
        "import numpy as np; import _fitted as f; at = f.COUNTS.index;"
        "moving = [at(name) for name in ('inputs', 'outputs', 'moved', 'streamed')];"
        "wide, half, narrow = (f.counts_of('mobilenet-v1-1.0-224', kind) for kind in ('fp32', 'fp16', 'int8'));"
        "total = wide[moving].sum();"
        "np.testing.assert_allclose([half[moving].sum(), narrow[moving].sum()], [total / 2, total / 4]);"
        "assert wide[at('streamed')] > 4 * half[at('streamed')] > narrow[at('streamed')] == 0;"
        "assert wide[at('pointwise')] == narrow[at('pointwise')]"
    )
    _holds(script)


def test_no_row_of_a_model_that_is_left_out_is_fitted():
    """Leaving a family out takes every row of it, in every series, its duplicates in other sources included."""
    script = (
        "import prediction as p;"
        "out = p._is_of('mobilenet-v2'); series = p.general(p.all_series());"
        "left = p._without(series, out);"
        "had = [m for e in series for m in e.models]; has = [m for e in left for m in e.models];"
        "assert any(map(out, had)) and not any(map(out, has));"
        "assert all(len(e.models) == len(e.counts) == len(e.latency_ms) for e in left)"
    )
    _holds(script)
