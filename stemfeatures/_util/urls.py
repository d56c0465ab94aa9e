"""Addresses of files that are not on this machine: what they are, how they are joined, and how they may be shown."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

#: Schemes that are read and written through fsspec, with the extra that brings the file system.
SCHEMES = {
    "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure",
    "http": "http", "https": "http",
}  # fmt: skip

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: Parameters of signed addresses: they let whoever reads them in, and change with every signature.
_SECRET = re.compile(
    r"(?i)(?:x-(?:amz|goog|ms)-[\w-]+|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|sig|se|st|sp|sv|sr|ss|srt|spr|sip|ske|skt|sks|skv|skoid|sktid"
    r"|(?:access_?|auth_?|api_?|id_?)?(?:token|key|secret|password|passwd))=[^&\s#'\"]*&?"
)
_USER = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")


def scheme_of(text: str) -> str | None:
    """The scheme of an address in lower case; None for what is a path."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else None


def is_remote(text: str) -> bool:
    """Whether text is an address that fsspec can open: one without a bucket or host is none."""
    return scheme_of(text) in SCHEMES and bool(re.split(r"[/?]", text.split("://", 1)[1], maxsplit=1)[0])


def redacted(text: str) -> str:
    """Text in which the addresses have neither users, passwords nor signatures.

    Examples
    --------
    >>> redacted("https://me:word@host/a.mp3?v=2&X-Amz-Signature=0123&X-Amz-Date=1")
    'https://host/a.mp3?v=2'
    >>> redacted("music/what?.mp3")
    'music/what?.mp3'
    """
    return _ADDRESS.sub(lambda found: _bare(found[0]), text) if "://" in text else text


def _bare(address: str) -> str:
    address = _USER.sub("", address)
    head, mark, query = address.partition("?")
    if not mark:
        return head
    query = _SECRET.sub("", query).rstrip("&")
    return f"{head}?{query}" if query else head


class Url:
    """A folder or a file at an address; as much of a ``Path`` as messages and names need.

    Parameters
    ----------
    text : str
        With one of :data:`SCHEMES`.
    """

    def __init__(self, text: str | Url) -> None:
        text = text.address if isinstance(text, Url) else text
        scheme = scheme_of(text)
        if scheme not in SCHEMES:
            raise ValueError(f"{redacted(text)!r} is no address of {', '.join(SCHEMES)}")
        if not is_remote(text):
            raise ValueError(f"{text!r} names no bucket and no host")
        self.scheme: str = scheme
        #: As it is opened; :func:`str` shows it without secrets.
        self.address: str = f"{scheme}://{text.split('://', 1)[1]}".rstrip("/")

    @property
    def name(self) -> str:
        return self.address.partition("?")[0].rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Url:
        host, _, path = self.address.partition("?")[0].split("://", 1)[1].partition("/")
        folder = path.rstrip("/").rpartition("/")[0]
        return Url(f"{self.scheme}://{host}/{folder}" if folder else f"{self.scheme}://{host}")

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.address}/{name}")

    def absolute(self) -> Url:
        return self

    def __str__(self) -> str:
        return redacted(self.address)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


#: Where something lies: on this machine or in a store.
Place: TypeAlias = Path | Url


def place_of(where: str | Path | Url) -> Place:
    """A path, or an address where text is one."""
    if isinstance(where, str) and scheme_of(where) in SCHEMES:
        return Url(where)
    return where if isinstance(where, Url) else Path(where)


def joined(folder: str, name: str) -> str:
    """The address of what a manifest in the folder ``folder`` calls ``name``; ``..`` ends at the bucket or host.

    Examples
    --------
    >>> joined("s3://bucket/lists", "../music/a song.mp3")
    's3://bucket/music/a song.mp3'
    >>> joined("https://host/lists", "a song.mp3")
    'https://host/lists/a%20song.mp3'
    """
    scheme, rest = folder.split("://", 1)
    host, _, path = rest.partition("?")[0].partition("/")
    if SCHEMES[scheme] == "http":
        name = quote(name, safe="/%:@!$&'()*+,;=~")
    return f"{scheme}://{host}{posixpath.normpath(posixpath.join('/', path, name))}"
