"""Work on many files at once, in order and with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

from lensequiv._threads import map_in_threads

T = TypeVar("T")

_WORKERS = 4
_CHUNK = 64  # files; handing over single ones would cost as much as reading them


def over_files(work: Callable[[int], T], n: int, progress: bool) -> Iterator[T]:
    """Call `work(i)` for i from 0 to n - 1 in a few threads.

    Args:
        work: What to do with one file; it may be called in any order.
        n: Number of files.
        progress: Whether to show a progress bar.

    Yields:
        The results, in order. An exception ends the work; of several, that of the
        smallest i is raised.
    """
    from tqdm import tqdm

    def chunk(start: int) -> list[T]:
        return [work(i) for i in range(start, min(start + _CHUNK, n))]

    chunks = map_in_threads(chunk, range(0, n, _CHUNK), _WORKERS, 4 * _WORKERS)
    bar = tqdm(total=n, desc="reading", unit="image", disable=not progress)
    with bar, closing(chunks):
        for results in chunks:
            yield from results
            bar.update(len(results))
