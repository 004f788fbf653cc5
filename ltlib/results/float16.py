"""Weights in half the bytes, for the wheel. Only the standard library is used, because the build of the wheel calls it.

A safetensors file is eight bytes with the length of its header, the header in JSON, and the values of all tensors. Here
float32 tensors become float16, and everything else stays. The new header says what the copy was made from and the
checksum of the copy's own values.
"""

from __future__ import annotations

import hashlib
import json
import struct

POINTS = 0.05  # a copy travels where it changes the accuracy by at most so many points


def halved(content: bytes) -> bytes:
    """A safetensors file with its float32 tensors in float16.

    Its metadata are ``float32_sha256``, the checksum of the whole file that it was made from, and ``values_sha256``,
    the checksum of its own values.

    Args:
        content: a safetensors file.

    Raises:
        OverflowError: a value is larger than float16 can be, 65504.
    """
    header, values = _parts(content)
    told: dict[str, object] = {}
    parts: list[bytes] = []
    start = 0
    for name, about in sorted(header.items(), key=lambda item: item[1].get("data_offsets", [0])[0]):
        if name == "__metadata__":
            continue
        first, last = about["data_offsets"]
        part, dtype = values[first:last], about["dtype"]
        if dtype == "F32":
            n = len(part) // 4
            part, dtype = struct.pack(f"<{n}e", *struct.unpack(f"<{n}f", part)), "F16"
        told[name] = about | {"dtype": dtype, "data_offsets": [start, start + len(part)]}
        start += len(part)
        parts.append(part)
    joined = b"".join(parts)
    sums = {"float32_sha256": hashlib.sha256(content).hexdigest(), "values_sha256": hashlib.sha256(joined).hexdigest()}
    text = json.dumps({"__metadata__": sums} | told).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the values
    return struct.pack("<Q", len(text)) + text + joined


def original(content: bytes) -> str | None:
    """The SHA-256 of the float32 file that a copy was made from; None if this file is no such copy.

    Raises:
        ValueError: the values of the copy are not those that were written.
    """
    header, values = _parts(content)
    sums = header.get("__metadata__", {})
    if "float32_sha256" not in sums:
        return None
    if hashlib.sha256(values).hexdigest() != sums["values_sha256"]:
        raise ValueError("its values have another checksum")
    return sums["float32_sha256"]


def _parts(content: bytes) -> tuple[dict, bytes]:
    """Header and values of a safetensors file."""
    try:
        length = struct.unpack("<Q", content[:8])[0]
        return json.loads(content[8 : 8 + length]), content[8 + length :]
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("it is no safetensors file") from error
