"""The page: a folder that any browser opens from disk."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.files import naming
from ..audio import open_audio, read_tags
from ..errors import StemfeaturesError
from ..lyrics import Aligner, Alignment, parse_lyrics, write_alignment
from ..models import checkpoints
from ..separation import Separator
from .listening import listen
from .media import SAMPLE_RATE, MediaWriter
from .song import song_document

PLAYER = Path(__file__).parent / "player"
#: By this file a page of ours is known, and may be replaced.
_MARK = "song.js"


class PageError(StemfeaturesError):
    """The page cannot be written where it was asked for."""

    stage = "singalong"


@dataclass(frozen=True)
class SingAlongPage:
    """A page that was written.

    Attributes
    ----------
    path : Path
        Its ``index.html``.
    alignment : Alignment | None
        The words in time; None without lyrics.
    message : str
        What the decoder complained of, and what the alignment says of the lyrics; empty when there is nothing to say.
    """

    path: Path
    alignment: Alignment | None
    message: str


def write_page(
    audio: str | Path,
    out_dir: str | Path,
    lyrics: str | None = None,
    *,
    title: str | None = None,
    artist: str | None = None,
    model: str | Path = checkpoints.DEFAULT_MODEL,
    device: str = "cpu",
    on_progress: Callable[[float], None] | None = None,
) -> SingAlongPage:
    """Write a page to sing along with a song.

    Parameters
    ----------
    audio : str | Path
        The song.
    out_dir : str | Path
        Folder to make; one that is empty or holds such a page is replaced.
    lyrics : str | None
        Text or ``.lrc``, see :func:`stemfeatures.lyrics.parse_lyrics`; None makes a page without words.
    title, artist : str | None
        To be shown; what the file's tags say by default, or its name.
    model : str | Path
        Joint checkpoint that separates, by name or path.
    device : str
        Torch device.
    on_progress : Callable[[float], None] | None
        Called with the seconds of audio that are separated.

    Returns
    -------
    SingAlongPage
        Also where the words do not fit: then they are shown without times, and the alignment says so.

    Raises
    ------
    AudioError
        The file cannot be decoded; nothing is written then.
    ModelError
        The checkpoint cannot be used.
    PageError
        ``out_dir`` holds something else.
    ImportError
        There are lyrics and the extra ``lyrics`` is not installed; says how to.
    """
    audio, out_dir = Path(audio), Path(out_dir)
    require_free(out_dir)
    aligner = None if lyrics is None else Aligner(model, device=device)
    separator = Separator(model, device=device)
    with _replacing(out_dir) as folder:
        (folder / "media").mkdir()
        with open_audio(audio) as source:
            rate, channels = source.info.sample_rate, source.info.channels
            with MediaWriter(folder / "media", rate, channels) as media:

                def take(stems: dict[str, np.ndarray]) -> None:
                    media.write(stems)
                    if on_progress is not None:
                        on_progress(media.n_samples / SAMPLE_RATE)

                heard = listen(separator, source, rate, channels, take)
                layout = media.finish()
            message = source.message or ""
        tags = read_tags(audio)
        text = None if lyrics is None else parse_lyrics(lyrics)
        vocals = replace(heard.vocals, message=message)
        alignment = None if aligner is None or text is None else aligner.from_vocals(vocals, text)
        song = {
            "title": title or tags.title or audio.stem,
            "artist": artist or tags.artist or "",
            "duration": heard.n_samples / rate,
            "media": layout,
            **song_document(heard.description, text, alignment),
        }
        write_files(folder, song)
        if alignment is not None:
            write_alignment(alignment, folder / "words.json")
    return SingAlongPage(out_dir / "index.html", alignment, message if alignment is None else alignment.message)


def write_files(folder: Path, song: dict[str, Any]) -> None:
    """All of a page but its media: the player, and ``song.js`` of a song as :func:`write_page` makes it."""
    shutil.copytree(PLAYER, folder / "player")
    (folder / "player" / "index.html").rename(folder / "index.html")
    document = json.dumps(song, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    (folder / _MARK).write_text(f"singalong.setSong({document});\n", encoding="utf-8")


def require_free(folder: Path) -> None:
    """Raise PageError unless a page may be written to a folder: there is none, it is empty, or it holds a page."""
    if not folder.parent.is_dir():
        raise PageError(f"there is no folder {folder.parent}", source=str(folder))
    if folder.exists() and not folder.is_dir():
        raise PageError("is a file, not a folder", source=str(folder))
    if folder.is_dir() and any(folder.iterdir()) and not ((folder / _MARK).is_file() and (folder / "player").is_dir()):
        raise PageError("holds other files; name a new folder", source=str(folder))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside another, which takes its place when all went well."""
    prefix = ".singalong-"
    with (
        naming(folder, folder.parent / prefix),
        tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as scratch,
    ):
        made = Path(scratch) / "page"
        made.mkdir()
        yield made
        if folder.exists():
            folder.rename(Path(scratch) / "before")
        made.rename(folder)
