"""What .pt files may ask of torch's reader: small ones that would fill the memory or never come to an end."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import resource
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from annotator_weights import random_tensors, sam2_shapes
from sentences import one_sentence

from systems.common.errors import CheckpointError
from systems.common.weights.files import read_pt

# The seconds after which a reader counts as stuck.
PATIENCE = 20
# The megabytes that reading a small file may take.
MEMORY = 300


def doubled(times: int) -> bytes:
    """A tuple of twice the same tuple, and so on: its hash takes 2 ** times steps."""
    return b")" + b"".join(b"q%ch%c\x86" % (number, number) for number in range(times))


def pad_attention_mask(times: int) -> bytes:
    """The same of a hundred times the same tuple."""
    return b"(" * times + b")" + b"".join(b"q%c" % number + b"h%c" % number * 99 + b"t" for number in range(times))


def call(name: str, arguments: bytes) -> bytes:
    module, function = name.rsplit(".", 1)
    return f"c{module}\n{function}\n".encode() + arguments + b"R"


def colliding(count: int) -> bytes:
    """A dictionary of numbers of one hash, each of which is compared with all before it."""
    numbers = ((2**61 - 1) * number for number in range(1, count + 1))
    return b"}(" + b"".join(pickle.dumps(number, protocol=2)[2:-1] + b"N" for number in numbers) + b"u"


def listed(item: bytes) -> bytes:
    """A list of one as the only argument."""
    return b"]" + item + b"a\x85"


HANGS = {
    "a tuple as a key": b"}" + doubled(45) + b"Ns",
    "a tuple among keys": b"}(" + doubled(45) + b"NK\x01Nu",
    "a tuple in a set": call("builtins.set", listed(doubled(45))),
    "a tuple to count": call("collections.Counter", listed(doubled(45))),
    "a tuple in an ordered dictionary": call("collections.OrderedDict", listed(doubled(45) + b"N\x86")),
    "a wide tuple as a key": b"}" + pad_attention_mask(9) + b"Ns",
    "a shape as a key": b"}" + call("torch.Size", b"(" + b"K\x01" * 9 + b"t\x85") + doubled(45) + b"\x86Ns",
    "numbers of one hash": colliding(100_000),
}
FILLS = {
    "bytes": call("builtins.bytearray", b"J\xff\xff\xff\x7f\x85"),
    "a tensor": call("torch.FloatTensor", b"J\x00\x00\x00\x40\x85"),
}


def archive(path: Path, pickled: bytes, name: str = "data.pkl") -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for entry, content in ((name, pickled), ("version", b"3\n"), ("byteorder", b"little")):
            made.writestr(f"a/{entry}", content)
    return path


def old(path: Path, pickled: bytes) -> Path:
    """The format of before torch 1.6."""
    written = io.BytesIO()
    torch.save({}, written, _use_new_zipfile_serialization=False)
    written.seek(0)
    for _ in range(3):
        pickle.load(written)
    path.write_bytes(written.getvalue()[: written.tell()] + pickled + pickle.dumps([], protocol=2))
    return path


FORMATS: dict[str, Callable[[Path, bytes], Path]] = {
    "archive": archive,
    "capitals": lambda path, pickled: archive(path, pickled, "DATA.PKL"),
    "old": old,
}


def measured(path: Path, sender) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = repr(read_pt(path))
    except CheckpointError as error:
        found = str(error)
    sender.send((found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10))


def read_apart(path: Path) -> str:
    """What another process says of the file, which may not take long or much memory."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measured, args=(path, sender))
    process.start()
    try:
        assert receiver.poll(PATIENCE), "the reader is stuck"
        found, megabytes = receiver.recv()
    finally:
        process.kill()
        process.join()
    assert megabytes < MEMORY, f"reading took {megabytes} MB"
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("steps", [*HANGS, *FILLS])
def test_small_files_that_cost_much(tmp_path, form, steps):
    path = FORMATS[form](tmp_path / "connector.pt", b"\x80\x02" + {**HANGS, **FILLS}[steps] + b".")
    assert "is not a file of plain tensors" in one_sentence(read_apart(path))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("entry", ["data/0", "data.pkl", "other"])
def test_an_archive_that_unpacks_to_a_gigabyte(tmp_path, entry):
    """A megabyte of compressed zeros."""
    plain = tmp_path / "plain.pt"
    torch.save({"weight": torch.ones(4, 2), "bias": torch.ones(4)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as made:
        for name in source.namelist():
            if not name.endswith(entry):
                made.writestr(name, source.read(name))
        with made.open(f"plain/{entry}", "w", force_zip64=True) as large:
            for _ in range(1 << 6):
                large.write(bytes(1 << 24))
    assert (tmp_path / "a.pt").stat().st_size < 2 << 20
    assert "is not a file of plain tensors" in one_sentence(read_apart(tmp_path / "a.pt"))


def test_an_archive_whose_entries_share_their_bytes(tmp_path):
    """Stored, so that each is as long as it says, but all in the same place."""
    path = tmp_path / "a.pt"
    torch.save({"weight": torch.ones(1000, 2), "bias": torch.ones(1000)}, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as source:
        shared = source.getinfo("a/data/0")
    with zipfile.ZipFile(path, "a") as made:
        for number in range(100):
            copy = zipfile.ZipInfo(f"a/data/{number + 10}")
            copy.header_offset, copy.CRC = shared.header_offset, shared.CRC
            copy.compress_size = copy.file_size = shared.file_size
            made.filelist.append(copy)
            made._didModify = True
    assert path.stat().st_size < len(content) + (10 << 10)
    with pytest.raises(CheckpointError, match="is not a file of plain tensors"):
        read_pt(path)


@pytest.mark.parametrize(
    "kind, is_archive",
    [
        *((kind, form) for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16) for form in (0, 1)),
        (torch.float8_e4m3fn, 1),  # torch itself cannot read these from its old format
    ],
)
@pytest.mark.parametrize("made", [dict, OrderedDict])
def test_plain_tensors_are_read(tmp_path, is_archive, kind, made):
    """Also parameters, views, tensors that share memory, those without dimensions, and a state dict's own notes."""
    base = torch.arange(12.0).reshape(3, 4).to(kind)
    state = made(a=base, b=base[1:], c=base.T, d=base[0, 0], e=torch.nn.Parameter(base, requires_grad=False))
    if made is OrderedDict:
        state._metadata = OrderedDict({"": {"version": 1}})
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=bool(is_archive))
    found = read_pt(tmp_path / "a.pt")
    assert list(found) == list(state)
    assert all(torch.equal(found[name].float(), value.float()) for name, value in state.items())


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_whole_model_is_read(tmp_path, is_archive):
    state = random_tensors(sam2_shapes("tiny"))
    torch.save({"model": state}, tmp_path / "a.pt", _use_new_zipfile_serialization=is_archive)
    assert read_pt(tmp_path / "a.pt").keys() == state.keys()


def test_ten_thousand_tensors_are_read(tmp_path):
    torch.save({f"some.blocks.{number}.weight": torch.ones(1) for number in range(10_000)}, tmp_path / "a.pt")
    assert len(read_pt(tmp_path / "a.pt")) == 10_000
