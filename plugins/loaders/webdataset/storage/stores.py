"""One way to read each kind of root: a folder, or an object store or HTTP(S) server through obstore.

Every store raises `NotThere` for what does not exist, `Refused` for what no retry can mend (permission, bad request), and
OSError for the rest: time-outs, refused connections, 5xx, 429, short answers.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

_OPEN_FILES = 256
_FINAL = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG}


class NotThere(Exception):
    """The root does not hold the file."""


class Refused(Exception):
    """The root will not serve the file, however often it is asked."""


class Store(Protocol):
    remote: bool

    def get(self, name: str) -> bytes: ...

    def read(self, name: str, offset: int, length: int) -> bytes: ...

    def close(self) -> None: ...


def open_store(address: str, timeout_s: float) -> Store:
    """The store at ``address``: a folder, or http://, https://, s3://, gs:// and what else obstore reads."""
    return RemoteStore(address, timeout_s) if "://" in address else LocalStore(Path(address))


class _File:
    """A descriptor that closes once nobody holds it."""

    def __init__(self, path: Path):
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY)

    def __del__(self):
        if self.fd >= 0:
            os.close(self.fd)


class LocalStore:
    """A folder of a local or parallel file system; the files used last stay open."""

    remote = False

    def __init__(self, folder: Path):
        self._folder = folder
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise _sorted(error) from error

    def read(self, name: str, offset: int, length: int) -> bytes:
        try:
            file = self._file(name)  # held until it is read: another thread may open it too, or 256 others, and let go of it
            there = os.fstat(file.fd).st_size - offset  # no memory is taken on a damaged table's word
            return os.pread(file.fd, min(length, there), offset) if there > 0 else b""
        except OSError as error:
            with self._lock:  # a stale handle of a network file system is opened anew
                self._open.pop(name, None)
            raise _sorted(error) from error

    def close(self) -> None:
        """Let go of the files: whoever holds the store may be garbage for long."""
        with self._lock:
            self._open.clear()

    def _file(self, name: str) -> _File:
        with self._lock:
            if name in self._open:
                self._open.move_to_end(name)
                return self._open[name]
        opened = _File(self._folder / name)
        with self._lock:
            self._open[name] = opened
            if len(self._open) > _OPEN_FILES:  # readers that still hold it keep its descriptor alive
                self._open.popitem(last=False)
        return opened


def _sorted(error: OSError) -> Exception:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotThere(str(error))
    return Refused(str(error)) if error.errno in _FINAL else error


class RemoteStore:
    """An object store or HTTP(S) server. Credentials and end points come from the usual environment variables, such as
    AWS_ENDPOINT_URL. Retries are the caller's: obstore's own would hide a slow root from it."""

    remote = True

    def __init__(self, address: str, timeout_s: float):
        from obstore.store import from_url

        timeout = timedelta(seconds=timeout_s)
        client: Any = {"timeout": timeout, "connect_timeout": min(timeout, timedelta(seconds=5)), "allow_http": True}
        retry: Any = {"max_retries": 0, "retry_timeout": timeout}
        self._store: Any = from_url(address, client_options=client, retry_config=retry)

    def get(self, name: str) -> bytes:
        import obstore

        return self._ask(lambda: bytes(obstore.get(self._store, name).bytes()))

    def read(self, name: str, offset: int, length: int) -> bytes:
        import obstore

        return self._ask(lambda: bytes(obstore.get_range(self._store, name, start=offset, length=length)))

    def close(self) -> None:
        pass

    def _ask(self, request: Any) -> bytes:
        from obstore import exceptions as wrong

        try:
            return request()
        except FileNotFoundError as error:
            raise NotThere(_brief(error)) from error
        except (wrong.PermissionDeniedError, wrong.UnauthenticatedError) as error:
            raise Refused(_brief(error)) from error
        except (wrong.BaseError, OSError) as error:
            if " 400 Bad Request" in str(error):
                raise Refused(_brief(error)) from error
            raise OSError(_brief(error)) from error


def _brief(error: Exception) -> str:
    """The first line of obstore's message: what follows repeats it as a debug print."""
    return str(error).strip().splitlines()[0][:300]
