"""Pickles that would act, or take all memory, are refused and do neither."""

import contextlib
import copyreg
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from handmade_pickles import (
    array,
    call,
    dtype,
    number,
    objects,
    program,
    text,
    write,
)

from lensequiv.data import ImageError, read_image_and_mass

RAMP = np.arange(30, dtype=np.float64).reshape(6, 5)
MASS = b"G" + struct.pack(">d", 1e-23)
HUGE = 2**40
_EXTENSION = 0x70A1B2  # free for private use


class Call:
    """Pickles as a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def acting(at, inner):
    """Pickles that make `at` when Python loads them: name -> (forbidden, payload).

    `inner` names an NPY file whose pickle makes it, too.
    """
    code = f"__import__('os').mkdir({at!r})"
    mkdir = call("os", "mkdir", at)
    os_module = call("builtins", "__import__", "os")
    get_mkdir = call("builtins", "getattr", os_module, "mkdir")
    path = call("pathlib", "Path", at)
    memmap = text("numpy") + text("memmap") + b"\x93"
    arguments = text(at) + text("u1") + text("w+") + number(0) + number(1)
    mkdir_2 = b"cos\nmkdir\n(" + text(at) + b"tR"
    f2py = "numpy.f2py.crackfortran"
    utils = "numpy.testing._private.utils"
    return {
        "system, protocol 0": (
            "posix.system",
            pickle.dumps(Call(os.system, f"mkdir {at}"), 0),
        ),
        "system, protocol 2": (
            "posix.system",
            pickle.dumps(Call(os.system, f"mkdir {at}"), 2),
        ),
        "system, protocol 5": (
            "posix.system",
            pickle.dumps(Call(os.system, f"mkdir {at}"), 5),
        ),
        "os.mkdir": ("os.mkdir", program(mkdir_2, 2)),
        "Popen": (
            "subprocess.call",
            program(
                call("subprocess", "call", b"](" + text("mkdir") + text(at) + b"e")
            ),
        ),
        "eval": ("builtins.eval", program(call("builtins", "eval", code))),
        "eval of Python 2": (
            "__builtin__.eval",
            b"\x80\x02c__builtin__\neval\n(" + text(code) + b"tR.",
        ),
        "exec": ("builtins.exec", program(call("builtins", "exec", code))),
        "import and getattr": (
            "builtins.getattr",
            program(get_mkdir + b"(" + text(at) + b"tR"),
        ),
        "open": ("io.open", program(call("io", "open", at, "w"))),
        "touch": (
            "operator.methodcaller",
            program(call("operator", "methodcaller", "touch") + b"(" + path + b"tR"),
        ),
        "partial": (
            "functools.partial",
            program(call("functools", "partial", b"cos\nmkdir\n", at) + b")R"),
        ),
        "numpy.load": (
            "numpy.load",
            program(call("numpy", "load", inner, b"N", b"\x88")),
        ),
        "numpy.savetxt": ("numpy.savetxt", program(call("numpy", "savetxt", at, "1"))),
        "numpy.memmap": (
            "numpy.memmap",
            program(memmap + b"(" + arguments + b"tR"),
        ),
        "numpy.memmap, NEWOBJ": (
            "numpy.memmap",
            program(memmap + b"(" + arguments + b"t\x81"),
        ),
        "numpy.memmap, NEWOBJ_EX": (
            "numpy.memmap",
            program(memmap + b"(" + arguments + b"t}\x92"),
        ),
        "numpy.testing": (
            f"{utils}.runstring",
            program(call(utils, "runstring", code, b"}")),
        ),
        "numpy.f2py": (f"{f2py}.myeval", program(call(f2py, "myeval", code))),
        "codecs.open": ("codecs.open", program(call("codecs", "open", at, "w"))),
        "dotted name": (
            "numpy.lib._datasource.os.mkdir",
            program(call("numpy.lib._datasource", "os.mkdir", at)),
        ),
        "names from the memo": (
            "os.mkdir",
            program(
                text("os")
                + b"\x94"
                + text("mkdir")
                + b"\x94h\x00h\x01\x93("
                + text(at)
                + b"tR"
            ),
        ),
        "INST": ("os.mkdir", b"(" + text(at) + b"ios\nmkdir\n."),
        "OBJ": ("os.mkdir", b"(cos\nmkdir\n" + text(at) + b"o."),
        "extension code": (
            "EXT4",
            b"\x80\x02\x84" + struct.pack("<i", _EXTENSION) + b"(" + text(at) + b"tR.",
        ),
        "beside an image": ("os.mkdir", program(objects(array(RAMP), mkdir_2), 2)),
        "within an object array": (
            "os.mkdir",
            program(objects(objects(mkdir_2, MASS), MASS), 2),
        ),
        "as pixels": (
            "os.mkdir",
            program(objects(array(RAMP, held=mkdir_2), MASS), 2),
        ),
        "as a dtype": ("os.mkdir", program(objects(array(RAMP, kind=mkdir), MASS))),
        "in a frame": (
            "os.mkdir",
            b"\x80\x04\x95" + struct.pack("<Q", len(mkdir) + 1) + mkdir + b".",
        ),
        "before a bad opcode": ("os.mkdir", program(mkdir + b"}")),
        "before rubbish": ("os.mkdir", program(mkdir) + b"rubbish"),
    }


@pytest.fixture
def _extension():
    copyreg.add_extension("os", "mkdir", _EXTENSION)
    yield
    copyreg.remove_extension("os", "mkdir", _EXTENSION)
    copyreg._extension_cache.pop(_EXTENSION, None)


@pytest.mark.usefixtures("_extension")
@pytest.mark.parametrize("name", acting("at", "at.npy"))
def test_acting(tmp_path, name, refuse):
    at, inner = tmp_path / "made", tmp_path / "inner.npy"
    np.save(inner, np.array(Call(os.mkdir, str(at)), dtype=object), allow_pickle=True)
    forbidden, payload = acting(str(at), str(inner))[name]
    path = write(tmp_path / "axion.npy", payload)
    refuse(path, forbidden)
    assert not at.exists()
    with contextlib.suppress(Exception):  # some fail, once they have acted
        pickle.loads(payload, encoding="latin1")
    assert at.exists()  # so it was a threat


def length(opcode, claimed, form="<Q"):
    return program(opcode + struct.pack(form, claimed) + b"abc")


SCALAR = ("numpy.core.multiarray", "scalar")
BUFFER = ("numpy._core.numeric", "_frombuffer")
ZEROS = b"C\x08" + bytes(8)
GOOD = program(objects(array(RAMP), MASS), 2)
REFUSED = {
    "numpy.fromfile": ("numpy.fromfile", program(call("numpy", "fromfile", "a"))),
    "numpy.zeros": ("numpy.zeros", program(call("numpy", "zeros", HUGE))),
    "matrix": ("numpy.matrix", GOOD.replace(b"cnumpy\nndarray", b"cnumpy\nmatrix")),
    "globals of a function": (
        "numpy.load.__globals__",
        program(text("numpy") + text("load.__globals__") + b"\x93"),
    ),
    "codec rot13": (
        "_codecs.encode unusually",
        program(call("_codecs", "encode", "a", "rot13")),
    ),
    "codec of bytes": (
        "_codecs.encode unusually",
        program(call("_codecs", "encode", ZEROS, "zlib_codec")),
    ),
    "decode": ("_codecs.decode", program(call("_codecs", "decode", ZEROS, "zlib"))),
    "call of ndarray": (
        "calls numpy.ndarray",
        program(call("numpy", "ndarray", number(HUGE) + b"\x85")),
    ),
    "reconstruct huge": (
        "unusual way",
        program(
            call(
                "numpy._core.multiarray",
                "_reconstruct",
                b"cnumpy\nndarray\n" + number(HUGE) + b"\x85C\x01b",
            )
        ),
    ),
    "state huge": (
        f"do not make shape ({HUGE}, {HUGE})",
        program(objects(array(RAMP, (HUGE, HUGE)), MASS)),
    ),
    "state negative": ("empty array", program(objects(array(RAMP, (-6, -5)), MASS))),
    "buffer huge": (
        "do not make shape",
        program(
            objects(
                call(*BUFFER, ZEROS, dtype(b"f8"), number(HUGE) * 2 + b"\x86", "C"),
                MASS,
            )
        ),
    ),
    "pixels of objects": (
        "object array",
        program(objects(array(RAMP, kind=dtype(b"O8", b"|")), MASS)),
    ),
    "structured dtype": (
        "unusual dtype",
        program(
            objects(array(RAMP, kind=dtype(b"V8", b"|", b"NU\x01a" + b"NKKKKKK")), MASS)
        ),
    ),
    "dtype as text": (
        "unusual dtype",
        program(objects(array(RAMP, kind=dtype(b"f8,O")), MASS)),
    ),
    "scalar of an object": (
        "mass is not a finite number",
        program(objects(array(RAMP), call(*SCALAR, dtype(b"O8", b"|"), "a"))),
    ),
    "build on a foreign object": (
        "types.SimpleNamespace",
        program(call("types", "SimpleNamespace") + b"}b"),
    ),
    "build on a type": ("damaged pickle", program(b"cnumpy\ndtype\nNN\x86b")),
    "build on a list": ("damaged pickle", program(b"](K\x01tb")),
    "append to an array": ("damaged pickle", program(array(RAMP) + b"Na")),
    "dictionary": ("EMPTY_DICT", program(b"}")),
    "persistent id": ("PERSID", b"Pabc\n."),
    "persistent object": ("BINPERSID", program(text("abc") + b"Q")),
    "extension 1": ("EXT1", program(b"\x82\x01")),
    "extension 2": ("EXT2", program(b"\x83\x01\x01")),
    "out-of-band buffer": ("NEXT_BUFFER", program(b"\x97", 5)),
    "unknown opcode": ("damaged opcode", program(b"\xff")),
    "unknown protocol": ("damaged pickle", program(GOOD[2:-1], 200)),
    "empty": ("damaged opcode", b""),
    "cut in the pixels": ("damaged opcode", GOOD[:200]),
    "cut before the end": ("damaged opcode", GOOD[:-1]),
    "rubbish": ("1 further bytes", GOOD + b"\0"),
    "second pickle": (f"{len(GOOD)} further bytes", GOOD + GOOD),
    "marks": ("more than 1000", program(b"(" * 100_000)),
    "depth": ("more than 1000", program(b"N" + b"\x85" * 100_000)),
    "depth within limits": ("no array", program(b"N" + b"\x85" * 990)),
    "list in itself": ("no array", program(b"]\x94h\x00a")),
    "memo": ("memo entries", program(b"Nr\xff\xff\xff\xff")),
    "one text encoded often": (
        "no array",
        program(
            text("a" * 100_000)
            + b"\x94"
            + call("_codecs", "encode", b"h\x00", "latin1") * 120
        ),
    ),
    "frame": ("a frame of", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N."),
    "BINBYTES8": ("damaged opcode", length(b"\x8e", 2**62)),
    "BINUNICODE8": ("damaged opcode", length(b"\x8d", 2**62)),
    "BYTEARRAY8": ("damaged opcode", length(b"\x96", 2**62)),
    "BINBYTES": ("damaged opcode", length(b"B", 2**32 - 1, "<I")),
    "LONG4": ("damaged opcode", length(b"\x8b", 2**31 - 1, "<i")),
    "negative length": ("damaged opcode", length(b"T", -1, "<i")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_without_cost(tmp_path, name, refuse):
    found, payload = REFUSED[name]
    path = write(tmp_path / "axion.npy", payload)
    tracemalloc.start()
    try:
        refuse(path, found)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80\x02F" + b"\x00\n\x1b[31m".replace(b"\n", b"") * 5000 + b"\n.",
        program(call("os\n\x1b[31m" * 5000, "mkdir", "x")),
    ],
)
def test_messages_quote_one_printable_line_at_most(tmp_path, payload):
    with pytest.raises(ImageError) as caught:
        read_image_and_mass(write(tmp_path / "axion.npy", payload))
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1700 + len(str(tmp_path))


def test_what_the_hostile_ones_are_made_of_is_readable(tmp_path, assert_is):
    image, mass = read_image_and_mass(write(tmp_path / "axion.npy", GOOD))
    assert_is(image, RAMP[None])
    assert mass == 1e-23
