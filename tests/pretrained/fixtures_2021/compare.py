"""Converts what make.py wrote; prints the checks and how far logits are apart."""

import argparse
import lzma
import tempfile
from pathlib import Path

import numpy as np
import torch

import lensequiv

NARROW = (2, 2, 2, 2, 2, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("groups", nargs="+", help="c4, c8, d4 or d8")
    args = parser.parse_args()
    for group in args.groups:
        saved = np.load(args.folder / f"{group}-logits.npz")
        x = torch.from_numpy(saved["levels"]).float()[:, None] / 255
        expected = torch.from_numpy(saved["logits"])
        for mode in ("eval", "train"):
            path, fields = args.folder / f"{group}-{mode}.pt", None
            with tempfile.TemporaryDirectory() as temporary:
                if not path.exists():
                    compressed = path.with_name(path.name + ".xz")
                    path, fields = Path(temporary, path.name), NARROW
                    path.write_bytes(lzma.decompress(compressed.read_bytes()))
                out = Path(temporary, "weights")
                options = {} if fields is None else {"fields": fields}
                print(
                    lensequiv.convert_checkpoint(path, group, "modelF", out, **options)
                )
                model = lensequiv.from_pretrained(out)
            with torch.no_grad():
                difference = (model(x) - expected).abs().max() / expected.abs().max()
            print(f"{group} {mode}: logits differ by {difference:.1e} of the largest")


if __name__ == "__main__":
    main()
