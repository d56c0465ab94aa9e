"""Files that tell a decoder to read something else, through the commands: nothing else is read, nobody is called."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from extract_helper import write_tone
from networks import tiny_checkpoint

from pipelines.cli import main as cli
from stemfeatures import audio
from stemfeatures.audio.ffmpeg_decoder import ffmpeg_path
from stemfeatures.tables.reader import open_features

SECRET_HZ = 3000.0


class Listener:
    """A server on the loopback device that counts who comes."""

    def __init__(self) -> None:
        self.n_connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.n_connections += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Music of somebody else, in formats that playlists may name."""
    folder = tmp_path_factory.mktemp("secret")
    write_tone(folder / "secret.wav", seconds=1.0, f0=SECRET_HZ)
    for name in ("secret.ts", "secret.mp4"):
        _ffmpeg("-i", folder / "secret.wav", "-c:a", "aac", folder / name)
    return folder


def _ffmpeg(*arguments: object) -> None:
    program = ffmpeg_path()
    assert program is not None
    subprocess.run([program, "-v", "error", "-nostdin", *map(str, arguments)], check=True, timeout=60)


def _hls(segment: object, key: object = None) -> str:
    crypt = "" if key is None else f'#EXT-X-KEY:METHOD=AES-128,URI="{key}"\n'
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n{crypt}#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n"


def _dash(source: object) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet contentType="audio" mimeType="audio/mp4"><Representation id="0" bandwidth="1000">'
        f"<BaseURL>{source}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


def _imf(source: object) -> str:
    return (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>x</Id>'
        f"<EditRate>25 1</EditRate><Asset><Path>{source}</Path></Asset></CompositionPlaylist>"
    )


def write_lies(folder: Path, secret: Path, port: int) -> list[str]:
    """Files that are no audio and name some; their names."""
    ts, mp4, wav = secret / "secret.ts", secret / "secret.mp4", secret / "secret.wav"
    url = f"http://127.0.0.1:{port}/secret"
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><image href="{}"/></svg>'
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
    texts = {
        "hls absolute.mp3": _hls(ts),
        "hls relative.wav": _hls("secret.ts"),
        "hls upwards.flac": _hls("../secret/secret.ts"),
        "hls url.mp3": _hls(f"{url}.ts"),
        "hls key url.mp3": _hls(ts, f"{url}.key"),
        "hls concat.mp3": _hls(f"concat:{ts}|{ts}"),
        "hls subfile.mp3": _hls(f"subfile,,start,0,end,9999,,:{ts}"),
        "dash absolute.mp3": _dash(mp4),
        "dash url.flac": _dash(f"{url}.mp4"),
        "ffconcat absolute.wav": f"ffconcat version 1.0\nfile '{wav}'\n",
        "ffconcat relative.mp3": "ffconcat version 1.0\nfile secret.wav\n",
        "ffconcat url.mp3": f"ffconcat version 1.0\nfile {url}.wav\n",
        "m3u.mp3": f"#EXTM3U\n{wav}\n{url}.wav\n",
        "pls.wav": f"[playlist]\nFile1={wav}\nFile2={url}.wav\nNumberOfEntries=2\n",
        "sdp.mp3": sdp,
        "imf.mp3": _imf(mp4),
        "picture.mp3": svg.format(f"file://{wav}"),
        "picture url.flac": svg.format(f"{url}.png"),
        "asx.mp3": f'<asx version="3.0"><entry><ref href="{url}.wma"/></entry></asx>',
        "ram.mp3": f"rtsp://127.0.0.1:{port}/secret.rm\n{wav}\n",
        "lavfi.mp3": f"amovie={wav}",
    }
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return sorted(texts)


def write_bombs(folder: Path) -> list[str]:
    """Small files that declare, or decode to, far too much; their names."""
    soundfile.write(folder / "ten days.flac", np.zeros(8_640_000, np.int16), 10, subtype="PCM_16")
    wav = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 2**32 - 1, b"WAVE", b"fmt ", 16, 1, 255, 96_000, 48_960_000, 510,
                      16, b"data", 2**32 - 1)  # fmt: skip
    (folder / "wide.wav").write_bytes(wav + bytes(51_000))
    box = struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0) + struct.pack(">I4sQ", 1, b"moov", 2**62) + bytes(64)
    (folder / "boxes.mp3").write_bytes(box)
    return ["boxes.mp3", "ten days.flac", "wide.wav"]


