"""Files that appear whole or not at all."""

import os
import stat
import threading
from pathlib import Path

from edgewright.files import write_text


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    """What is no regular file, such as /dev/null, is never replaced by one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "whole")
    reader.join(timeout=30)
    assert read == ["whole"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_is_replaced_whole(tmp_path):
    """An existing file gets the new text, and nothing else is left in its folder."""
    path = tmp_path / "report.json"
    path.write_text("old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [Path(path)]
