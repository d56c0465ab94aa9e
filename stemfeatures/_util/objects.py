"""Objects of a store (S3, Google Cloud, Azure, HTTP) through fsspec: each call with a limit, tried again, and told in
one sentence when it fails.

fsspec's file systems speak to the stores. What is added here: no call waits without end; connections that break and
answers of the kind "try later" are tried again, a bit later each time; what is wrong is an ``OSError`` whose text is a
sentence with the address, without users, passwords and signatures; an object is created or not, also where the answer
to the first try was lost.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .clock import awake_s, get_within
from .urls import SCHEMES, Url, redacted

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds that one call may take with all of its tries, and that a store may be silent within one.
CALL_LIMIT_S = 120.0
CONNECT_LIMIT_S = 10.0
SILENCE_LIMIT_S = 60.0
#: A store that does not answer at first may be none. One that has answered before is waited for, as for a server that
#: restarts: three seconds, and nearly a minute.
TRIES, LATER_TRIES = 5, 9
#: No further try begins after so many seconds of the first call to a store: one that is silent may be none.
FIRST_LIMIT_S = 45.0
_FIRST_WAIT_S = 0.2
#: Calls at a time, where there are many.
CONNECTIONS = 16
BLOCK_BYTES = 8 << 20

_TRY_LATER = {
    errno.EBUSY, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENETUNREACH,
    errno.EHOSTUNREACH, getattr(errno, "EREMOTEIO", errno.EIO),  # of Linux alone
}  # fmt: skip
#: Answers by which a server says that it cannot do this at all: not implemented, no such version of HTTP.
_NEVER = (501, 505)
#: Errors of the libraries below that are no OSError, by the names of their classes.
_BROKEN = {
    "HTTPClientError", "ClientConnectionError", "ClientPayloadError", "FSTimeoutError", "IncompleteRead",
    "ResponseParserError", "EndpointConnectionError", "ConnectTimeoutError",
}  # fmt: skip
_NO_BUCKET = re.compile(r"(?i)NoSuchBucket|(bucket|container) does not exist")
_DENIED = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}


class StoreError(OSError):
    """A store does not do what it is asked for; the text is a sentence.

    Parameters
    ----------
    what : str
        What is wrong.
    url : Url
        Of what.
    """

    def __init__(self, what: str, url: Url) -> None:
        super().__init__(f"{url}: {redacted(what)}")
        self.what = redacted(what)


class NoObjectError(StoreError, FileNotFoundError):
    """There is no such object."""


class NoBucketError(NoObjectError):
    """There is not even a bucket."""


class NoAccessError(StoreError, PermissionError):
    """The store does not let us."""


class ObjectExistsError(StoreError, FileExistsError):
    """It is there already."""


class SilentStoreError(StoreError, TimeoutError):
    """The store does not answer in time."""


class Entry(NamedTuple):
    """A file of a folder: name, bytes, and time of change in seconds since 1970 (0 where the store does not say)."""

    name: str
    size: int
    modified_s: float


_filesystems: dict[tuple[int, str], AbstractFileSystem] = {}
#: Addresses of the buckets and hosts that have answered this process.
_answered: set[str] = set()
_making = threading.Lock()


def filesystem(url: Url) -> AbstractFileSystem:
    """The file system of an address, one for each process; credentials come from where its library looks for them.

    Raises
    ------
    StoreError
        The package that speaks to such a store is missing.
    """
    with _making:
        key = (os.getpid(), url.scheme)
        if key not in _filesystems:
            import fsspec

            try:
                fs = fsspec.filesystem(url.scheme, **_options(url.scheme))
            except ImportError as error:
                extra = SCHEMES[url.scheme]
                what = f"reading {url.scheme}:// needs a package: pip install 'stemfeatures[{extra}]'"
                raise StoreError(what, url) from error
            if SCHEMES[url.scheme] == "s3":
                fs.retries = 1  # tries of its own would multiply those of call()
            _filesystems[key] = fs
        return _filesystems[key]


def _options(scheme: str) -> dict[str, Any]:
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if SCHEMES[scheme] == "s3":
        options["max_concurrency"] = 1  # or each read of a whole object asks for its size first
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_LIMIT_S,
            "read_timeout": SILENCE_LIMIT_S,
            "retries": {"total_max_attempts": 1},
        }
    elif SCHEMES[scheme] == "http":
        import aiohttp

        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S, sock_read=SILENCE_LIMIT_S)
        options["client_kwargs"] = {"timeout": limit}
    return options


def forget_filesystems() -> None:
    """Make new connections from now on; for tests, which change the environment."""
    with _making:
        _filesystems.clear()
        _answered.clear()


def path_in(fs: AbstractFileSystem, url: Url) -> str:
    """What a file system calls an address. Text such as ``s3://a::file:///b`` is one name, never a chain."""
    return str(type(fs)._strip_protocol(url.address))


