"""The systemd unit of a service: systemd's rules lead back from its text to what was meant."""

import os
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgewright.devices._service_unit import unit_text
from edgewright.errors import InputError

# systemd's way from a line to arguments, after its documentation: systemd.syntax(7), systemd.service(5) "Command lines"
# and systemd.unit(5) "Specifiers".


def _split(line):
    """Unquote a command line: double quotes, backslashes in them."""
    words, place = [], 0
    while place < len(line):
        assert line[place] == '"'
        place, word = place + 1, ""
        while line[place] != '"':
            if line[place] == "\\":
                place += 1
                assert line[place] in '\\"'
            word += line[place]
            place += 1
        words.append(word)
        place += 1
        assert line[place : place + 1] in ("", " ")
        place += 1
    return words


def _specified(text):
    """Replace specifiers: ``%%`` is one percent sign, and nothing else may come."""
    assert "%" not in text.replace("%%", "")
    return text.replace("%%", "%")


def _expanded(text):
    """Replace variables: ``$$`` is one dollar sign, and nothing else may come."""
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)


@given(TEXTS, st.lists(TEXTS, max_size=4), TEXTS, TEXTS)
@example("bin/a b", ["%n", "$HOME", "${X}", "a\\", '"', "'", ";", "", " "], "srv/%h $a\\", "50 % of it")
@example("x", [], "ends in space ", "x")
def test_a_unit_says_what_was_meant(program, arguments, folder, description):
    """Whatever letters a command, folder and description have, systemd's rules lead back to them."""
    program, folder, description = f"/{program}", f"/{folder}", description.rstrip("\\")
    lines = unit_text([program, *arguments], folder, description).split("\n")
    assert lines[0] == "[Unit]" and not any(line.endswith("\\") for line in lines)
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    words = [_specified(word) for word in _split(fields["ExecStart"])]
    assert [words[0], *map(_expanded, words[1:])] == [program, *arguments]
    assert fields["WorkingDirectory"].strip() == fields["WorkingDirectory"]
    assert _specified(fields["WorkingDirectory"]).rstrip("/") == folder.rstrip("/")
    assert _specified(fields["Description"]) == description


@pytest.mark.parametrize(
    ("command", "folder", "description"),
    [
        (["python3"], "/a", "a"),
        ([], "/a", "a"),
        (["/a"], "a", "a"),
        (["/a", "b\nExecStartPre=/c"], "/a", "a"),
        (["/a"], "/a\rb", "a"),
        (["/a"], "/a", "a\0"),
        (["/a", "\udcff"], "/a", "a"),
        (["/a"], "/a", "a\\"),
    ],
)
def test_what_cannot_stand_in_a_unit_is_refused(command, folder, description):
    """Relative paths, line ends and text that is no UTF-8 are errors before anything is written."""
    with pytest.raises(InputError, match="Expected .* Got: "):
        unit_text(command, folder, description)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="asks systemd itself: apt-get install systemd")
def test_systemd_accepts_the_unit(tmp_path):
    """The check of systemd has nothing to say about a unit with spaces, signs and quotes."""
    folder = tmp_path / "50 % of $it"
    folder.mkdir()
    program = folder / "run it.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "edgewright-small.service"
    unit.write_text(unit_text([str(program), "a b", "%n", "$HOME", "it's", '"', "a\\", ";"], str(folder), "50 % off"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert not said, said
    assert done.returncode == 0, done.stderr
    unit.write_text(unit.read_text().replace("Restart=on-failure", "Restart=perhaps"))
    wrong = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert "perhaps" in wrong.stdout + wrong.stderr  # which it reads at all
