"""edgewright/held.py: what a process holds while it lives, and what becomes of it when it is killed."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.errors import GateFailed, InputError
from edgewright.files import new_folder
from edgewright.held import alone, held_folder, temporary_folder
from edgewright.main_job import defaults_of, run
from edgewright.training import train_experiment

_HOLDS = """
import sys
from pathlib import Path

from edgewright.files import new_folder
from edgewright.held import alone, temporary_folder

kind, place = sys.argv[1:]
with {"alone": alone, "new": new_folder, "temporary": lambda _: temporary_folder("test")}[kind](Path(place)) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


@contextmanager
def _holding(kind, place):
    """Another process that holds something: yield what it says of it; the process is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, kind, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(place)},
    )
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.kill()
        process.communicate()


def test_temporary_folders_of_killed_processes_are_cleared(tmp_path):
    """The next process removes what a killed one left, not what a live one holds nor what nobody holds by a lock."""
    (tmp_path / "edgewright-model-old").mkdir()
    with _holding("temporary", tmp_path) as (live, _):
        with _holding("temporary", tmp_path) as (killed, _):
            pass
        assert os.path.isdir(killed)
        with _holding("temporary", tmp_path) as (third, _):
            assert sorted(tmp_path.iterdir()) == sorted(
                [tmp_path / "edgewright-model-old", *map(type(tmp_path), (live, third))]
            )


def test_a_temporary_folder_is_gone_with_its_block():
    """Whatever ends the block, the folder and all that was written there are removed."""
    with pytest.raises(GateFailed), temporary_folder("test") as folder:
        (folder / "written").write_text("written")
        raise GateFailed("no")
    assert not folder.exists()


def test_an_output_is_written_by_one_process_at_a_time(tmp_path):
    """A second process is refused with the first one's number; one that was killed stands in nobody's way."""
    out = tmp_path / "build" / "out"
    with _holding("alone", out) as (_, number):
        with pytest.raises(InputError, match=rf"which another edgewright \(process {number}\) writes now"), alone(out):
            pass
        with pytest.raises(InputError, match="nobody else writes"):
            train_experiment("sparse", out=out)
        with pytest.raises(InputError, match="nobody else writes"):
            run(out, defaults_of(["sparse"]))
    assert not out.exists()
    with alone(out), alone(out):
        assert (out.parent / ".out.lock").exists()
    assert not (tmp_path / "build" / ".out.lock").exists()


def test_holding_an_output_leaves_nothing(tmp_path):
    """Folders that were made for the lock are gone where nothing was written in them, and stay where something was."""
    with alone(tmp_path / "empty" / "deep" / "out"):
        pass
    with alone(tmp_path / "full" / "out"):
        (tmp_path / "full" / "out").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_what_a_killed_process_left_beside_an_output_is_cleared(tmp_path):
    """A half-written folder is removed by who writes the same output next, unless its process lives."""
    out = tmp_path / "out"
    with _holding("new", out) as (live, _):
        with _holding("new", out) as (killed, _):
            pass
        assert os.path.isdir(killed)
        with new_folder(out) as folder:
            assert {path for path in tmp_path.iterdir() if path.is_dir()} == {folder, Path(live)}


def test_an_output_that_a_killed_process_had_moved_away_is_back(tmp_path):
    """Killed between moving the old folder away and the new one into its place, the old one is not lost."""
    old = tmp_path / ".out.old-killed"
    (old / "out").mkdir(parents=True)
    (old / "out" / "manifest.json").write_text('{"made_by": "edgewright"}')
    with pytest.raises(GateFailed), new_folder(tmp_path / "out"):
        raise GateFailed("no")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_that_is_cleared_before_it_is_held_is_made_anew(tmp_path, monkeypatch):
    """Who clears may take a new folder for one that was left: its maker then gets another."""
    made, mkdtemp = [], tempfile.mkdtemp

    def taken_at_once(*arguments, **more):
        made.append(mkdtemp(*arguments, **more))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr("tempfile.mkdtemp", taken_at_once)
    with held_folder(tmp_path, "made-") as folder:
        assert str(folder) == made[1] and folder.is_dir()


def test_a_report_does_not_outlive_the_bundles_that_it_is_of(tmp_path, monkeypatch):
    """A main job that is ended before its own report is written leaves none of an earlier one, of other bundles."""

    def ended(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgewright.main_job.load_recipe", ended)
    for name, text in {"manifest.json": '{"made_by": "edgewright", "kind": "run"}', "report.json": "{}"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, defaults_of(["sparse"]))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
