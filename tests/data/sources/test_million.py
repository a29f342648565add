"""A folder of a million pictures: listed once, and at the next start only asked whether it changed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

START = """
import json, resource, sys, time
from ssl_jax.data.sources import ImageFolder
begun = time.perf_counter()
source = ImageFolder(sys.argv[1], size=224)
listed = time.perf_counter() - begun
fingerprint = source.fingerprint()
print(json.dumps({"records": len(source), "listed": listed, "with_fingerprint": time.perf_counter() - begun,
                  "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "fingerprint": fingerprint}))
"""


def fill(root: Path, folders: int, files: int) -> None:
    """Class folders of sparse files of 100 kB."""
    for c in range(folders):
        folder = root / f"n{c:08}"
        folder.mkdir()
        for i in range(files):
            file = os.open(folder / f"n{c:08}_{i}.JPEG", os.O_CREAT | os.O_WRONLY)
            os.ftruncate(file, 100_000)
            os.close(file)
    time.sleep(2.5)  # what changed a moment ago is not kept


def started(root: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", START, str(root)], capture_output=True, text=True, check=True, timeout=300
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_second_start_of_a_million_files_takes_two_seconds_and_300_megabytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_JAX_DATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "root").mkdir()
    fill(tmp_path / "root", 1000, 1000)
    first, second = started(tmp_path / "root"), started(tmp_path / "root")
    (tmp_path / "root/n00000500/n00000500_7.JPEG").rename(tmp_path / "root/n00000500/new.JPEG")
    third = started(tmp_path / "root")
    print(json.dumps([first, second, third], indent=1))
    assert first["records"] == second["records"] == 1_000_000
    assert second["fingerprint"] == first["fingerprint"] != third["fingerprint"]
    assert second["listed"] < 2
    assert max(first["megabytes"], second["megabytes"], third["megabytes"]) < 300
