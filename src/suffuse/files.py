"""Files that are written whole or not at all, and files that are read with care. Every room uses these."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suffuse.errors import DataError, SuffuseError


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file name beside `path`; it takes the place of `path` when the block ends well.

    The name keeps the suffix of `path`, so that writers that choose their format by it work. When the block raises,
    the temporary file is removed and `path` stays as it was. Raises DataError on a full disk or a missing permission.

        with atomic_write("out.png") as partial:
            picture.save(partial)
    """
    path = Path(path)
    with _clear_errors(path):
        if path.is_dir():
            raise DataError(f"{path} is a folder; name a file to write")
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is a device or a pipe; name a file to write")
        made = _make_parents(path)
        try:
            ending = f".partial{path.suffix}"
            handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=ending, dir=path.parent)
        except OSError:
            _remove_empty(made)
            raise
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            _sync(partial)
            os.chmod(partial, 0o666 & ~_umask())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            _remove_empty(made)
            raise


@contextlib.contextmanager
def atomic_folder(path: str | Path, existing: str = "refuse") -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it becomes `path` when the block ends well.

    What happens to a folder of that name that holds something already: `existing="refuse"` raises DataError before the
    block runs; "replace" puts the new folder in its place as a whole (models); "merge" moves the new files into it,
    over files of the same names (samples). When the block raises, nothing is left behind. Raises DataError on a full
    disk or a missing permission.

        with atomic_folder("model", existing="replace") as partial:
            save_file(weights, partial / "model.safetensors")
            write_json(config, partial / "config.json")
    """
    if existing not in ("refuse", "replace", "merge"):
        raise ValueError(f"existing is 'refuse', 'replace' or 'merge', not {existing!r}")
    path = Path(os.path.abspath(path))
    with _clear_errors(path):
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} is a file; name a folder to write")
        full = path.is_dir() and any(path.iterdir())
        if full and existing == "refuse":
            raise DataError(f"the folder {path} is not empty; name a new one")
        if full and existing == "replace" and (Path.cwd().is_relative_to(path) or Path.home().is_relative_to(path)):
            raise DataError(f"the folder {path} is in use and will not be replaced; name a new one")
        made = _make_parents(path)
        try:
            partial = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", suffix=".partial", dir=path.parent))
        except OSError:
            _remove_empty(made)
            raise
        try:
            yield partial
            for file in partial.rglob("*"):
                if file.is_file():
                    _sync(file)
                    os.chmod(file, 0o666 & ~_umask())
            os.chmod(partial, 0o777 & ~_umask())
            if full and existing == "merge":
                _merge(partial, path)
            else:
                _exchange(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            _remove_empty(made)
            raise


def _merge(partial: Path, path: Path) -> None:
    """Move every file of `partial` to its place in `path`. The contents are on the disk already: only names move."""
    for file in sorted(partial.rglob("*")):
        target = path / file.relative_to(partial)
        if file.is_dir():
            target.mkdir(exist_ok=True)
        elif target.is_dir():
            raise DataError(f"{target} is a folder, and a file of that name was to be written")
        else:
            os.replace(file, target)
    shutil.rmtree(partial, ignore_errors=True)


def _exchange(partial: Path, path: Path) -> None:
    """Put `partial` in the place of the folder `path`. An older folder is moved aside first and put back on failure."""
    if not path.exists():
        os.replace(partial, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", suffix=".old", dir=path.parent)) / path.name
    try:
        os.replace(path, aside)
        try:
            os.replace(partial, path)
        except BaseException:
            os.replace(aside, path)
            raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)


def write_json(value: Any, path: str | Path) -> Path:
    """Write plain JSON, whole or not at all. NaN and infinity are refused (they are not JSON)."""
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} cannot hold this as JSON: {error}") from None
    return write_text(text, path)


def write_text(text: str, path: str | Path) -> Path:
    """Write UTF-8 text, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path)


