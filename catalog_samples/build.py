"""Rebuild this catalogue from the training data: ``python catalog_samples/build.py DATA_DIR [--out DIR]``.

Everything is deterministic: the same data give the same samples. WAV and FLAC files and the truth come out bit for bit
the same; MP3, Ogg and M4A depend on the version of ffmpeg. Only recordings that ``held_out.txt`` keeps from training
are used. Needs the ``train`` extra (pyworld).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _songs as songs
import numpy as np
from _studio import F0_HOP_S, SR, Song, Sources, measure

from stemfeatures import audio
from stemfeatures.audio.ffmpeg_decoder import ffmpeg_path
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, STEMS
from stemfeatures.training.data.held_out import matches, read_patterns

HERE = Path(__file__).parent
MP3, VORBIS = "-c:a libmp3lame -q:a 3", "-c:a libvorbis -q:a 4"
AAC, OPUS = "-c:a aac -b:a 128k", "-c:a libopus -b:a 96k"
COLUMNS = ("path", "title", "artist", "genre", "licence", "bpm", "key", "note")
NOT_AUDIO = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"


@dataclass(frozen=True)
class Track:
    """A row of the catalogue: its file is ``channels`` channels at ``sample_rate``, made by ``make(sources, band)``.

    ``encoder`` : ffmpeg's options, None for WAV and FLAC. ``truth`` : name of its truth; ``stems`` : those of its
    stems that are kept with it. ``cut`` : the part of the bytes that is kept. ``lyrics`` : suffix of the file
    of its words that lies beside it, ``.txt`` or ``.lrc``.
    """

    path: str
    title: str
    artist: str
    genre: str
    licence: str
    make: Callable[[Sources, songs.Band], Song]
    sample_rate: int = SR
    channels: int = 2
    encoder: str | None = None
    truth: str | None = None
    stems: tuple[str, ...] = ()
    cut: float | None = None
    lyrics: str | None = None
    note: str = ""


def recording(name: str, start: float, duration: float) -> Callable[[Sources, songs.Band], Song]:
    return lambda sources, _: songs.excerpt(sources, name, start, duration)


def nothing(duration: float) -> Callable[[Sources, songs.Band], Song]:
    return lambda *_: Song(duration)


CC0, MIT, BY = "CC0-1.0", "MIT", "CC-BY-4.0"
OURS = "stemfeatures samples"
# fmt: off
TRACKS = [
    Track("Francium (excerpt 1).mp3", "Francium (excerpt 1)", "ichbinsoftware", "electronic", CC0,
          recording("7-Francium", 56.25, 26.25), encoder=MP3, truth="francium", stems=("vocals", "drums")),
    Track("ichbinsoftware/excerpt.ogg", "Francium (excerpt 2)", "ichbinsoftware", "electronic", CC0,
          recording("7-Francium", 123.75, 22.5), 48_000, encoder=VORBIS, truth="francium-2"),
    Track("sectoid/excerpt.ogg", "War of Freedom (excerpt)", "Sectoid", "metal", MIT,
          recording("sectoid-War of freedom", 45.0, 25.0), channels=1, encoder=VORBIS),
    Track("sectoid/#4 War of Freedom (cut off).mp3", "War of Freedom (cut off)", "Sectoid", "metal", MIT,
          recording("sectoid-War of freedom", 105.0, 30.0), encoder=MP3, cut=0.7,
          note="the file ends after 70 % of its bytes"),
    Track("Río.flac", "Río", OURS, "pop", CC0, songs.rio, truth="rio", stems=STEMS,
          lyrics=".txt"),
    Track("-silver night-.opus", "Silver Night", OURS, "acoustic pop", CC0, songs.silver_night, 48_000,
          encoder=OPUS, truth="silver-night", stems=STEMS, lyrics=".txt"),
    Track("Technology Is Magic..m4a", "Technology Is Magic.", OURS, "spoken word", CC0, songs.technology,
          encoder=AAC, truth="technology-is-magic"),
    Track("षड्ज (Sa).m4a", "षड्ज (Sa)", OURS, "carnatic", BY, songs.sa, 48_000, encoder=AAC, truth="sa"),
    Track("Vals, en mi menor.ogg", "Vals, en mi menor", OURS, "acoustic", CC0, songs.vals, encoder=VORBIS,
          truth="vals"),
    Track("morning light.wav", "Morning Light", OURS, "ballad", CC0, songs.morning_light, 22_050, 1,
          truth="morning-light", stems=STEMS, lyrics=".lrc"),
    Track("Held Breath (息).mp3", "Held Breath (息)", OURS, "electro", BY, songs.held_breath, 22_050, 1,
          encoder="-c:a libmp3lame -q:a 2", truth="held-breath"),
    Track("silence.flac", "Silence", OURS, "", CC0, nothing(20.0), 48_000, note="twenty seconds of digital silence"),
    Track("knock.wav", "Knock", OURS, "", CC0, nothing(0.2), note="0.2 s: one stroke on a cajón"),
    Track("not found.mp3", "Not found", OURS, "", CC0, nothing(0.0), note="a web page that was saved as MP3"),
]
# fmt: on


def encode(track: Track, y: np.ndarray, path: Path) -> None:
    """Write ``(channels, n)`` at 44.1 kHz as the track's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y = audio.resample(y.mean(axis=0, keepdims=True) if track.channels == 1 else y, SR, track.sample_rate)
    if track.encoder is None:
        audio.write(path, y, track.sample_rate, subtype="PCM_16")
        return
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "in.wav"
        audio.write(wav, y, track.sample_rate, subtype="FLOAT")
        tags = {"title": track.title, "artist": track.artist, "genre": track.genre, "copyright": track.licence}
        metadata = [word for key, value in tags.items() for word in ("-metadata", f"{key}={value}")]
        exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
        command = [ffmpeg_path() or "ffmpeg", "-v", "error", "-y", "-i", str(wav), *exact, *metadata]
        subprocess.run([*command, *track.encoder.split(), f"file:{path}"], check=True)
    if track.cut:
        whole = path.read_bytes()
        path.write_bytes(whole[: round(len(whole) * track.cut)])


