"""Checkpoints as e2cnn 0.1.7 writes them, of the 2021 networks with random weights.

A transcription of the 2021 architecture that shares nothing with lensequiv and does not
import it. README.md tells how to run it. For each group it writes a state dict saved in
evaluation mode (zip format), one saved in training mode (torch's format before 1.6), an
input and the logits that e2cnn 0.1.7 itself gives for it.
"""

import argparse
import io
import lzma
import time
from pathlib import Path

import e2cnn
import numpy as np
import torch
from e2cnn import gspaces
from e2cnn import nn as e2nn

STUDY = (24, 48, 48, 96, 96, 64)
NARROW = (2, 2, 2, 2, 2, 1)


class Network2021(torch.nn.Module):
    """The 2021 network; `fields` regular fields in its six blocks."""

    def __init__(self, group, fields):
        super().__init__()
        kind = gspaces.Rot2dOnR2 if group[0] == "c" else gspaces.FlipRot2dOnR2
        space = kind(N=int(group[1:]))
        image = e2nn.FieldType(space, [space.trivial_repr])
        types = [image]
        types += [e2nn.FieldType(space, n * [space.regular_repr]) for n in fields]
        self.image_type = image

        def block(i, kernel, padding, *before):
            # e2cnn's own initialisation walks over four million weights in Python.
            conv = e2nn.R2Conv(
                types[i - 1],
                types[i],
                kernel_size=kernel,
                padding=padding,
                bias=False,
                initialize=False,
            )
            norm = e2nn.InnerBatchNorm(types[i])
            relu = e2nn.ReLU(types[i], inplace=True)
            return e2nn.SequentialModule(*before, conv, norm, relu)

        def pool(i, **options):
            return e2nn.PointwiseAvgPoolAntialiased(types[i], sigma=0.66, **options)

        self.block1 = block(1, 7, 1, e2nn.MaskModule(image, 129, margin=1))
        self.block2 = block(2, 5, 2)
        # The study wrapped the first two pools, and so their names have a 0.
        self.pool1 = e2nn.SequentialModule(pool(2, stride=2))
        self.block3 = block(3, 5, 2)
        self.block4 = block(4, 5, 2)
        self.pool2 = e2nn.SequentialModule(pool(4, stride=2))
        self.block5 = block(5, 5, 2)
        self.block6 = block(6, 5, 1)
        self.pool3 = pool(6, stride=1, padding=0)
        self.gpool = e2nn.GroupPooling(types[6])
        self.fully_net = torch.nn.Sequential(
            torch.nn.Linear(fields[-1] * 26 * 26, 64),
            torch.nn.BatchNorm1d(64),
            torch.nn.ELU(inplace=True),
            torch.nn.Linear(64, 3),
        )

    def forward(self, x):
        x = e2nn.GeometricTensor(x, self.image_type)
        x = self.pool1(self.block2(self.block1(x)))
        x = self.pool2(self.block4(self.block3(x)))
        x = self.gpool(self.pool3(self.block6(self.block5(x)))).tensor
        return self.fully_net(x.flatten(1))


def rings(n):
    """(n, 1, 129, 129) pictures of clumpy rings in [0, 1]."""
    steps = torch.linspace(-1, 1, 129)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    centres = 0.2 * torch.rand(n, 2, 1, 1) - 0.1
    x, y = x - centres[:, 0], y - centres[:, 1]
    ring = torch.exp(-0.5 * ((torch.hypot(x, y) - 0.4) / 0.06) ** 2)
    ring = ring * (0.6 + 0.4 * torch.cos(3 * torch.atan2(y, x)))
    noisy = ring + 0.05 * torch.rand(n, 129, 129)
    return (255 * noisy).clamp(0, 255).round()[:, None] / 255


@torch.no_grad()
def randomise(model, coarse):
    """Random weights, and batch-norm statistics of a pass over rings."""
    for module in model.modules():
        if isinstance(module, e2nn.R2Conv):
            count = module.weights.numel() / len(module.out_type.representations)
            module.weights.normal_(0, count**-0.5)
        elif isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm3d)):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
            module.momentum = None  # statistics of all passes alike
    if coarse:  # so that the file can be compressed
        weight = model.fully_net[0].weight
        weight.copy_((weight * 256).round() / 256)
    model.train()
    for _ in range(2):
        model(rings(2))


def save(state, path, compress, legacy):
    content = io.BytesIO()  # torch writes past a compressing file
    torch.save(state, content, _use_new_zipfile_serialization=not legacy)
    if compress:
        path = path.with_name(path.name + ".xz")
    path.write_bytes(
        lzma.compress(content.getvalue()) if compress else content.getvalue()
    )


def write(group, fields, out, compress):
    torch.manual_seed(2021)
    model = Network2021(group, fields)
    randomise(model, coarse=compress)
    start = time.time()
    save(model.state_dict(), out / f"{group}-train.pt", compress, legacy=True)
    with torch.no_grad():
        model.eval()
        save(model.state_dict(), out / f"{group}-eval.pt", compress, legacy=False)
        x = rings(2)
        logits = model(x)
    levels = (255 * x[:, 0]).round().to(torch.uint8).numpy()
    np.savez_compressed(
        out / f"{group}-logits.npz", levels=levels, logits=logits.numpy()
    )
    print(group, fields, logits.tolist(), f"{time.time() - start:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("groups", nargs="+", help="c4, c8, d4 or d8")
    parser.add_argument("--full", action="store_true", help="of the study's width")
    args = parser.parse_args()
    if e2cnn.__version__ != "0.1.7":
        raise SystemExit(f"expected e2cnn 0.1.7, found {e2cnn.__version__}")
    args.out.mkdir(parents=True, exist_ok=True)
    for group in args.groups:
        write(group, STUDY if args.full else NARROW, args.out, not args.full)


if __name__ == "__main__":
    main()
