"""Work done ahead in threads, its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

__all__ = ["map_in_threads"]

T = TypeVar("T")


def map_in_threads(
    work: Callable[[int], T], items: Iterable[int], workers: int, waiting: int
) -> Generator[T, None, None]:
    """Calls `work` on each item in threads that use one of torch's threads each.

    Args:
        work: What to do; it may be called in any order.
        items: What to do it with.
        workers: Number of threads.
        waiting: Items at most that are taken before the first result is; this bounds
            the results that wait in memory.

    Yields:
        The results, in order. An exception ends the work.
    """
    threads = torch.get_num_threads()
    following = iter(items)
    pending: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1))
    try:
        while True:
            for item in islice(following, waiting - len(pending)):
                pending.append(pool.submit(work, item))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # What a worker sets for itself is also the default of threads to come.
        torch.set_num_threads(threads)