def write_lyrics(song: Song, path: Path) -> None:
    """The words of a song as text, or as ``.lrc`` with the times of its lines."""
    lines = [words for _, _, words in song.lyrics]
    if path.suffix == ".lrc":
        lines = [f"[{int(a // 60):02d}:{a % 60:05.2f}]{words}" for a, _, words in song.lyrics]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_truth(track: Track, name: str, song: Song, folder: Path) -> None:
    """``<name>.json``, and with stems a folder ``<name>/`` as ``stemfeatures evaluate`` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    beats = [(round(t, 4), place) for t, place in song.beats()]
    f0 = None if song.f0 is None else [round(float(f), 1) for f in song.f0]
    truth = {
        "path": track.path,
        "duration_s": song.duration,
        "tempo_bpm": song.tempo,
        "key": song.key,
        "beats_s": [t for t, _ in beats],
        "beat_positions": [place for _, place in beats],
        "bass_notes": [[round(n.start, 4), round(n.start + n.duration, 4), n.midi] for n in song.bass] or None,
        "vocals_f0": f0 and {"hop_s": F0_HOP_S, "f0_hz": f0},
        "lyrics": [[round(a, 3), round(b, 3), words] for a, b, words in song.lyrics] or None,
    }
    # One line a field: small, and still readable.
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in truth.items())
    (folder / f"{name}.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    if not track.stems:
        return
    parts = folder / name
    parts.mkdir(exist_ok=True)
    # In 16-bit steps, so that the files sum to the mixture exactly.
    mono = {s: audio.resample(audio.to_mono(song.stems[s]), SR, ANALYSIS_SAMPLE_RATE) for s in song.stems}
    steps = {s: np.rint(y * 32768).astype(np.int32) for s, y in mono.items()}
    for stem in track.stems:
        write_steps(parts / f"{stem}.flac", steps[stem])
    write_steps(parts / "mixture.flac", np.sum(list(steps.values()), axis=0))
    (parts / "beats.tsv").write_text("".join(f"{t:.4f}\t{place}\n" for t, place in beats))
    if f0:
        rows = (f"{k * F0_HOP_S:.2f},{f:.1f}\n" for k, f in enumerate(f0))
        (parts / "vocals_f0.csv").write_text("".join(rows))


def write_steps(path: Path, steps: np.ndarray) -> None:
    audio.write(path, (steps / 32768).astype(np.float32), ANALYSIS_SAMPLE_RATE, subtype="PCM_16")


def make_audio(track: Track, song: Song, sources: Sources, out: Path) -> None:
    path = out / track.path
    if song.stems:
        song.master()
        encode(track, song.mixture(), path)
    elif track.title == "Knock":
        knock = sources.sound(songs.KICK[0])[: round(song.duration * SR)]
        encode(track, np.tile(0.5 * knock / np.abs(knock).max(), (2, 1)), path)
    elif song.duration:
        encode(track, np.zeros((2, song.n_samples), np.float32), path)
    else:
        path.write_text(NOT_AUDIO)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write (default: beside this file)")
    parser.add_argument("--only", help="only the tracks whose path contains this; leaves catalog.csv alone")
    arguments = parser.parse_args()
    sources = Sources(arguments.data_dir)
    band, rows = songs.Band(sources), []
    for track in TRACKS:
        if arguments.only and arguments.only not in track.path:
            continue
        song = track.make(sources, band)
        make_audio(track, song, sources, arguments.out)
        if track.truth:
            write_truth(track, track.truth, song, arguments.out / "truth")
        if track.lyrics:
            write_lyrics(song, (arguments.out / track.path).with_suffix(track.lyrics))
        loudness = "{:.1f} LUFS, {:.1f} dBTP".format(*measure(song.mixture())) if song.stems else ""
        print(f"{track.path}: {song.duration:.1f} s {loudness}", flush=True)
        bpm = f"{song.tempo:g}" if song.tempo else ""
        row = (track.path, track.title, track.artist, track.genre, track.licence, bpm, song.key or "", track.note)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    held_out = read_patterns(HERE / "held_out.txt")
    if seen := sorted(name for name in sources.used if not matches(name, held_out)):
        raise SystemExit(f"not held out of training: {seen}")
    if not arguments.only:
        with (arguments.out / "catalog.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
