"""Parsing and writing of requests and tensors of the Open Inference Protocol; see covidcxr.web.api.inference."""

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from covidcxr.errors import ImageError
from covidcxr.images.grey import Grey, check_size

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header with the length of the JSON, in bytes, if tensors follow it."""
_LENGTH = struct.Struct("<I")
"""Length before every element of a binary BYTES tensor."""
_MOST_DIGITS = 10
"""Digits of the length of a body; Python refuses to parse numbers of several thousand digits."""

Image = bytes | Grey
"""Content of an image file, or a decoded image: uint8, shape (height, width)."""


class TensorError(ValueError):
    """A request violates the protocol; the message says what was expected."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of an answer.

    Attributes:
        datatype: FP32 or BYTES.
        shape: Sizes of its axes.
        values: Numbers or strings in row-major order.
    """

    datatype: str
    shape: tuple[int, ...]
    values: Sequence[float] | Sequence[str]

    @classmethod
    def of_numbers(cls, rows: Sequence[Sequence[float]]) -> Self:
        """Create an FP32 tensor from rows of equal length."""
        return cls("FP32", (len(rows), len(rows[0])), [value for row in rows for value in row])

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Self:
        """Create a BYTES tensor from strings."""
        return cls("BYTES", (len(texts),), [str(text) for text in texts])

    def to_bytes(self) -> bytes:
        """Return the values in the format of the binary extension."""
        if self.datatype == "FP32":
            return np.array(self.values, "<f4").tobytes()
        return b"".join(_LENGTH.pack(len(data)) + data for data in (str(text).encode() for text in self.values))


def write(name: str, tensor: Tensor, *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of an output, and the bytes that follow the JSON."""
    output: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if not binary:
        return {**output, "data": list(tensor.values)}, b""
    data = tensor.to_bytes()
    return {**output, "parameters": {"binary_data_size": len(data)}}, data


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """A parsed request.

    Attributes:
        id: Text that the answer repeats; None without one.
        images: Images to score, at least one.
        outputs: Whether to write each requested output as bytes after the JSON, by name.
    """

    id: str | None
    images: Sequence[Image]
    outputs: Mapping[str, bool]

    @classmethod
    def parse(cls, body: bytes, header_length: str | None, known: Sequence[str], max_images: int) -> Self:
        """Parse a request.

        Args:
            body: JSON, and tensors after it.
            header_length: Value of the header HEADER_LENGTH, None without it.
            known: Names of the available outputs, in order.
            max_images: Number of images allowed in one request.

        Raises:
            TensorError: The request violates the protocol or contains no images.
        """
        head, rest = _split(body, header_length)
        try:
            content = json.loads(head)
        except (ValueError, RecursionError) as error:
            raise TensorError("Expected a JSON object. Received something else.") from error
        inputs = _member(content, "inputs", list)
        if len(inputs) != 1:
            raise TensorError(f"Expected one input, image or pixels. Received {len(inputs)}.")
        identity = content.get("id")
        if not isinstance(identity, str | None):
            raise TensorError("Expected a string as id. Received something else.")
        outputs = _wanted(content, known)
        return cls(id=identity, images=_images(inputs[0], rest, max_images), outputs=outputs)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    is_number = header_length.isascii() and header_length.isdecimal() and len(header_length) <= _MOST_DIGITS
    if not (is_number and int(header_length) <= len(body)):
        raise TensorError(
            f"Expected {HEADER_LENGTH} to be at most the length of the body. Received more, or no number."
        )
    return body[: int(header_length)], memoryview(body)[int(header_length) :]


def _member(content: object, name: str, kind: type, default: Any = None) -> Any:  # noqa: ANN401 - any JSON
    value = content.get(name, default) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise TensorError(f"Expected an object with a valid '{name}'. Received something else.")
    return value


def _wanted(content: dict[str, Any], known: Sequence[str]) -> dict[str, bool]:
    default = _member(content, "parameters", dict, {}).get("binary_data_output") is True
    wanted = {}
    for output in _member(content, "outputs", list, []):
        name = _member(output, "name", str)
        if name not in known:
            raise TensorError(f"Expected outputs named {', '.join(known)}. Received another name.")
        wanted[name] = _member(output, "parameters", dict, {}).get("binary_data", default) is True
    return wanted or dict.fromkeys(known, default)


def _images(tensor: object, rest: memoryview, max_images: int) -> Sequence[Image]:
    name, datatype = _member(tensor, "name", str), _member(tensor, "datatype", str)
    shape = _member(tensor, "shape", list)
    if not all(type(size) is int and size > 0 for size in shape):
        raise TensorError("Expected a shape of integers above 0. Received another one.")
    size = _member(tensor, "parameters", dict, {}).get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(rest)):
        raise TensorError(
            f"Expected binary_data_size to be the {len(rest)} bytes after the JSON. Received another number."
        )
    if shape and shape[0] > max_images:
        raise TensorError(f"Expected at most {max_images} images in one request. Received {shape[0]}.")
    data = rest if size is not None else _member(tensor, "data", list)
    match name, datatype, len(shape):
        case "image", "BYTES", 1:
            return _files(data, shape[0])
        case "pixels", "UINT8", 4 if shape[3] == 1:
            return _greys(data, shape)
        case _:
            raise TensorError(
                "Expected the input image (BYTES, shape [n]) or pixels (UINT8, shape [n, height, width, 1]). "
                "Received another name, datatype or shape."
            )


def _files(data: list[Any] | memoryview, count: int) -> list[bytes]:
    if isinstance(data, memoryview):
        return _split_elements(data, count)
    if len(data) != count:
        raise TensorError(f"Expected {count} elements, according to the shape. Received {len(data)}.")
    return [_decoded(text) for text in data]


def _split_elements(data: memoryview, count: int) -> list[bytes]:
    elements, place = [], 0
    for _ in range(count):  # not to the end of the data, which can hold millions of empty ones
        start = place + _LENGTH.size
        if start > len(data) or (place := start + _LENGTH.unpack_from(data, start - _LENGTH.size)[0]) > len(data):
            raise TensorError(f"Expected {count} elements of the stated lengths. Received fewer bytes.")
        elements.append(bytes(data[start:place]))
    if place < len(data):
        raise TensorError(f"Expected {count} elements, according to the shape. Received more bytes.")
    return elements


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type] # checked by what it raises
    except (binascii.Error, TypeError, ValueError) as error:
        raise TensorError("Expected image files in base64. Received something else.") from error


def _greys(data: list[Any] | memoryview, shape: list[int]) -> list[Grey]:
    _, height, width, _ = shape
    try:
        check_size(width, height)
    except ImageError as error:
        raise TensorError(f"Expected images of a supported size. Received {error}.") from error
    values = np.frombuffer(data, np.uint8) if isinstance(data, memoryview) else _numbers(data)
    if values.size != prod(shape):
        raise TensorError(f"Expected {prod(shape)} values, according to the shape. Received {values.size}.")
    return list(values.reshape(shape[:3]))


def _numbers(data: list[Any]) -> NDArray[np.uint8]:
    """Return numbers 0..255, flat or nested, as a flat array without memory for more than a list of them."""
    values = data
    while set(map(type, values)) == {list} and len(set(map(len, values))) == 1:
        values = list(chain.from_iterable(values))
    if set(map(type, values)) != {int} or min(values) < 0 or max(values) > 255:
        raise TensorError("Expected integers from 0 to 255. Received something else.")
    return np.frombuffer(bytes(values), np.uint8)