def read_json(path: str | Path, limit: int = 16 << 20, error: type[SuffuseError] = DataError) -> Any:
    """Parse a JSON file of at most `limit` bytes. Raises `error` when it is missing, too large or broken.

    NaN and Infinity, which Python would accept, are refused, and so is nesting deep enough to exhaust the stack.
    """
    path = Path(path)
    text = read_text(path, limit, error)

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as broken:
        raise error(f"{path} is not valid JSON: {broken.msg} at line {broken.lineno}") from None
    except RecursionError:
        raise error(f"{path} is not usable JSON: it is nested too deeply") from None
    except ValueError as broken:
        raise error(f"{path} is not valid JSON: {broken}") from None


def read_text(path: str | Path, limit: int = 1 << 30, error: type[SuffuseError] = DataError) -> str:
    """A UTF-8 file of at most `limit` bytes (a byte-order mark is dropped). Raises `error` with one sentence."""
    path = Path(path)
    check_file(path, limit, error)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as broken:
        raise error(f"{path} is not UTF-8 text (byte {broken.start}); convert it to UTF-8") from None
    except OSError as broken:
        raise error(f"{path} cannot be read: {broken.strerror or broken}") from None


def check_file(path: str | Path, limit: int | None = None, error: type[SuffuseError] = DataError) -> int:
    """The size of a regular file in bytes. Raises `error` where there is none, or it is larger than `limit` bytes."""
    path = Path(path)
    try:
        if path.is_dir():
            raise error(f"{path} is a folder, and a file is wanted here")
        size = path.stat().st_size
        if not path.is_file():
            raise error(f"{path} is not a regular file")
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except (OSError, ValueError) as broken:
        raise error(f"{path!s} cannot be read: {getattr(broken, 'strerror', None) or broken}") from None
    if limit is not None and size > limit:
        raise error(f"{path} has {human_size(size)}, more than the {human_size(limit)} allowed here")
    return size


def check_memory(bytes_needed: int, what: str, share: float = 0.8, error: type[SuffuseError] = DataError) -> None:
    """Raise `error` before memory is taken that the machine does not have: more than `share` of what is available.

    `what` names the thing in the sentence, such as "picture.png (100000 x 100000 pixels)". Where the machine does not
    say what is available, 8 GB are assumed.
    """
    available = available_memory()
    if not math.isfinite(bytes_needed) or bytes_needed > share * available:
        raise error(f"{what} needs {human_size(bytes_needed)} of memory, and {human_size(available)} are available")


def available_memory() -> int:
    """Bytes of memory that can be taken now, container limits included; 8 GB where the system does not say."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        found.append(max(limit - int(Path("/sys/fs/cgroup/memory.current").read_text()), 0))
    return min(found, default=8 << 30)


def human_size(size: float) -> str:
    """Bytes as a person reads them: 3.1 MB."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def explain(error: OSError, path: str | Path | None = None) -> str:
    """One sentence for an operating system's error: what is wrong, where, and what would be right."""
    where = str(path or error.filename or "the output")
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        return f"the disk is full: {where} was not written; free some room or name another place"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for {where}; name a place you may use"
    if error.errno == errno.EROFS:
        return f"{where} is on a read-only file system; name another place"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{where} cannot be made: a file stands where a folder is needed"
    if error.errno == errno.ENOENT:
        return f"there is no file or folder {where}"
    if error.errno == errno.ENAMETOOLONG:
        return f"the name {where[:60]}... is too long for this file system"
    return f"{where}: {error.strerror or error}"


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors in writing `path` into one sentence."""
    try:
        yield
    except OSError as error:
        raise DataError(explain(error, path)) from error


def _make_parents(path: Path) -> list[Path]:
    """Make the folders that `path` stands in; returns those that were missing, the deepest first."""
    missing = [p for p in path.absolute().parents if not p.exists()]
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _sync(path: Path) -> None:
    with open(path, "rb+") as file, contextlib.suppress(OSError):
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
