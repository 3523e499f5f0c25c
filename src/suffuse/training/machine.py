"""The machine is measured, not assumed: precision, memory layout and compilation are chosen by a few timed calls.

Seen on CPUs with bf16 instructions: bf16 makes some networks twice as fast and others twice as slow; compiling takes
half a minute or more; on CPUs without such instructions bf16 is tens of times slower. So nothing here is a rule; a
choice other than plain fp32, eager and contiguous must win by a clear margin.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from suffuse.files import read_json, write_json

MARGIN = 1.05
"""How much faster than plain fp32 a choice must be measured to be taken."""


@dataclass(frozen=True)
class Choice:
    """How a network is run on this machine. The default is plain fp32, eager, contiguous, on torch's number of threads."""

    bf16: bool = False
    channels_last: bool = False
    compile: bool = False
    threads: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Choice(**value)` rebuilds it."""
        return asdict(self)

    def place(self, network: nn.Module) -> nn.Module:
        """The network in the chosen memory layout (in place; values are unchanged)."""
        if self.channels_last:
            for value in network.parameters():
                if value.ndim in (4, 5):
                    layout = torch.channels_last if value.ndim == 4 else torch.channels_last_3d
                    value.data = value.data.to(memory_format=layout)
        return network

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """bf16 autocast where chosen, else nothing."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()


def cache_folder() -> Path:
    """The user's cache folder for suffuse (SUFFUSE_CACHE, else the platform's habit)."""
    if own := os.environ.get("SUFFUSE_CACHE"):
        return Path(own)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "suffuse"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "suffuse" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "suffuse"


def machine_key(device: torch.device) -> str:
    """What identifies this machine as far as speed goes: processor, threads, torch."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "flags")):
                name += hashlib.sha256(line.encode()).hexdigest()[:8]
            if line == "":
                break
    if device.type == "cuda":
        name += torch.cuda.get_device_name(device)
    return f"{name}-{torch.get_num_threads()}-{torch.__version__}-{device.type}"


def network_key(network: nn.Module, batch: int) -> str:
    """What identifies a network as far as speed goes: its layers' shapes and the batch."""
    shapes = [(type(m).__name__, [tuple(p.shape) for p in m.parameters(recurse=False)]) for m in network.modules()]
    return hashlib.sha256(f"{shapes} {batch}".encode()).hexdigest()[:16]


def measure(candidates: dict[str, Callable[[], Any]], seconds: float = 4.0, rounds: int = 5) -> dict[str, float]:
    """The least time of each callable over interleaved rounds; a hopeless one (3x the best) is dropped after one.

    About `seconds` are spent: no further callable is begun after three times that. One that raises is left out.
    """
    times: dict[str, float] = {}
    first = time.perf_counter()
    for name, call in list(candidates.items()):
        if times and time.perf_counter() - first > 3 * seconds:
            break
        try:
            call()
            start = time.perf_counter()
            call()
            times[name] = time.perf_counter() - start
        except (RuntimeError, NotImplementedError, TypeError):
            continue
    begun = time.perf_counter()
    for _ in range(rounds):
        best = min(times.values(), default=0.0)
        for name in times:
            if times[name] <= 3 * best and time.perf_counter() - begun < seconds:
                start = time.perf_counter()
                candidates[name]()
                times[name] = min(times[name], time.perf_counter() - start)
    return times


def fastest(times: dict[str, float], plain: str) -> str:
    """The fastest measured name, or `plain` unless it is beaten by the margin."""
    if plain not in times:
        return plain
    best = min(times, key=times.__getitem__)
    return best if times[best] * MARGIN < times[plain] else plain


def choose(
    run: Callable[[Choice], Callable[[], Any]],
    network: nn.Module,
    device: torch.device,
    batch: int,
    purpose: str,
    settle: Choice = Choice(),
    open_to: tuple[str, ...] = ("bf16", "channels_last"),
    cache: bool = True,
    seconds: float = 4.0,
) -> Choice:
    """The fastest way to run a network here, measured once and remembered.

    run: makes the timed call for a choice (a training step, or one network call). purpose: 'train' or 'sample', part
    of the key. settle: what the caller has fixed. open_to: which of 'bf16', 'channels_last' and 'threads' may be changed
    from it.
    seconds: what measuring may take, roughly. The answer is never measured slower than `settle`. Compilation is
    decided apart (`worth_compiling`).
    """
    file = cache_folder() / "machine.json"
    key = f"{machine_key(device)}/{network_key(network, batch)}/{purpose}/{sorted(open_to)}/{settle.to_json()}"
    known = _known(file) if cache else {}
    with contextlib.suppress(KeyError, TypeError):
        return Choice(**known[key]["choice"])
    grids = any(p.ndim in (4, 5) for p in network.parameters())
    options = {"plain": settle}
    if "bf16" in open_to:
        options["bf16"] = replace(settle, bf16=True)
    if "channels_last" in open_to and grids:
        options |= {f"{name}, channels_last": replace(o, channels_last=True) for name, o in list(options.items())}
    times = measure({name: run(option) for name, option in options.items()}, seconds) if len(options) > 1 else {}
    choice = options[fastest(times, "plain")]
    count = torch.get_num_threads()
    if "threads" in open_to and count > 1:
        few = replace(choice, threads=1)
        own = measure({"all threads": run(choice), "one thread": _on_threads(run(few), 1, count)}, seconds)
        choice, times = (few if fastest(own, "all threads") == "one thread" else choice), {**times, **own}
    if cache:
        known = {**dict(list(_known(file).items())[-200:]), key: {"choice": choice.to_json(), "seconds": times}}
        with contextlib.suppress(Exception):
            write_json(known, file)
    return choice


def _on_threads(call: Callable[[], Any], threads: int, usual: int) -> Callable[[], Any]:
    def on_them() -> None:
        torch.set_num_threads(threads)
        try:
            call()
        finally:
            torch.set_num_threads(usual)

    return on_them


def worth_compiling(seconds_left: float, device: torch.device) -> bool:
    """Whether a run is long enough to pay for compiling (half a minute to three on CPUs, for a third at most)."""
    return seconds_left > (900 if device.type == "cuda" else 3600)


def _known(file: Path) -> dict[str, Any]:
    try:
        value = read_json(file)
        return value if isinstance(value, dict) else {}
    except Exception:
        return {}


def compiled(network: nn.Module) -> Callable[..., Any]:
    """torch.compile with static shapes, falling back to the network itself where there is no compiler."""
    try:
        return torch.compile(network, dynamic=False)
    except (RuntimeError, ImportError):
        return network
