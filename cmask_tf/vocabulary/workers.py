"""One function over many tasks, in this process or in several, with the results in the tasks' order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from cmask_tf.errors import UserError


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results(function: Callable, tasks: Sequence[tuple], processes: int) -> Iterator:
    """function(*task) for each task, in order; the first error ends it.

    Processes are started anew (never forked: the caller may run TensorFlow's threads), so the function
    is a module's own, and a script that asks for several has an `if __name__ == "__main__"`.

    Raises:
        UserError: a process was killed; and what the function raises.
    """
    if processes <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield function(*task)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(tasks)), context, _leave_interrupts_to_the_parent)
    try:
        for future in [pool.submit(function, *task) for task in tasks]:
            yield future.result()
    except BrokenProcessPool:
        raise UserError("a process that helped was killed: is there enough memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
