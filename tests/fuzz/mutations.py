"""Good files made bad: NIfTI headers and voxels, gzip streams, JSON, tables, safetensors and NumPy archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import string
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

Rng = np.random.Generator

INTEGERS = (0, 1, -1, 2, 7, 8, 127, 128, 255, 256, -32768, 32767, 2**31 - 1, -(2**31), 348, 540, 4, 16, 64, 512, 1024)
REALS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 3.4e38, -3.4e38, 1e-45, np.nan, np.inf, -np.inf, 0.5, 352.0, 1e9, 1e5, 51.0)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 255, 256, 2**31, 2**63, 2**64, 10**30, -(10**30), 1e308, -1e308, 1e-320, 0.5, 10**7, 10**9),
    *(float("nan"), float("inf"), -float("inf"), True, False, None),
)
TEXTS = (
    *("", " ", ".", "..", "../../escape", "/etc/passwd", "a\0b", "a\nb", "\ud800", "e\u0301\u202e", "\u8111/x", "-x"),
    *("x" * 300, "x" * 5000, "~", "$HOME", "%s{0}", "0", "1e5", "train", "background", "flair", ".nii.gz", ".png"),
)


def pick(rng: Rng, choices: Sequence[Any]) -> Any:
    """One of the choices, as it is."""
    return choices[int(rng.integers(len(choices)))]


def nasty_value(rng: Rng) -> Any:
    """A JSON value that few readers expect."""
    kind = rng.integers(6)
    if kind <= 1:
        return pick(rng, NUMBERS)
    if kind == 2:
        return pick(rng, TEXTS)
    if kind == 3:
        return [nasty_value(rng) for _ in range(int(rng.integers(4)))]
    if kind == 4:
        return {str(pick(rng, TEXTS)): nasty_value(rng) for _ in range(int(rng.integers(3)))}
    return pick(rng, ([], {}, [[]], [None], {"": None}, [0] * 50))


def mutated_json(content: Any, rng: Rng) -> tuple[str, bytes]:
    """JSON text of `content` with something wrong with it, and what."""
    if rng.random() < 0.25:
        return mutated_text(json.dumps(content).encode(), rng)
    content = json.loads(json.dumps(content))
    changes = [_change_node(content, rng) for _ in range(int(rng.integers(1, 3)))]
    if rng.random() < 0.03:
        content = nasty_value(rng)
    return "; ".join(changes), json.dumps(content).encode()


def _change_node(content: Any, rng: Rng) -> str:
    """Change one entry somewhere below a table or list, in place."""
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, path: str) -> None:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(entries):
            places.append((node, key, f"{path}/{key}"[:60]))
            walk(value, f"{path}/{key}")

    walk(content, "")
    if not places:
        return "nothing"
    node, key, path = pick(rng, places)
    kind = rng.integers(8)
    if kind == 0:
        del node[key]
        return f"without {path}"
    if kind == 1 and isinstance(node, dict):
        node[str(pick(rng, TEXTS))] = node[key]
        return f"beside {path}"
    if kind == 2 and isinstance(node, list):
        node.append(node[key])
        return f"twice {path}"
    if kind == 3:
        node[key] = [node[key]]
        return f"boxed {path}"
    if kind == 4 and isinstance(node[key], (int, float)):
        node[key] = node[key] * pick(rng, (-1, 1000, 10**6, 0.5)) + pick(rng, (0, 1, -1))
        return f"{path} = {node[key]!r}"
    node[key] = nasty_value(rng)
    return f"{path} = {node[key]!r}"[:120]


def other_number(content: Any, rng: Rng) -> str:
    """Change one number somewhere below a table or list, in place, for one of any size."""
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, path: str) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, dict | list):
                walk(value, f"{path}/{key}")
            elif type(value) in (int, float):
                places.append((node, key, f"{path}/{key}"))

    walk(content, "")
    node, key, path = pick(rng, places)
    if type(node[key]) is int:
        node[key] = int(pick(rng, (-1, 0, 1, 2, 3, 4, 5, 8, 16, 1000, 9999)))
    elif rng.random() < 0.3:
        node[key] = pick(rng, (0.0, 1.0, -1.0, 0.999, 5.0, 1e308, -1e308, 1e-320))
    else:
        node[key] = float(pick(rng, (1, 1, 1, -1)) * 10.0 ** rng.uniform(-12, pick(rng, (0, 12, 40))))
    return f"{path} = {node[key]!r}"


def mutated_text(text: bytes, rng: Rng) -> tuple[str, bytes]:
    """Bytes of a text file that were cut, flipped, blown up or put in another encoding."""
    kind = int(rng.integers(12))
    place = int(rng.integers(len(text) + 1))
    made: dict[int, Callable[[], bytes]] = {
        0: lambda: text[:place],
        1: lambda: text[:place] + bytes([int(rng.integers(256))]) + text[place + 1 :],
        2: lambda: text[:place] + b"\0" + text[place:],
        3: lambda: b"\xef\xbb\xbf" + text,
        4: lambda: text.decode("latin-1").encode("utf-16"),
        5: lambda: b"[" * 200_000,
        6: lambda: b'{"a":' * 100_000,
        7: lambda: text.replace(b"1", b"9" * 5000, 1),
        8: lambda: b"",
        9: lambda: bytes(rng.integers(0, 256, 300, dtype=np.uint8)),
        10: lambda: text[:place] + b"\xff\xfe" + text[place:],
        11: lambda: text + text,
    }
    return f"text {kind} at {place}", made[kind]()


def special_file(path: Path, rng: Rng) -> str:
    """Something at `path` that is no plain file."""
    path.unlink(missing_ok=True)
    kind = int(rng.integers(6))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        path.symlink_to(path.parent / "nowhere")
    else:
        path.touch()
    return f"special {kind}"


def nifti_bytes(data: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    """An uncompressed NIfTI-1."""
    return bytes(nib.Nifti1Image(data, affine).to_bytes())


def mutated_nifti(raw: bytes, path: Path, rng: Rng) -> tuple[str, Path]:
    """Write a NIfTI beside or at `path` (.nii.gz) with something wrong with it; returns what, and where it is."""
    kinds = ("field", "two", "bytes", "voxels", "stream", "whole", "shape")
    kind = str(rng.choice(kinds, p=[0.36, 0.1, 0.09, 0.09, 0.18, 0.09, 0.09]))
    if kind == "shape":
        what, raw = other_shape(rng)
    elif kind == "voxels":
        what, raw = _spoil_voxels(raw, rng)
    elif kind == "whole":
        return _other_thing(path, raw, rng), path
    else:
        what = ""
        for _ in range({"field": 1, "two": 2}.get(kind, 0)):
            note, raw = mutated_field(raw, rng)
            what += note
        if kind == "bytes":
            spoilt = bytearray(raw)
            for _ in range(int(rng.integers(1, 30))):
                spoilt[int(rng.integers(400))] = int(rng.integers(256))
            what, raw = "header bytes", bytes(spoilt)
    plain = rng.random() < 0.15
    if plain:
        path = path.with_suffix("")
        stream = raw[: int(rng.integers(len(raw)))] if kind == "stream" else raw
    else:
        stream = gzip.compress(raw, 1)
        if kind == "stream":
            what, stream = _spoil_stream(stream, rng)
    path.write_bytes(stream)
    return f"{kind}: {what}{' plain' if plain else ''}", path


def mutated_field(raw: bytes, rng: Rng) -> tuple[str, bytes]:
    """One header field set to something that it should not be."""
    names = nib.Nifti1Header.template_dtype.names
    weighty = ("dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "magic", "qform_code")
    weighty += ("sform_code", "srow_x", "srow_y", "srow_z", "sizeof_hdr", "quatern_b", "qoffset_x")
    name = pick(rng, weighty if rng.random() < 0.8 else names)
    header = np.frombuffer(raw[:348], nib.Nifti1Header.template_dtype).copy()
    array = header[name]
    kind = array.dtype.kind
    if kind in "iu":
        limits = np.iinfo(array.dtype)
        values = [value for value in INTEGERS if limits.min <= value <= limits.max]
        value: Any = pick(rng, values) if rng.random() < 0.7 else int(rng.integers(limits.min, limits.max))
    elif kind == "f":
        value = pick(rng, REALS)
    else:
        value = pick(rng, (b"", b"n+1", b"ni1", b"n+2", b"xxx", b"\xff" * 4, b"n+1\0"))
    if array.ndim > 1 and rng.random() < 0.85:
        place = int(rng.integers(array.shape[1]))
        array[0, place] = value
        name = f"{name}[{place}]"
    else:
        array[:] = value
    extension = raw[348:]
    if rng.random() < 0.05:
        extension = b"\1\0\0\0" + struct.pack("<ii", pick(rng, (-16, -1, 0, 8, 16, 2**31 - 1, 24)), 6) + raw[352:]
        name += " + extension"
    result = header.tobytes() + extension
    if rng.random() < 0.05:
        swapped = np.frombuffer(header.tobytes(), header.dtype).byteswap()
        result, name = swapped.tobytes() + extension, name + " swapped"
    return f"{name}={value!r} ", result


def other_shape(rng: Rng) -> tuple[str, bytes]:
    """A whole file of an unusual shape, type or placement."""
    shapes = ((1, 1, 1), (1,), (3, 3), (1, 1, 64), (64, 1, 1), (2, 2, 2, 2), (4, 4, 4, 1, 3), (5, 5, 5, 8), (999, 2, 2))
    kinds = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16", "rgb", "rgba", "f16", ">i2")
    shape, kind = pick(rng, shapes), pick(rng, kinds)
    affine = np.diag([*rng.choice([1.0, -1.0, 0.01, 49.0, 1e-6, 1e4, 2.0], 3), 1.0])
    affine[:3, 3] = rng.choice([0, 1e4, -1e7, 1e20, 50], 3)
    if rng.random() < 0.4:
        affine[:3, :3] = rng.normal(0, 1, (3, 3)) * rng.choice([1e-3, 1, 20])
    if kind in ("rgb", "rgba"):
        data = np.zeros(shape, np.dtype([(letter, "u1") for letter in kind.upper()]))
        data["G"] = rng.integers(0, 255, shape)
    else:
        dtype = np.longdouble if kind == "f16" else np.dtype(kind)
        data = rng.integers(0, 100, shape).astype(dtype)
        if data.dtype.kind in "fc" and rng.random() < 0.5:
            data.flat[0] = pick(rng, (np.nan, np.inf, 3e38, -1e30))
    try:
        return f"{shape} {kind}", bytes(nib.Nifti1Image(data, affine, dtype=data.dtype).to_bytes())
    except Exception:  # some affines cannot even be written
        return f"{shape} {kind} plain", bytes(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)).to_bytes())


def _spoil_voxels(raw: bytes, rng: Rng) -> tuple[str, bytes]:
    image = nib.Nifti1Image.from_bytes(raw)
    data = np.array(image.get_fdata(dtype=np.float64))
    kind = int(rng.integers(9))
    value = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e300, 255.0, 0.0, 1e-42)[kind]
    share = rng.choice([1e-4, 0.1, 1.0])
    data[rng.random(data.shape) < share] = value
    if rng.random() < 0.5:
        data *= pick(rng, (1e-30, 1e30, -1.0, 0.0, 1e-3, 1e6))
    with np.errstate(all="ignore"):
        data = data.astype(pick(rng, (np.float32, np.float64, np.int16, np.uint8, np.int32)))
    return f"{value} in {share:g} of {data.dtype}", bytes(nib.Nifti1Image(data, image.affine).to_bytes())


def _spoil_stream(stream: bytes, rng: Rng) -> tuple[str, bytes]:
    kind = int(rng.integers(5))
    if kind == 0:
        return "cut", stream[: int(rng.integers(len(stream)))]
    if kind == 1:
        return "cut late", stream[: len(stream) - int(rng.integers(1, 40))]
    spoilt = bytearray(stream)
    if kind == 2:
        for _ in range(int(rng.integers(1, 6))):
            spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
        return "flipped", bytes(spoilt)
    if kind == 3:
        spoilt[int(rng.integers(10))] = int(rng.integers(256))
        return "gzip header", bytes(spoilt)
    return "tail", stream + bytes(rng.integers(0, 256, int(rng.integers(1, 200)), dtype=np.uint8))


def _other_thing(path: Path, raw: bytes, rng: Rng) -> str:
    kind = int(rng.choice(7, p=[0.4, 0.13, 0.13, 0.13, 0.13, 0.03, 0.05]))
    if kind == 0:
        return special_file(path, rng)
    if kind == 1:
        path.write_bytes(bytes(rng.integers(0, 256, 2000, dtype=np.uint8)))
    elif kind == 2:
        path.write_bytes(gzip.compress(b"text" * 300))
    elif kind == 3:
        path.write_bytes(raw)
    elif kind == 4:
        path.write_bytes(gzip.compress(gzip.compress(raw)))
    elif kind == 5:
        shapes = ((1000, 1000, 1000), (512, 512, 500), (1024, 1024, 128), (16384, 8192, 1), (32767,) * 7)
        dtype, slope = pick(rng, ((np.float64, 0.0), (np.uint8, 2.0), (np.int16, 0.1), (np.uint8, 0.0)))
        path.write_bytes(bomb(pick(rng, shapes), dtype=dtype, slope=slope))
    else:
        extension, offset = pick(rng, (-16, -1, 2**31 - 1)), pick(rng, (1e9, 2e9, 352))
        path.write_bytes(bomb((64, 64, 64), extension, offset))
    return f"thing {kind}"


# A megabyte of zeros once compressed: repeated, it is a gzip stream of as many members, a thousandth of their size.
_ZEROS = gzip.compress(bytes(1 << 20), 9)


def bomb(
    shape: tuple[int, ...],
    extension: int | None = None,
    offset: float = 352.0,
    megabytes: int = 6000,
    dtype: DTypeLike = np.float64,
    slope: float = 0.0,
) -> bytes:
    """A small .nii.gz that claims `shape` and does expand to gigabytes; a slope of 0 stands for voxels as stored."""
    header = nib.Nifti1Header()
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header.set_data_dtype(dtype)
    header["pixdim"][1:4] = 1
    header["vox_offset"] = offset
    header["magic"] = b"n+1"
    header["scl_slope"] = slope
    header.set_sform(np.eye(4), 1)
    tail = b"\0\0\0\0" if extension is None else b"\1\0\0\0" + struct.pack("<ii", extension, 6)
    return gzip.compress(bytes(header.binaryblock) + tail) + _ZEROS * megabytes


def mutated_safetensors(content: bytes, rng: Rng) -> tuple[str, bytes]:
    """A tensor file whose header lies, or whose tensors are others."""
    import safetensors.torch
    import torch

    kind = int(rng.integers(10))
    size = struct.unpack("<Q", content[:8])[0]
    if kind == 0:
        lie = pick(rng, (0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1, len(content)))
        return f"header length {lie}", struct.pack("<Q", lie) + content[8:]
    if kind == 1:
        what, text = mutated_json(json.loads(content[8 : 8 + size]), rng)
        return f"header {what}", struct.pack("<Q", len(text)) + text + content[8 + size :]
    if kind == 2:
        return "cut", content[: int(rng.integers(len(content)))]
    if kind == 3:
        spoilt = bytearray(content)
        for _ in range(int(rng.integers(1, 20))):
            spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
        return "flipped", bytes(spoilt)
    tensors = safetensors.torch.load(content)
    key = pick(rng, sorted(tensors))
    if kind == 4:
        del tensors[key]
        what = f"without {key}"
    elif kind == 5:
        tensors["extra" if rng.random() < 0.5 else f"{key}.x"] = torch.ones(3)
        what = "extra"
    elif kind == 6:
        tensors[key] = tensors[key].flatten()[:-1].clone()
        what = f"{key} shorter"
    elif kind == 7:
        tensors[key] = tensors[key].to(pick(rng, (torch.int8, torch.float64, torch.bfloat16, torch.bool, torch.int64)))
        what = f"{key} {tensors[key].dtype}"
    elif kind == 8:
        tensors[key] = torch.full(tensors[key].shape, pick(rng, (float("nan"), float("inf"), 3e38, 0.0)))
        what = f"{key} = {tensors[key].flatten()[:1]}"
    else:
        tensors = {}
        what = "empty"
    return what, safetensors.torch.save(tensors)


def mutated_png(content: bytes, rng: Rng) -> tuple[str, bytes]:
    """A picture that was cut, spoilt or swapped for something else, or that claims another size."""
    spoilt = bytearray(content)
    kind = int(rng.integers(4))
    if kind == 0:
        return "cut", content[: int(rng.integers(len(content)))]
    if kind == 1:
        return "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n(/tmp/x) run\n"
    if kind == 2:
        size = pick(rng, ((0, 5), (2**31 - 1, 2), (60000, 60000), (13000, 13000), (1, 1)))
        spoilt[16:24] = b"".join(number.to_bytes(4, "big") for number in size)
        spoilt[29:33] = zlib.crc32(bytes(spoilt[12:29])).to_bytes(4, "big")
        return f"size {size}", bytes(spoilt)
    for _ in range(int(rng.integers(1, 8))):
        spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
    return "flipped", bytes(spoilt)


def mutated_npy(array: NDArray[Any], rng: Rng) -> tuple[str, bytes]:
    """A .npy file that is not what it says."""
    kind = int(rng.integers(9))
    buffer = io.BytesIO()
    if kind == 0:
        header = pick(
            rng,
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 100000, 100000), }",
                "{'descr': '<f8', 'fortran_order': False, 'shape': (8, 30000, 30000), }",
                "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
                "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8), }",
                "{'descr': 'nonsense', 'fortran_order': False, 'shape': (8,), }",
                "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (8,), }",
                "{'shape': (8,)}",
                "(" * 500,
                "[" * 20 + "1" + "]" * 20,
                "import os",
                "",
            ),
        )
        text = header.encode() + b" " * 64 + b"\n"
        return f"header {header[:60]}", b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + bytes(200)
    if kind == 1:
        np.save(buffer, array.astype(pick(rng, (np.float16, np.int64, np.complex64, np.bool_, np.uint8))))
        return "dtype", buffer.getvalue()
    if kind == 2:
        np.save(buffer, array[..., :-1])
        return "shape", buffer.getvalue()
    if kind == 3:
        np.save(buffer, np.array({"a": 1}, dtype=object), allow_pickle=True)
        return "pickle", buffer.getvalue()
    if kind == 4:
        np.savez(buffer, array)
        return "npz", buffer.getvalue()
    if kind == 5:
        spoilt = array.astype(np.float32)
        spoilt.flat[:: max(1, spoilt.size // 7)] = pick(rng, (np.nan, np.inf, -1.0, 1e30))
        np.save(buffer, spoilt.astype(array.dtype) if array.dtype.kind == "f" else spoilt)
        return "values", buffer.getvalue()
    np.save(buffer, array)
    if kind == 6:
        return "cut", buffer.getvalue()[: int(rng.integers(buffer.tell()))]
    if kind == 7:
        spoilt_bytes = bytearray(buffer.getvalue())
        spoilt_bytes[int(rng.integers(130))] = int(rng.integers(256))
        return "flipped", bytes(spoilt_bytes)
    return "empty", b""


def mutated_npz(array: NDArray[Any], rng: Rng) -> tuple[str, bytes]:
    """A .npz archive with something wrong with it."""
    what, member = mutated_npy(array, rng) if rng.random() < 0.7 else ("whole", _npy(array))
    kind = int(rng.integers(8))
    buffer = io.BytesIO()
    if kind == 0:
        return f"no archive, {what}", member
    method = pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for number in range(1 if kind < 6 else int(rng.integers(0, 4))):
            archive.writestr(pick(rng, ("pv.npy", "pv", "../pv.npy", "/pv.npy", f"{number}.npy")), member)
    packed = bytearray(buffer.getvalue())
    if kind == 1:
        for _ in range(int(rng.integers(1, 8))):
            packed[int(rng.integers(len(packed)))] ^= 1 << int(rng.integers(8))
        what += " flipped"
    elif kind == 2:
        packed = packed[: int(rng.integers(len(packed)))]
        what += " cut"
    elif kind == 3 and len(packed) > 60:
        directory = packed.rfind(b"PK\x01\x02")
        for start in (6, directory + 8):
            packed[start] |= 1
        what += " encrypted"
    elif kind == 4:
        directory = packed.rfind(b"PK\x01\x02")
        for start in (8, directory + 10):
            packed[start : start + 2] = struct.pack("<H", pick(rng, (1, 9, 97, 99)))
        what += " method"
    return what, bytes(packed)


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def mutated_table(rows: list[list[str]], rng: Rng) -> tuple[str, bytes]:
    """A TSV with cells, columns or bytes that are wrong."""
    rows = [list(row) for row in rows]
    what = []
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(9))
        row, column = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
        column = min(column, len(rows[row]) - 1)
        if kind <= 2:
            cells = (*TEXTS[:8], *TEXTS[9:], "../" * 30 + "x", "/dev/zero", "\u8111", '"', "a\tb")
            rows[row][column] = pick(rng, cells)
        elif kind == 3:
            rows[row] += ["more"] * int(rng.integers(1, 4))
        elif kind == 4 and len(rows[row]) > 1:
            del rows[row][column]
        elif kind == 5:
            rows.append(list(rows[row]))
        elif kind == 6 and len(rows) > 1:
            del rows[row]
        elif kind == 7:
            rows[0].append(rows[0][column % len(rows[0])])
        else:
            rows[row][column] = "".join(random.Random(int(rng.integers(2**31))).choices(string.printable, k=20))
        what.append(f"{kind} at {row},{column}")
    text = "\n".join("\t".join(row) for row in rows).encode("utf-8", "surrogatepass") + b"\n"
    if rng.random() < 0.2:
        try:
            note, text = mutated_text(text, rng)
        except UnicodeDecodeError:
            note = "surrogate"
        what.append(note)
    return "; ".join(what), text
