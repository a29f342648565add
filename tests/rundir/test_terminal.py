"""What a command prints never changes what it did: exit codes, whoever reads."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_jax.rundir import terminal

ROOT = Path(__file__).parents[2]


def ran(words: str, redirected: str, **env: str) -> subprocess.CompletedProcess:
    command = f"exec {sys.executable} -c '{words}' {redirected}"
    return subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **env}
    )


DONE = "import sys; from ssl_jax.rundir import terminal as t; t.prepare(); t.tell(chr(177)); t.finish(); sys.exit(0)"
SHOWN = 'import sys; from ssl_jax import cli; sys.exit(cli.main(["recipes"]))'
REFUSED = 'import sys; from ssl_jax import cli; sys.exit(cli.main(["eval"]))'
OPENED = "import os, sys; from ssl_jax.rundir import terminal as t; t.prepare(); sys.exit(os.open(os.devnull, 0) < 3)"


@pytest.mark.parametrize(
    ("words", "redirected", "code", "said"),
    [
        (
            DONE,
            "> /dev/full",
            0,
            "ssl-jax: what was done stands, but cannot be printed here: No space left on device\n",
        ),
        (DONE, ">&-", 0, ""),
        (DONE, "> /dev/full 2>&-", 0, ""),
        (SHOWN, "> /dev/full", 2, "ssl-jax: nothing can be printed here: No space left on device\n"),
        (REFUSED, "2>&-", 2, ""),
        (REFUSED, "2> /dev/full", 2, ""),
        (OPENED, "<&- >&- 2>&-", 0, ""),  # no file of a run is one of the first three
    ],
)
def test_exit_codes_where_nothing_can_be_printed(words, redirected, code, said):
    done = ran(words, redirected)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_reader_that_left_changes_no_exit_code():
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    done = subprocess.run([sys.executable, "-c", DONE], stdout=reader.stdin, stderr=subprocess.PIPE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("ascii", "80.1 ± 0.3 →", b"80.1 +- 0.3 ->"),
        ("ascii", "ü", b"?"),
        ("latin-1", "±→", b"\xb1->"),
        ("utf-8", "±", "±".encode()),
        ("utf-8", "caf\udce9", b"caf\xe9"),  # a name that is not UTF-8 is printed as it is
        ("utf-8", "\ud800", b"?"),
    ],
)
def test_what_a_terminal_has_no_letter_for_is_written_otherwise(monkeypatch, encoding, text, written):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    terminal.prepare()
    terminal.tell(text)
    assert stream.buffer.getvalue() == written + b"\n"
    assert sys.stderr.fileno() == 2
