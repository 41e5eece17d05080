"""What the fuzzers start from: valid and hostile files."""

import pickle
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

import handmade_pickles as hand


def pickles():
    """Contents of pickled `.npy` files, after the header."""
    made = []
    image = np.arange(12, dtype=np.float64).reshape(3, 4)
    images = [image, image.astype(">f4"), image.astype(np.int16).T, image[None]]
    for mass in (1e-23, np.float64(1e-23), 7, np.array(2.0)):
        for pixels in images:
            pair = np.empty(2, dtype=object)
            pair[0], pair[1] = pixels, mass
            made += [pickle.dumps(pair, protocol) for protocol in (2, 3, 4, 5)]
    nested = np.empty((), dtype=object)
    nested[()] = [image, 1e-23]
    made += [pickle.dumps(nested, protocol) for protocol in (2, 4, 5)]
    made.append(hand.pair_by_python_2(image, 1e-23))
    made.append(hand.program(hand.call("os", "mkdir", "/tmp/made-by-a-pickle")))
    made.append(hand.program(hand.call("builtins", "eval", "1 + 1")))
    made.append(hand.program(hand.objects(hand.array(image, (2**40, 2)), b"N")))
    return made
