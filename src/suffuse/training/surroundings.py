"""What stands around the training loop: deterministic kernels, signals, the progress bar."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def steady(device: torch.device) -> Iterator[None]:
    """Deterministic kernels on a CPU, where they cost little; denormal numbers flushed."""
    before, filled = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        torch.set_deterministic_debug_mode("warn")
        torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


@contextlib.contextmanager
def stopping(stop: Callable[[str], None]) -> Iterator[None]:
    """Call `stop` with the signal's name on the first Ctrl-C or SIGTERM; a second one acts at once.

    Outside the main thread signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        stop(signal.Signals(number).name)
        signal.signal(number, before[number] or signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def progress_bar(shown: bool, begun_at: float = 0.0) -> Iterator[Callable[[float, int, float], None]]:
    """Yield a function of (share done, step, loss) that draws a bar with steps a second and the time left.

    begun_at: the share that earlier, interrupted runs had done.
    """
    if not shown:
        yield lambda share, step, loss: None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    text = "{task.percentage:>3.0f}%  step {task.fields[step]}  loss {task.fields[loss]}  {task.fields[speed]}"
    with Progress(TextColumn("training"), BarColumn(), TextColumn(text)) as bar:
        line = bar.add_task("training", total=1.0, step=0, loss="-", speed="")
        begun = last = time.perf_counter()
        first: int | None = None

        def update(share: float, step: int, loss: float) -> None:
            nonlocal first, last
            now = time.perf_counter()
            first = step if first is None else first
            if now - last < 0.5 and share < 1:
                return
            last = now
            gone = share - begun_at
            left = (now - begun) * (1 - share) / gone if gone > 0 else 0.0
            speed = (
                f"{(step - first) / max(now - begun, 1e-9):.1f} steps/s  {int(left // 60)}:{int(left % 60):02d} left"
            )
            shown_loss = f"{loss:.4g}" if math.isfinite(loss) else "-"
            bar.update(line, completed=share, step=step, loss=shown_loss, speed=speed)

        yield update
