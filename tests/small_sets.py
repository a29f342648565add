"""Small sets of pictures, written by the libraries that write such files elsewhere."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

COUNT, CLASSES = 12, ("ant", "bee", "cat")


def picture(i: int, kind: str = "JPEG") -> bytes:
    """Picture `i`: grey that grows from left to right around its own level, with sides of its own."""
    ramp = np.linspace(0, 40, 26 + i % 3, dtype=np.uint8)[None, :, None] + np.uint8(15 * i)
    return encoded(np.broadcast_to(ramp, (20, 26 + i % 3, 3)), kind)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields) -> None:
    """A member of an archive; `fields` of its header."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def write_tar(folder: Path, labels: bool = True) -> str:
    """Two archives in WebDataset's layout; the pattern that names them."""
    for shard in range(2):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as archive:
            for i in range(6 * shard, 6 * shard + 6):
                add(archive, f"train/{i:03d}.jpg", picture(i))
                if labels:
                    add(archive, f"train/{i:03d}.cls", str(i % 3).encode())
                add(archive, f"train/{i:03d}.txt", f"number {i}".encode())
                add(archive, f"train/{i:03d}.json", json.dumps({"at": {"place": i}}).encode())
    return f"tar:{folder}/{{0000..0001}}.tar"


def write_parquet(folder: Path, labels: bool = True) -> str:
    """Two files with the metadata that Hugging Face's `datasets` writes, of several row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
    fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("text", pa.string())]
    if labels:
        features["label"] = {"names": list(CLASSES), "_type": "ClassLabel"}
        fields.append(("label", pa.int64()))
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    for shard in range(2):
        ids = range(6 * shard, 6 * shard + 6)
        rows = {"image": [{"bytes": picture(i), "path": f"{i}.jpg"} for i in ids], "text": [f"number {i}" for i in ids]}
        rows |= {"label": [i % 3 for i in ids]} if labels else {}
        parquet.write_table(pa.table(rows, schema=schema), folder / f"train-{shard:05d}.parquet", row_group_size=4)
    return f"parquet:{folder}/train-*.parquet"


def write_arrayrecord(folder: Path, labels: bool = True) -> str:
    """Two files of msgpack maps, by ArrayRecord's own writer."""
    import msgpack
    from array_record.python.array_record_module import ArrayRecordWriter

    for shard in range(2):
        writer = ArrayRecordWriter(str(folder / f"train-{shard:05d}.array_record"), "group_size:1")
        for i in range(6 * shard, 6 * shard + 6):
            label = {"label": i % 3} if labels else {}
            writer.write(msgpack.packb({"image": picture(i), "text": f"number {i}", **label}))
        writer.close()
    return f"arrayrecord:{folder}/train-{{00000,00001}}.array_record"


WRITERS = {"tar": write_tar, "parquet": write_parquet, "arrayrecord": write_arrayrecord}