def write_linked_film(ffmpeg_folder: Path, folder: Path, secret: Path) -> None:
    """Matroska with a file attached, whose head says that ``secret.wav`` comes next: it has music of its own."""
    write_tone(ffmpeg_folder / "own.wav", seconds=1.0, f0=220.0)
    attached = ["-attach", secret / "secret.wav", "-metadata:s:t", "mimetype=application/octet-stream"]
    _ffmpeg("-i", ffmpeg_folder / "own.wav", *attached, "-c:a", "flac", ffmpeg_folder / "film.mkv")
    data = bytearray((ffmpeg_folder / "film.mkv").read_bytes())
    at = data.index(bytes.fromhex("1549a966")) + 4  # Info; its size has eight bytes, or one
    width = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + width], "big") - (1 << 7 * width)
    name = str(secret / "secret.wav").encode()
    more = bytes.fromhex("3e83bb") + struct.pack(">H", 0x4000 | len(name)) + name  # NextFilename
    data[at + width + size : at + width + size] = more
    data[at : at + width] = (size + len(more) + (1 << 7 * width)).to_bytes(width, "big")
    (folder / "film.mp3").write_bytes(data)


def test_no_command_follows_what_a_file_says(
    tmp_path: Path, secret: Path, listener: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    music, model = tmp_path / "music", str(tiny_checkpoint(tmp_path / "model"))
    names = write_lies(music, secret, listener.port)
    names += write_bombs(music)
    for name in ("secret.ts", "secret.wav", "secret.mp4"):  # beside the lists that name them
        shutil.copy(secret / name, tmp_path / name)
        shutil.copy(secret / name, music / f"{name}.beside")
    for name in names[:4]:
        shutil.copy(music / name, music / name.partition(".")[0])  # without a suffix
    names += [name.partition(".")[0] for name in names[:4]]
    write_linked_film(tmp_path, music, secret)
    paths = [str(music / name) for name in names]
    catalogue = tmp_path / "catalogue.csv"
    urls = [f"rtsp://127.0.0.1:{listener.port}/x.wav", f"concat:{secret}/secret.wav|{secret}/secret.wav",
            f"subfile,,start,0,end,99999,,:{secret}/secret.wav", "pipe:0"]  # fmt: skip
    pd.DataFrame({"path": [*paths, *urls, str(music / "film.mp3")]}).to_csv(catalogue, index=False)
    shared = ["-m", model, "-d", "cpu"]

    assert cli(["extract", str(catalogue), "-o", str(tmp_path / "out"), *shared, "-j", "1", "-q"]) == 3
    features = open_features(tmp_path / "out")
    tracks = features.to_pandas("tracks")
    assert tracks["source_uri"].map(lambda uri: Path(uri).name).tolist() == ["film.mp3"]
    assert tracks["decoded_duration_s"].tolist() == [pytest.approx(1.0, abs=0.01)]
    errors = features.to_pandas("errors")
    assert len(errors) == len(names) + len(urls)
    assert set(errors["stage"]) == {"decode", "catalog"}
    capfd.readouterr()

    assert cli(["separate", *paths, "-o", str(tmp_path / "stems"), *shared]) != 0
    assert not list((tmp_path / "stems").rglob("*.wav"))
    assert cli(["describe", *paths, *shared, "--json"]) != 0
    assert capfd.readouterr().out == ""
    assert cli(["validate", str(catalogue), "--json"]) != 0
    told = json.loads(capfd.readouterr().out)
    problems = {problem["row"] for problem in told["problems"]}
    fine = [name for row, name in enumerate([*names, *urls, "film.mp3"], 1) if row not in problems]
    assert fine == ["film.mp3"]
    assert listener.n_connections == 0


def test_a_film_is_its_own_sound_only(tmp_path: Path, secret: Path) -> None:
    write_linked_film(tmp_path, tmp_path, secret)
    y, rate = audio.load(tmp_path / "film.mp3", mono=True)
    spectrum = np.abs(np.fft.rfft(y))
    hertz = np.fft.rfftfreq(len(y), 1 / rate)
    assert hertz[spectrum.argmax()] == pytest.approx(220, abs=3)
    near_secret = np.abs(hertz - SECRET_HZ) < 20
    assert spectrum[near_secret].max() < 0.02 * spectrum.max()
