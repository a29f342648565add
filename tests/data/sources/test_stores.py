"""Tar and Parquet files in a store are read in pieces; the others say that they are not."""

import os
import subprocess
import sys

import numpy as np
import pytest
from small_sets import COUNT, WRITERS, write_parquet, write_tar

from ssl_jax.data import kept, stores
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened

SIZE = 16
WHERE = {"tar": "{0000..0001}.tar", "parquet": "train-*.parquet", "arrayrecord": "train-*.array_record"}


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The sets below `s3://bucket/`, by a file system in memory that counts the bytes that are read in pieces."""
    import fsspec

    monkeypatch.setenv(kept.WHERE, str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")

    class Client:
        read = 0

        def glob(self, address, detail):
            found = memory.glob(address.removeprefix("s3:/"), detail=True)
            return {name: about | {"name": name.lstrip("/")} for name, about in found.items()}

        def info(self, address):
            return memory.info(address.removeprefix("s3:/")) | {"name": address.removeprefix("s3://")}

        def cat_file(self, address, start, end):
            self.read += end - start
            return memory.cat_file(address.removeprefix("s3:/"), start=start, end=end)

        def open(self, address, mode):
            return memory.open(address.removeprefix("s3:/"), mode)

    client = Client()
    monkeypatch.setattr(stores, "client_of", lambda address: client)
    for kind, write in WRITERS.items():
        folder = tmp_path / kind
        folder.mkdir()
        write(folder)
        for path in folder.iterdir():
            memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    yield client, tmp_path
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_records_of_a_store_are_those_of_the_disk(bucket, kind):
    client, folder = bucket
    here = opened(f"{kind}:{folder / kind / WHERE[kind]}", "x", size=SIZE)
    there = opened(f"{kind}:s3://bucket/{WHERE[kind]}", "x", size=SIZE)
    assert (len(there), there.classes) == (COUNT, here.classes)
    for i in reversed(range(COUNT)):
        assert there.name_of(i) == here.name_of(i)
        for field, value in here[i].items():
            np.testing.assert_array_equal(there[i][field], value)
    before = client.read
    again = opened(f"{kind}:s3://bucket/{WHERE[kind]}", "x", size=SIZE)
    assert again.fingerprint() == there.fingerprint()
    assert client.read - before < 600_000  # the ends of the files; where the members of a tar lie is known


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "arrayrecord:s3://bucket/train-*.array_record",
            "ArrayRecord files are not read from a store.*tar: and parquet: are",
        ),
        ("tar:s3://bucket/nothing*.tar", "names no files"),
        ("tar:s3://bucket/nothing.tar", "cannot be read: FileNotFoundError"),
        ("tar:s3://bucket", "is no address that data are read from"),
        ("tar:https://example.org/x.tar", "is no address that data are read from"),
    ],
)
def test_what_is_not_read_from_a_store_is_said(bucket, name, told):
    with pytest.raises(UserError, match=told):
        opened(name, "x", size=SIZE)


def test_blocks_give_the_same_bytes_and_are_fetched_once(monkeypatch):
    monkeypatch.setattr(stores, "_BLOCK", 10)
    data, fetched = bytes(range(95)), []
    read = stores.in_blocks(lambda at, n: fetched.append((at, n)) or data[at : at + n], len(data))
    assert all(read(at, n) == data[at : at + n] for at in range(90) for n in (0, 1, 5))
    assert read(3, 40) == data[3:43]
    assert fetched[:9] == [(10 * i, 10) for i in range(9)]


SCRIPT = """
import sys
from pathlib import Path
from ssl_jax.data import stores
from ssl_jax.recipe.sources import opened

scheme, folder = sys.argv[1:]
client = stores.client_of(f"{scheme}://bucket/x")
for path in Path(folder).iterdir():
    client.pipe("bucket/d/" + path.name, path.read_bytes())
for name in (f"tar:{scheme}://bucket/d/{{0000..0001}}.tar", f"parquet:{scheme}://bucket/d/train-*.parquet"):
    source = opened(name, "x", size=16)
    print(len(source), [int(source[i]["label"]) for i in range(len(source))])
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_an_emulated_store(tmp_path, scheme):
    sys.path.insert(0, str(os.path.join(os.path.dirname(__file__), "..", "..", "faults")))
    from store_servers import Server, absent

    if absent(scheme):
        pytest.skip(f"needs {absent(scheme)}")
    server = Server(scheme, tmp_path)
    try:
        (tmp_path / "data").mkdir()
        write_tar(tmp_path / "data")
        write_parquet(tmp_path / "data")
        env = os.environ | server.env | {"PYTHONPATH": os.pathsep.join(sys.path), kept.WHERE: str(tmp_path / "cache")}
        command = [sys.executable, "-c", SCRIPT, scheme, str(tmp_path / "data")]
        said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert said.stdout.splitlines() == [f"{COUNT} {[i % 3 for i in range(COUNT)]}"] * 2, said.stderr
    finally:
        server.close()
