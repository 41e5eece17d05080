"""Pickles put together opcode by opcode, and the NPY files around them."""

import struct

import numpy as np


def write(path, payload, shape=(2,)):
    """Write an NPY file of type object with any bytes as its pickle."""
    with path.open("wb") as stream:
        header = {"descr": "|O", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(payload)
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def call(module, name, *args):
    """A call; STACK_GLOBAL allows dotted names. Arguments in bytes are opcodes."""
    code = {str: text, int: number, bytes: bytes}
    made = b"".join(code[type(arg)](arg) for arg in args)
    return text(module) + text(name) + b"\x93(" + made + b"tR"


def program(opcodes, protocol=4):
    return b"\x80" + bytes([protocol]) + opcodes + b"."


# What follows is written as Python 2 with NumPy 1 wrote it: strings, not bytes.

_NO_FIELDS = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"


def dtype(code, order=b"<", rest=_NO_FIELDS):
    made = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR"
    return made + b"(K\x03U\x01" + order + rest + b"tb"


def array(values, shape=None, kind=None, held=None):
    """An array of float64, or one whose shape, type or content are false."""
    axes = b"".join(number(axis) for axis in shape or values.shape)
    if held is None:
        held = b"T" + struct.pack("<i", values.nbytes) + values.tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    state = b"(K\x01(" + axes + b"t" + (kind or dtype(b"f8")) + b"\x89" + held + b"t"
    return empty + state + b"b"


def objects(*items):
    """An object array of shape (len(items),)."""
    held = b"](" + b"".join(items) + b"e"
    return array(None, (len(items),), dtype(b"O8", b"|"), held)


def pair_by_python_2(image, mass):
    return program(objects(image, b"G" + struct.pack(">d", mass)), 2)