def call(url: Url, what: Callable[[AbstractFileSystem, str], T], *, limit_s: float | None = None) -> T:
    """The result of ``what(file system, path)``, which may be tried several times.

    Parameters
    ----------
    url : Url
        Of the object, for messages too.
    what : callable
        Does it.
    limit_s : float, optional
        Seconds for all tries, as far as this process is awake; :data:`CALL_LIMIT_S` by default.

    Raises
    ------
    StoreError
        The last try has failed.
    """
    fs = filesystem(url)
    path = path_in(fs, url)
    started, limit_s = awake_s(), CALL_LIMIT_S if limit_s is None else limit_s
    store = _store_of(url)
    tries = LATER_TRIES if store in _answered else TRIES
    for attempt in range(1, tries + 1):
        left_s = limit_s - (awake_s() - started)
        try:
            result = _within(left_s, lambda: what(fs, path))
            _answered.add(store)
            return result
        except queue.Empty:
            raise SilentStoreError(f"the store does not answer within {limit_s:g} s", url) from None
        except StoreError:
            raise
        except Exception as raised:
            error = _really(raised)
            wait_s = _FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)
            latest_s = limit_s if store in _answered else min(limit_s, FIRST_LIMIT_S)
            over = attempt == tries or awake_s() - started + wait_s > latest_s
            if over or not _may_pass(error):
                raise _told(error, url) from error
            log.debug("%s: %s; trying again", url, redacted(str(error)))
            time.sleep(wait_s)
    raise AssertionError


def _store_of(url: Url) -> str:
    """The bucket, or host, of an address."""
    return "/".join(url.address.split("/", 3)[:3])


def _within(limit_s: float, work: Callable[[], T]) -> T:
    """The result of a call in a thread of its own; queue.Empty when there is none in time."""
    results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True, name="store").start()
    value, error = get_within(results, max(limit_s, 0.0))
    if error is not None:
        raise error
    return value


def _really(error: Exception) -> Exception:
    """What has happened: fsspec says that a file is not found whatever a server of HTTP answers, or if it is down, and
    that reading or writing failed where it does not know why S3 denies access."""
    cause = error.__cause__
    answer = getattr(cause, "response", None)
    if isinstance(error, OSError) and error.errno == errno.EIO and isinstance(answer, dict):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return PermissionError(str(error)) if status in (401, 403) else error
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    return cause if _status(cause) is not None or _is_silence(cause) else error


def _is_silence(error: BaseException) -> bool:
    """Whether a store cannot be reached, or a connection to it has broken."""
    return isinstance(error, (ConnectionError, TimeoutError)) or bool(_kinds(error) & _BROKEN)


