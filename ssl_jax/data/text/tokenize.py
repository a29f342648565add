"""A corpus of any size -> files of tokens (`ssl-jax data tokenize`), which `data/sources/tokens.py` reads at random.

The corpus is cut into parts of a fixed size, and a part becomes a pair of files that depends on that part and the tokenizer
alone. So parts are made at the same time, here or on many machines (`begun` and `shard` are all of it), and what was killed goes
on where it was: the bytes are those of one that went through. A process holds one part and the longest document of it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import resumable
from ssl_jax.data.sources import manifest
from ssl_jax.data.sources.arrays import spread
from ssl_jax.data.sources.texts import Document, Empty, Part, Texts
from ssl_jax.data.sources.tokens import DOCUMENTS, ENTRY, FORMAT, TOKENIZER, TOKENS
from ssl_jax.data.text.tokenizer import encoded_all, load
from ssl_jax.data.text.train import asked, trained
from ssl_jax.data.text.vocabulary import Vocabulary, digest_of, located, read_tokenizer, vocabulary_of
from ssl_jax.errors import UserError

PART = 32 << 20  # bytes of text that become one file
SAMPLE = 64 << 20  # bytes of text that a tokenizer is trained on
_STRETCHES = 64  # of the corpus, evenly spread, that these are taken from
_BATCH = 1 << 20  # characters that are encoded at a time
_TOLD = 20  # bad documents of a part that are listed

Advance = Callable[[int], object]
_task: tuple[Texts, Job, Path]  # in a worker: what it was started for


@dataclass(frozen=True)
class Job:
    """What is made, and of what: jobs that are equal give the same bytes.

    source: what the corpus was called. tokenizer: "bpe:8192", or the digest of one that was given. part: bytes of text in a file.
    """

    source: str
    fingerprint: str
    tokenizer: str
    sentinels: int
    part: int


class Made(NamedTuple):
    """What is known of one part: its files with their SHA-256, what is in them, and what was left out."""

    files: dict[str, str]
    documents: int
    tokens: int
    bytes: int
    largest: int
    empty: int
    bad: int
    listed: list[dict[str, str]]


def job_of(source: Any, text: str, tokenizer: str, sentinels: int) -> Job:
    """The job for a source, which `text` names. UserError for one that holds no texts, or a tokenizer that is none."""
    if not isinstance(source, Texts):
        raise UserError(f"{text!r} holds no text ({type(source).__name__}); name text:, jsonl: or parquet_text:")
    if list(source.names) != ["tokens"]:
        raise UserError(f"text={source.text!r} names several fields; a document is one text, so name one of them")
    wanted = asked(tokenizer, sentinels)
    if wanted is None and sentinels:
        raise UserError(f"--sentinels {sentinels} is for a tokenizer that is trained; {tokenizer!r} stays as it is")
    return Job(text, source.fingerprint(), digest_of(tokenizer) if wanted is None else tokenizer, sentinels, PART)


def tokenize(
    source: Texts,
    job: Job,
    given: str,
    folder: Path,
    workers: int,
    most_bad: float,
    advance: Advance = lambda size: None,
) -> dict[str, Any]:
    """Make the files of `job` in `folder` with so many processes, but for those that are there and sound. Returns the manifest.

    given: the tokenizer as the user named it. most_bad: the share of documents that may be no UTF-8 or no JSON, and are left out.
    `advance` is told how many bytes of the corpus more are done.

    Raises:
      UserError: the folder holds something else, or is being written by another; no space; too many bad documents, or no text.
    """
    parts, done = source.parts(job.part), dict[int, Made]()
    with begun(source, job, given, folder, most_bad) as missing:
        for number in set(range(len(parts))).difference(missing):
            advance(size_of(source, parts[number]))
        for number, done[number] in _shards(source, job, folder, missing, workers):
            _require_good(done, most_bad, 4.0)
            advance(size_of(source, parts[number]))
    return manifest.read(folder, FORMAT)


@contextmanager
def begun(source: Texts, job: Job, given: str, folder: Path, most_bad: float) -> Iterator[list[int]]:
    """The folder with its tokenizer, held for the block, which makes the parts that are missing: their numbers. Then the manifest
    is written. Arguments and errors as in `tokenize`.
    """
    with resumable.held(folder, asdict(job), FORMAT):
        _make_tokenizer(source, job, given, folder)
        count = len(source.parts(job.part))
        done = _made(folder, count)
        yield [number for number in range(count) if number not in done]
        merged(source, job, folder, most_bad)
    resumable.forget(folder)


def shard(source: Texts, job: Job, folder: Path, number: int) -> Made:
    """Make the files of one part, and keep what is known of it. The tokenizer stands in the folder already."""
    parts = source.parts(job.part)
    name, words = f"{number:05d}-of-{len(parts):05d}", str(folder / TOKENIZER)
    found = _Found()
    try:
        texts = _texts(source, source.documents(parts[number]), found)
        encoded = _encoded(texts, load(words), found)
        tokens = np.concatenate([np.empty(0, np.uint32), *encoded]).astype(_dtype(vocabulary_of(read_tokenizer(words))))
        files = _written(folder, name, tokens, np.array(found.entries, ENTRY)) if len(tokens) else {}
        made = Made(files, len(found.entries), len(tokens), found.bytes, int(tokens.max(initial=0)), *found.left_out)
        resumable.note(folder, number, made._asdict())
    except (OSError, ValueError) as error:
        raise UserError(
            f"part {number} of {job.source} cannot be read or written ({error}); what is finished is kept"
        ) from error
    return made


def merged(source: Texts, job: Job, folder: Path, most_bad: float) -> dict[str, Any]:
    """The manifest of a folder in which every part is made, written. UserError where one is missing, or there is no text."""
    count = len(source.parts(job.part))
    made = _made(folder, count)
    if missing := [number for number in range(count) if number not in made]:
        raise UserError(
            f"{len(missing)} of {count} parts are not made, number {missing[0]} first; start the same command"
        )
    _require_good(made, most_bad)
    parts = [made[number] for number in range(count)]
    total = {key: sum(getattr(part, key) for part in parts) for key in ("documents", "tokens", "bytes", "empty", "bad")}
    if not total["documents"]:
        raise UserError(
            f"{job.source} has no document with text: {total['empty']} are empty, {total['bad']} cannot be read"
        )
    words = digest_of(str(folder / TOKENIZER))
    sums = [sha for part in parts for _, sha in sorted(part.files.items())]
    said = {
        "format": FORMAT,
        "plan": asdict(job),
        **total,
        "largest": max(part.largest for part in parts),
        "vocabulary": vocabulary_of(read_tokenizer(str(folder / TOKENIZER))).size,
        "tokenizer": words,
        "digest": hashlib.sha256(" ".join([words, *sums]).encode()).hexdigest(),
        "parts": [part._asdict() for part in parts],
    }
    resumable.put(folder / manifest.NAME, json.dumps(said, indent=1).encode())
    return said


def size_of(source: Any, part: Part) -> int:
    """How many bytes of the corpus a part is; of Parquet files, records."""
    return part.stop - part.start or sum(shard.size for shard in source.shards[part.first : part.last])


def documents_of(source: Texts, most: int) -> Iterator[str]:
    """Texts of about `most` bytes in all, from stretches of the corpus that are evenly spread."""
    parts = source.parts(max(PART // 32, 1))
    chosen = [parts[int(i)] for i in spread(len(parts), _STRETCHES)]
    for part in chosen:
        left = most // len(chosen)
        for text, size in _texts(source, source.documents(part), _Found()):
            yield text
            left -= size
            if left <= 0:
                break


class _Found:
    """What reading the documents of a part brings to light."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, int]] = []
        self.bytes, self.end, self.empty, self.bad = 0, 0, 0, 0
        self.listed: list[dict[str, str]] = []

    @property
    def left_out(self) -> tuple[int, int, list[dict[str, str]]]:
        """How many were empty and how many bad, and the first of the latter."""
        return self.empty, self.bad, self.listed

    def add(self, count: int, size: int, text: str) -> None:
        """A document of so many tokens and bytes."""
        if not count:  # nothing that the tokenizer knows
            self.empty += 1
            return
        self.end += count
        self.bytes += size
        self.entries.append((self.end, size, _hash(text)))

    def refuse(self, document: Document, reason: str) -> None:
        """A document that cannot be read."""
        self.bad += 1
        if len(self.listed) < _TOLD:
            self.listed.append({"name": document.name, "reason": reason})


