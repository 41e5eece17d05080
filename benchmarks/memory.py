"""The peak memory of a process."""

import resource
import sys
from pathlib import Path


def peak_kib() -> int:
    """Most memory that this process has had at once, in KiB.

    On Linux from /proc: `getrusage` there also counts what the process held that
    started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak  # bytes there