def _status(error: BaseException) -> int | None:
    """The status of HTTP that an error of one of the libraries carries."""
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    return None


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed."""
    if (status := _status(error)) is not None:
        return (status >= 500 and status not in _NEVER) or status == 429
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError)):
        return False
    if _is_silence(error):
        return True
    return isinstance(error, OSError) and error.errno in _TRY_LATER


def says_no_bucket(error: Exception) -> bool:
    """Whether what a store does not find is not an object, but its bucket."""
    return _NO_BUCKET.search(str(error)) is not None


def _told(error: Exception, url: Url) -> StoreError:
    """The error as a sentence."""
    text = " ".join(str(error).split())
    status, kinds = _status(error), _kinds(error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        if says_no_bucket(error):
            return NoBucketError("there is no such bucket", url)
        return NoObjectError("there is no such object", url)
    if isinstance(error, FileExistsError) or status in (409, 412):
        return ObjectExistsError("it is there already", url)
    if kinds & _DENIED:
        return NoAccessError("there are no credentials for this store", url)
    if isinstance(error, PermissionError) or status in (401, 403):
        return NoAccessError("the store denies access; are the credentials right?", url)
    if _is_silence(error):
        return SilentStoreError(f"the store cannot be reached, or breaks off ({type(error).__name__}: {text})", url)
    return StoreError(f"{type(error).__name__}: {text}", url)


# ------------------------------------------------------------------------------------------------------- operations


def read(url: Url) -> bytes:
    """The bytes of an object."""
    return call(url, lambda fs, path: fs.cat_file(path))


def blocks(url: Url, on_open: Callable[[Entry], None] = lambda entry: None) -> Iterator[bytes]:
    """The bytes of an object, block by block, with one request each; where a connection breaks it goes on behind it.

    Parameters
    ----------
    url : Url
        The object.
    on_open : callable, optional
        Called with what the store says of it, before the first block.

    Raises
    ------
    StoreError
        It cannot be read, or has been replaced meanwhile.
    """
    fs = filesystem(url)
    path = path_in(fs, url)
    store, started = _store_of(url), awake_s()
    done, tries, first = 0, 0, None
    while True:
        try:
            with fs.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead") as file:
                details = dict(getattr(file, "details", None) or {})
                entry = _entry({"name": path, **details, "size": getattr(file, "size", None) or details.get("size")})
                version = (entry, details.get("ETag"))
                _answered.add(store)
                if first is None:
                    first = version
                    on_open(entry)
                elif version != first:
                    raise StoreError("it was replaced while it was read", url)
                if done:
                    file.seek(done)
                while block := file.read(BLOCK_BYTES):
                    done, tries = done + len(block), 0
                    yield block
                return
        except StoreError:
            raise
        except Exception as raised:
            error = _really(raised)
            tries += 1
            wait_s = _FIRST_WAIT_S * 2.0 ** (tries - 1)
            if store in _answered:
                over = tries == LATER_TRIES
            else:
                over = tries == TRIES or awake_s() - started + wait_s > FIRST_LIMIT_S
            if over or not _may_pass(error):
                raise _told(error, url) from error
            time.sleep(wait_s)


def write(url: Url, data: bytes) -> None:
    """Write an object, whatever is there; readers see all of it or what was there before."""
    call(url, lambda fs, path: fs.pipe_file(path, data))


def create(url: Url, data: bytes) -> None:
    """Write an object unless there is one; two at once are told apart only where :func:`creates_once` is true.

    Raises
    ------
    FileExistsError
        Somebody else has created it.
    StoreError
        It cannot be written.
    """

    def work(fs: AbstractFileSystem, path: str) -> None:
        try:
            fs.pipe_file(path, data, mode="create")
        except (TypeError, NotImplementedError, ValueError):  # a file system that knows no conditions
            if fs.exists(path):
                raise FileExistsError(path) from None
            fs.pipe_file(path, data)

    try:
        call(url, work)
    except FileExistsError:
        if read(url) != data:  # else an earlier try has created it, whose answer was lost
            raise


def creates_once(url: Url) -> bool:
    """Whether the store refuses to create what is there; ``url`` is free, and holds nothing afterwards."""
    try:
        for data in (b"1", b"2"):
            call(url, lambda fs, path, data=data: fs.pipe_file(path, data, mode="create"))  # type: ignore[misc]
    except FileExistsError:
        return True
    except (StoreError, TypeError, NotImplementedError, ValueError) as error:
        if isinstance(error, (NoObjectError, NoAccessError, SilentStoreError)):
            raise
    finally:
        delete(url)
    return False


def delete(url: Url) -> None:
    """Delete an object, if there is one."""
    with suppress(NoObjectError):
        call(url, lambda fs, path: fs.rm_file(path))


def move(source: Url, target: Url) -> None:
    """Give an object another name; for a moment it has both. FileNotFoundError when there is none."""
    other = path_in(filesystem(target), target)
    call(source, lambda fs, path: fs.cp_file(path, other))
    delete(source)


def entries(folder: Url) -> list[Entry]:
    """The objects right below an address; none where there is nothing."""
    try:
        found = call(folder, lambda fs, path: fs.ls(path, detail=True))
    except NoBucketError:
        raise
    except NoObjectError:
        return []
    return [_entry(item) for item in found if item["type"] == "file" and not item["name"].endswith("/")]


def tree(folder: Url) -> list[tuple[str, Entry]]:
    """All objects below an address, with their names relative to it, sorted."""
    found = call(folder, lambda fs, path: [(path, *item) for item in fs.find(path, detail=True).items()])
    return sorted((name.removeprefix(path).lstrip("/"), _entry(item)) for path, name, item in found)


def info(url: Url) -> Entry | None:
    """An object; None when there is none. StoreError when there is no bucket."""
    try:
        found = call(url, lambda fs, path: fs.info(path))
    except NoBucketError:
        raise
    except NoObjectError:
        return None
    return _entry(found) if found["type"] == "file" else None


def _entry(item: dict[str, Any]) -> Entry:
    return Entry(item["name"].rstrip("/").rpartition("/")[2], int(item.get("size") or 0), _modified_s(item))


def _modified_s(item: dict[str, Any]) -> float:
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = item.get(name)
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, datetime):
            return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0


def _parsed(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text)
        except (ValueError, TypeError):
            continue
    return None
