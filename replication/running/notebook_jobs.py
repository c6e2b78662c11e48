"""Notebooks side by side: which may run at the same time, and the processes that run them.

What a notebook has to wait for stands in its own metadata:

    "order": {"after": ["05_health"], "alone": false, "wide": false}

after  notebooks that write what it reads; without the entry it waits for all that stand before it
alone  true for one that measures times: nothing runs beside it, and it has every core
wide   true for one that most others wait for: it has every core, and others may run beside it
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, TypeVar

from ..errors import UserError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Order:
    """When a notebook may run.

    after  names of the notebooks that it waits for; None for all before it
    alone  whether nothing may run beside it
    wide   whether it has every core although others may run beside it
    """

    after: tuple[str, ...] | None = None
    alone: bool = False
    wide: bool = False


def order_of(name: str, content: Mapping[str, Any]) -> Order:
    """What a notebook's metadata says. Raises UserError for an entry of another form."""
    entry = content.get("metadata", {}).get("order", {})
    try:
        after, alone, wide = entry.get("after"), entry.get("alone", False), entry.get("wide", False)
        if set(entry) - {"after", "alone", "wide"} or not (isinstance(alone, bool) and isinstance(wide, bool)):
            raise ValueError
        if after is not None and not (isinstance(after, list) and all(isinstance(each, str) for each in after)):
            raise ValueError
    except (AttributeError, ValueError) as error:
        form = '{"after": ["NAME OF A NOTEBOOK"], "alone": false, "wide": false}'
        raise UserError(f'{name}: "order" in the notebook\'s metadata must have the form {form}') from error
    return Order(None if after is None else tuple(after), alone, wide)


def run_side_by_side(
    items: Mapping[str, Item],
    orders: Mapping[str, Order],
    jobs: int,
    run: Callable[[Item], Outcome],
    seconds: Mapping[str, float],
) -> list[Outcome]:
    """Call `run` for every item in `jobs` processes; an item begins when those that it waits for have ended.

    items    by name, in the order in which they run where nothing else decides
    orders   of the items, by name
    run      a function of a module; one that stands alone is called in this process, after the others that can go first
    seconds  how long items will take, as far as it is known: the one goes first that, with the longest chain of those
             that wait for it, takes longest

    When one fails nothing more begins; what runs beside it ends and is kept, and then its error is raised.
    """
    names, outcomes, ready = list(items), {}, []
    running: dict[Future, str] = {}
    waits_for = {name: _waits_for(name, names, orders[name]) for name in names}
    left = _seconds_left(waits_for, seconds)
    sorter: TopologicalSorter[str] = TopologicalSorter(waits_for)
    sorter.prepare()
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        try:
            while sorter.is_active():
                ready = sorted([*ready, *sorter.get_ready()], key=lambda name: (-left[name], names.index(name)))
                together = [name for name in ready if not orders[name].alone]
                for name in together[: jobs - len(running)]:
                    running[pool.submit(run, items[name])] = name
                    ready.remove(name)
                if running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        name = running.pop(future)
                        outcomes[name] = future.result()
                        sorter.done(name)
                else:
                    name = ready.pop(0)
                    outcomes[name] = run(items[name])
                    sorter.done(name)
        except KeyboardInterrupt:
            # Their kernels end with them.
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        except BrokenProcessPool as error:
            raise UserError(
                "a process that ran notebooks was ended, most often because memory ran out; run again with fewer --jobs"
            ) from error
    return [outcomes[name] for name in names]


def _waits_for(name: str, names: Sequence[str], order: Order) -> set[str]:
    """Of the notebooks that run, those that have to end first."""
    return set(names[: names.index(name)]) if order.after is None else set(order.after) & set(names)


def _seconds_left(waits_for: Mapping[str, set[str]], seconds: Mapping[str, float]) -> dict[str, float]:
    """From the start of an item to the end of the longest chain of those that wait for it."""
    left = {name: 0.0 for name in waits_for}
    for name in reversed(list(TopologicalSorter(waits_for).static_order())):
        left[name] += seconds.get(name, 0.0)
        for earlier in waits_for[name]:
            left[earlier] = max(left[earlier], left[name])
    return left


def _begin(threads: str) -> None:
    """In a new process: it ends with the command, and its kernels have their share of the cores."""
    from .warm_kernels import end_with, warm_up

    os.setsid()  # Ctrl-C reaches the command, which ends this process
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    os.environ["TQDM_DISABLE"] = "1"  # bars of several notebooks would write over each other
    warm_up()
