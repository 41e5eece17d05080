"""Images through the network: read ahead in threads, classified batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lensequiv._devices import resolve_device
from lensequiv._threads import map_in_threads
from lensequiv.domain._statistics import STATISTICS, statistics_out_of_range
from lensequiv.inference._batch import Batch
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._map import LAYERS, SubstructureMap
from lensequiv.inference._options import Options
from lensequiv.inference._preparing import AT_ONCE, Failed, Preparation, Prepared
from lensequiv.inference._quantities import Quantities
from lensequiv.inference._running import (
    Answers,
    Pending,
    Runner,
    network_of,
    scales_itself,
)
from lensequiv.inference._scale import PixelScales
from lensequiv.inference._source import Source
from lensequiv.plain import PlainModel
from lensequiv.spec import LEVELS

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["batches", "network_inputs"]

Items = list[Prepared | Failed]


def batches(
    model: Classifier,
    source: Source,
    options: Options,
    *,
    start: int = 0,
    network: Classifier | PlainModel | None = None,
) -> Iterator[Batch]:
    """Reads ahead in threads, classifies in this one.

    What can be checked without an image is checked at the call; the rest happens while
    the batches are taken. A GPU is kept one batch ahead: while it computes, the answers
    before are judged and the next images are read and copied.

    Args:
        model: See `lensequiv.predict`.
        source: What to read.
        options: How.
        start: Index of the first image.
        network: What `network_of` made for an earlier call, whose device then counts;
            made anew if None.

    Returns:
        The images in order, batch by batch.

    Raises:
        ImageError: See `lensequiv.predict`.
        MemoryError: See `lensequiv.predict`.
        NotImplementedError: See `network_of`.
        ValueError: See `lensequiv.predict`.
    """
    scales = _scales(model, source, options)
    if options.maps:
        model.check_map()
    if options.quantities:
        model.check_quantities()
    if network is None:
        asked = options.device
        device = None if asked is None else resolve_device(asked)
        network = network_of(model, options.precision, device)
    device = next(network.parameters()).device
    raw = scales_itself(model, device)
    preparation = Preparation(model, source, options, scales, crop_only=raw)
    runner = Runner(
        model,
        network,
        device,
        options.precision,
        raw=raw,
        maps=options.maps,
        quantities=options.quantities,
    )
    return Run(preparation, runner, ahead=int(device.type == "cuda")).batches(start)


class Run:
    """One pass over a source.

    Args:
        preparation: What happens to images in threads.
        runner: What happens to batches in this thread.
        ahead: Batches that are sent before the answers to the first are taken.
    """

    def __init__(self, preparation: Preparation, runner: Runner, ahead: int) -> None:
        self.preparation, self.runner, self.ahead = preparation, runner, ahead
        self.model, self.options = preparation.model, preparation.options
        self.ranges: Mapping[str, list[float]] = self.model.weights_info.get(
            "image_statistics", {}
        )

    def batches(self, start: int) -> Iterator[Batch]:
        """The images from one position on, in order, batch by batch."""
        from tqdm.auto import tqdm

        size, names = self.options.batch_size, self.preparation.source.names
        bar = tqdm(
            total=len(names),
            initial=start,
            unit="img",
            delay=2,
            disable=not self.options.progress,
        )
        sent: deque[tuple[int, Items, Pending]] = deque()
        with bar, closing(self._read(start)) as ready:
            for first in range(start, len(names), size):
                items = list(islice(ready, size))
                failed = [item for item in items if isinstance(item, Exception)]
                if failed and self.options.on_error == "raise":
                    yield from self._taken(sent, 0, bar)
                    raise failed[0]
                good = [item for item in items if isinstance(item, Prepared)]
                sent.append((first, items, self.runner.start(good)))
                yield from self._taken(sent, self.ahead, bar)
            yield from self._taken(sent, 0, bar)

    def _read(self, start: int) -> Generator[Prepared | Failed, None, None]:
        """Prepares images ahead, a few at a time, in threads."""
        total, size = len(self.preparation.source.names), self.options.batch_size
        workers = self.options.workers
        workers = min(torch.get_num_threads(), 4) if workers is None else workers
        few = max(1, min(AT_ONCE, size, (total - start) // workers))
        starts = range(start, total, few)

        def prepare(first: int) -> Items:
            return self.preparation(range(first, min(first + few, total)))

        # While one batch is in the network, the two after it are read.
        waiting = (2 + self.ahead) * size // few + 1
        with closing(map_in_threads(prepare, starts, workers, waiting)) as parts:
            for part in parts:
                yield from part

    def _taken(
        self,
        sent: deque[tuple[int, Items, Pending]],
        left: int,
        bar: tqdm[Any],
    ) -> Iterator[Batch]:
        """The batches that were sent first, until as many are left as may be."""
        while len(sent) > left:
            first, items, pending = sent.popleft()
            yield self._batch(first, items, self.runner.finish(pending))
            bar.update(len(items))

    def _batch(self, first: int, items: Items, answers: Answers | None) -> Batch:
        """What is told about images, among them those that could not be used."""
        none = torch.empty(0, self.model.num_classes, dtype=torch.float32, device="cpu")
        logits, scores = none, None if self.model.domain is None else none[:, 0]
        notes: list[list[str]] = []
        if answers is not None:
            items, answers = self._without_refused(items, answers)
            logits = answers.logits
            good = [item for item in items if isinstance(item, Prepared)]
            for item, row in zip(good, answers.features.tolist(), strict=True):
                found = dict(zip(STATISTICS, row, strict=False))
                notes.append(item.notes + statistics_out_of_range(found, self.ranges))
            if self.model.domain is not None and answers.distances is not None:
                more, scores = self.model.domain.verdict(answers.distances)
                notes = [a + b for a, b in zip(notes, more, strict=True)]
        names = list(self.preparation.source.names[first : first + len(items)])
        maps: list[SubstructureMap] | None = [] if self.options.maps else None
        if answers is not None and answers.maps is not None:
            maps = self._mapped(names, items, answers.maps, notes)
        told, spec = None, self.model.spec.quantities
        if self.options.quantities and spec is not None:
            values = torch.empty(0, len(spec.quantities), len(LEVELS), device="cpu")
            if answers is not None and answers.quantities is not None:
                values = answers.quantities
            told = Quantities(values, spec)
        return Batch(
            names=names,
            errors=[str(i) if isinstance(i, Exception) else None for i in items],
            logits=logits,
            probabilities=(logits / self.model.temperature).softmax(1),
            notes=notes,
            scores=scores,
            maps=maps,
            quantities=told,
            guessed=sum(isinstance(i, Prepared) and i.guessed for i in items),
        )

    def _mapped(
        self,
        names: list[str],
        items: Items,
        maps: list[Tensor],
        notes: list[list[str]],
    ) -> list[SubstructureMap]:
        """The maps of images without error, with their places in the images."""
        named = self.preparation.source.paths is not None
        pairs = zip(items, names, strict=True)
        good = [(i, name) for i, name in pairs if isinstance(i, Prepared)]
        spec, scale = self.model.spec.map, self.model.pixel_scale
        assert spec is not None
        assert scale is not None
        made = []
        for (item, name), drawn, noted in zip(good, maps, notes, strict=True):
            assert item.view is not None
            layers = dict(zip(LAYERS, drawn, strict=True))
            made.append(
                SubstructureMap(
                    **layers,
                    spec=spec,
                    left=item.view.left,
                    top=item.view.top,
                    step=spec.stride * item.view.pixel,
                    cell=spec.stride * (item.view.scale or scale),
                    path=name if named else None,
                    notes=noted,
                )
            )
        return made

    def _without_refused(self, items: Items, answers: Answers) -> tuple[Items, Answers]:
        """Puts errors in the place of images that the device could not scale."""
        if bool(answers.usable.all()):
            return items, answers
        usable, told = iter(answers.usable.tolist()), list(items)
        for i, item in enumerate(items):
            if isinstance(item, Exception) or next(usable):
                continue
            told[i] = reason = self.preparation.reason(item)
            if self.options.on_error == "raise":
                raise reason
        rows = answers.usable.nonzero()[:, 0].tolist()
        kept: list[Any] = [
            [x[i] for i in rows]
            if isinstance(x, list)
            else x
            if x is None
            else x[answers.usable]
            for x in answers
        ]
        return told, Answers(*kept)


def network_inputs(
    model: Classifier, source: Source, options: Options
) -> Iterator[Tensor]:
    """What the network sees of each image, for drawing.

    Args:
        model: See `lensequiv.predict`.
        source: What to read.
        options: How.

    Yields:
        (C, H, W) each, resampled if so wanted and preprocessed.

    Raises:
        ImageError: See `lensequiv.predict`.
        ValueError: See `lensequiv.predict`.
    """
    preparation = Preparation(model, source, options, _scales(model, source, options))
    for i in range(len(source.names)):
        (item,) = preparation([i])
        if isinstance(item, Exception):
            raise item
        yield item.image


def _scales(model: Classifier, source: Source, options: Options) -> PixelScales:
    return PixelScales.of(
        model, options.pixel_scale, options.resample, headers=source.has_headers
    )