def _texts(source: Texts, documents: Iterator[Document], found: _Found) -> Iterator[tuple[str, int]]:
    """The texts of documents, and how many bytes each has in UTF-8."""
    for document in documents:
        if document.fields is None:
            found.refuse(document, document.reason)
            continue
        try:
            text = source.text_of(document.fields, source.names["tokens"])
        except Empty:
            found.empty += 1
        except ValueError as error:
            found.refuse(document, str(error))
        else:
            yield text, len(text.encode())


def _encoded(texts: Iterator[tuple[str, int]], tokenizer: Any, found: _Found) -> Iterator[np.ndarray]:
    """The tokens of documents, several at a time."""
    for batch in _batches(texts):
        for (text, size), ids in zip(batch, encoded_all(tokenizer, [text for text, _ in batch]), strict=True):
            found.add(len(ids), size, text)
            yield np.array(ids, np.uint32)


def _batches(texts: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    held: list[tuple[str, int]] = []
    letters = 0
    for text, size in texts:
        held.append((text, size))
        letters += len(text)
        if letters >= _BATCH:
            yield held
            held, letters = [], 0
    yield held


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _dtype(words: Vocabulary) -> type[np.unsignedinteger[Any]]:
    return np.uint16 if words.size <= 1 << 16 else np.uint32


def _written(folder: Path, name: str, tokens: np.ndarray, entries: np.ndarray) -> dict[str, str]:
    """Both files of a part, and their SHA-256."""
    for suffix, array in ((TOKENS, tokens), (DOCUMENTS, entries)):
        path = folder / f"{name}{suffix}"
        with resumable.beside(path) as new:
            with new.open("wb") as file:
                np.save(file, array)
            resumable.sync(new)
            os.replace(new, path)
    return {f"{name}{suffix}": resumable.sha256(folder / f"{name}{suffix}") for suffix in (TOKENS, DOCUMENTS)}


def _make_tokenizer(source: Texts, job: Job, given: str, folder: Path) -> None:
    """Put the tokenizer into the folder: trained, or as it was given. One that is there stays."""
    path = folder / TOKENIZER
    if path.exists():
        return
    wanted = asked(given, job.sentinels)
    if wanted is None:
        vocabulary_of(read_tokenizer(given)).require("end", by="a corpus of several texts")
        resumable.put(path, located(given).read_bytes())
        return
    texts = documents_of(source, SAMPLE)
    first = next(texts, None)
    if first is None:
        raise UserError(f"{job.source}: no text to train {given} on; its documents are empty or no UTF-8")
    resumable.put(path, trained(wanted, _chained(first, texts)).to_str().encode())


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _made(folder: Path, count: int) -> dict[int, Made]:
    """What is known of the parts whose files are there and sound."""
    found: dict[int, Made] = {}
    for number, known in resumable.sound(folder, count, FORMAT).items():
        with suppress(TypeError):  # what somebody else wrote there
            found[number] = Made(**known)
    return found


def _require_good(done: dict[int, Made], most_bad: float, deviations: float = 0.0) -> None:
    """UserError where more documents are bad than the share allows, by so many standard deviations and as many documents."""
    bad = sum(made.bad for made in done.values())
    allowed = most_bad * (bad + sum(made.documents for made in done.values()))
    if bad > allowed + deviations * (allowed**0.5 + 1):
        first = next(made.listed[0] for _, made in sorted(done.items()) if made.bad)
        raise UserError(
            f"{bad} documents cannot be read, {first['name']!r} first ({first['reason']}); repair or remove them, or raise "
            f"--max-bad-fraction {most_bad:g}: they are left out"
        )


# --- processes


def _shards(source: Texts, job: Job, folder: Path, numbers: list[int], workers: int) -> Iterator[tuple[int, Made]]:
    """`shard` of each number, as they are done."""
    if min(workers, len(numbers)) <= 1:
        yield from ((number, shard(source, job, folder, number)) for number in numbers)
        return
    with _pool(source, job, folder, min(workers, len(numbers))) as pool:
        futures = {pool.submit(_shard, number): number for number in numbers}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "a process that tokenises was killed (a lack of memory is the usual reason); what is finished is kept: "
                    "start the same command with fewer --workers"
                ) from error


@contextmanager
def _pool(source: Texts, job: Job, folder: Path, workers: int) -> Iterator[ProcessPoolExecutor]:
    begin = (source, job, folder, os.getpid())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(source: Texts, job: Job, folder: Path, parent: int) -> None:
    """In a worker, once. Ctrl-C is the command's; a worker ends when the command is no more."""
    global _task
    _task = source, job, folder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a core for each process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _shard(number: int) -> Made:
    return shard(*_task, number)
