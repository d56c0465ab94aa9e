"""The songs of this catalogue: what the held-out instruments and singers play, bar by bar."""

from __future__ import annotations

import numpy as np
from _studio import SR, Note, Singer, Song, Sources, above, chord, loop, midi, play, strike

LOOPS = "notes/drums/sonic-pi/etc_samples_loop_"
CAJON = "notes/drums/gogodze-phu/Samples_cajon_"
SPOKEN = "vocals/producerspace/sq_SQ---"


# ------------------------------------------------------------------------------------------------------ the band


def bass_line(song: Song, chords: list[str], pattern: list[tuple[float, float, int]], first_bar: int = 0) -> list[Note]:
    """``pattern`` a bar: (beat, length in beats, semitones above the chord's root)."""
    notes = []
    for bar, name in enumerate(chords, first_bar):
        root = above(28, chord(name)[0])
        notes += [Note(song.at(bar, b), 0.92 * n * song.beat, root + i, 1.0 if b == 0 else 0.85) for b, n, i in pattern]
    return notes


def comping(
    song: Song, chords: list[str], pattern: list[tuple[float, float]], *, low: int = 55, first_bar: int = 0
) -> list[Note]:
    """Chords at the (beat, length) of a pattern, in the inversion from ``low`` upwards."""
    notes = []
    for bar, name in enumerate(chords, first_bar):
        for beat, length in pattern:
            for i, pitch in enumerate(sorted(above(low, p) for p in chord(name))):
                start = song.at(bar, beat) + 0.012 * i
                notes.append(Note(start, length * song.beat, pitch, 1.0 if beat == 0 else 0.75))
    return notes


def arpeggio(song: Song, chords: list[str], order: str, *, low: int, first_bar: int = 0) -> list[Note]:
    """One note each half beat; ``order`` gives the places in the chord, from 0, ``3`` being the root an octave up."""
    notes = []
    for bar, name in enumerate(chords, first_bar):
        voicing = sorted(above(low, p) for p in chord(name)[:3])
        voicing.append(voicing[0] + 12)
        for k, place in enumerate(order):
            start = song.at(bar, k / 2)
            notes.append(Note(start, 1.6 * song.beat, voicing[int(place)], 1.0 if k % 4 == 0 else 0.75))
    return notes


KICK = [f"{CAJON}cnd_cajon_sr1_vl4_rr1_cnd.opus", f"{CAJON}cnd_cajon_sr1_vl4_rr3_cnd.opus"]
SLAP = [
    f"{CAJON}cnd_cajon_sl5_vl4_rr3_cnd.opus",
    f"{CAJON}cnd_cajon_sl3_vl4_rr3_cnd.opus",
    f"{CAJON}cnd_cajon_sl4_vl4_rr5_cnd.opus",
]
TIP = [
    f"{CAJON}cnd_cajon_sl7_vl3_rr1_cnd.opus",
    f"{CAJON}cnd_cajon_sl7_vl3_rr5_cnd.opus",
    f"{CAJON}cnd_cajon_sl7_vl3_rr6_cnd.opus",
]


def cajon(song: Song, sources: Sources, grid: str, n_bars: int, *, first_bar: int = 0, seed: int = 0) -> np.ndarray:
    """A bar as text, equally spaced: ``B`` bass stroke, ``S`` slap, ``t`` tip, ``.`` nothing."""
    rng = np.random.default_rng(seed)
    families = {"B": (KICK, 1.0), "S": (SLAP, 0.75), "t": (TIP, 0.22)}
    assert song.metre
    hits = []
    for bar in range(first_bar, first_bar + n_bars):
        for k, mark in enumerate(grid):
            if mark in families:
                names, velocity = families[mark]
                time = song.at(bar, k * song.metre / len(grid))
                hits.append((time, names[rng.integers(len(names))], velocity * rng.uniform(0.85, 1.0)))
    return strike(song, sources, hits, rng)


class Band:
    """The held-out instruments."""

    def __init__(self, sources: Sources) -> None:
        note = r"(?P<note>[A-G]s?)"
        self.bass = sources.instrument("notes/bass/freepats-electric-bass-YR", rf"samples_finger_{note}")
        self.guitar = sources.instrument("notes/guitar/freepats-spanish-guitar", rf"samples_{note}(?P<octave>\d)")
        del self.guitar[56]  # the file named Gs3 sounds an octave higher
        self.piano = sources.instrument("notes/keys/freepats-upright-piano", rf"samples_{note}(?P<octave>\d)vH")


#: The bass line and the chords that "Río", "Silver Night" and "Technology Is Magic" share.
SHARED_CHORDS = ["Am", "F", "C", "G"]
SHARED_BASS = [(0, 1, 0), (1, 0.5, 0), (1.5, 1, 7), (2.5, 0.5, 0), (3, 0.5, 12), (3.5, 0.5, 7)]


# ---------------------------------------------------------------------------------------------------- the tracks


#: (stem, file, pan, room) of the recorded songs, and their tempo in beats a minute and beats a bar. Francium's bars
#: begin at multiples of 1.875 s; where those of War of Freedom begin is not known.
RECORDED = {
    "7-Francium": ([("vocals", "vocals", 0.0, -22.0), ("drums", "drums", 0.0, -26.0), ("other", "other", 0.1, -12.0)],
                   128.0, 4),
    "sectoid-War of freedom": ([("other", "guitar", 0.3, -16.0), ("other", "rest", -0.1, -16.0)], 140.0, None),
}  # fmt: skip


def excerpt(sources: Sources, name: str, start: float, duration: float) -> Song:
    """A piece of a recorded song, its stems at their own levels."""
    parts, tempo, metre = RECORDED[name]
    song = Song(duration, tempo, metre)
    for stem, file, pan, room in parts:
        y = sources.sound(f"performances/{name}/{file}.opus")[round(start * SR) :][: song.n_samples]
        if len(y) < song.n_samples:
            raise ValueError(f"{name}/{file} ends {(song.n_samples - len(y)) / SR:.1f} s too early")
        song.add(stem, y, level=None, pan=pan, room=room)
    return song


def rio(sources: Sources, band: Band) -> Song:
    song = Song(26.0, 120.0, 4, "A minor")
    song.add("drums", loop(song, sources, f"{LOOPS}breakbeat.opus", 4, begin=song.at(1), end=26.0), level=-19, room=-26)
    song.bass = bass_line(song, SHARED_CHORDS * 3, SHARED_BASS, 1)
    song.add("bass", play(song, sources, song.bass, band.bass, 0.04), level=-19, room=-40)
    keys = comping(song, ["Am", *SHARED_CHORDS * 3], [(0, 1.5), (1.5, 2.0)], low=57)
    song.add("other", play(song, sources, keys, band.piano, 0.1), level=-21, pan=-0.35)
    singer, voice = Singer(sources, "f6", seed=1), np.zeros(song.n_samples, np.float32)
    for bar, words, melody in (
        (1, "I can hear the river calling", "E4:.5 E4:.5 A4:1 G4:.5 A4:1 G4:.5 F4:1.5 A4:1.5"),
        (3, "running through the silver night", "G4:.5 G4:.5 C5:1 B4:.5 C5:1 B4:.5 B4:2.5"),
        (5, "somewhere far beyond the sea", "E4:.5 E4:.5 A4:1 G4:.5 A4:1 B4:.5 C5:2.5"),
        (7, "all the stars are falling down", "C5:1 B4:.5 G4:1 E4:.5 G4:.5 E4:.5 D4:2.5"),
        (9, "you and I will find a way", "C5:.5 B4:.5 A4:1 G4:.5 A4:1 B4:.5 C5:2.5"),
        (11, "come back home", "G4:2 E4:2 D4:2.5"),
    ):
        singer.sing(song, voice, song.at(bar), words, melody)
    song.add("vocals", voice, level=-15, room=-15)
    return song


def silver_night(sources: Sources, band: Band) -> Song:
    song = Song(26.0, 120.0, 4, "A minor")
    song.add("drums", cajon(song, sources, "B.ttS.tBttB.S.tt", 12, first_bar=1, seed=2), level=-18, room=-20)
    song.bass = bass_line(song, SHARED_CHORDS * 3, SHARED_BASS, 1)
    song.add("bass", play(song, sources, song.bass, band.bass, 0.04), level=-19, room=-40)
    strings = arpeggio(song, ["Am", *SHARED_CHORDS * 3], "02132312", low=57)
    song.add("other", play(song, sources, strings, band.guitar, 0.12), level=-20, pan=0.4, room=-14)
    singer, voice = Singer(sources, "m6", seed=2), np.zeros(song.n_samples, np.float32)
    for bar, words, melody in (
        (1, "shadows on the wall at midnight", "A3:1 G3:.5 E3:.5 E3:.5 A3:1 G3:.5 F3:1 C4:2"),
        (3, "and I will wait for you", "E3:.5 E3:.5 G3:1 C4:1 B3:1 B3:2.5"),
        (5, "the world is turning slow", "A3:.5 C4:1 B3:.5 A3:1 G3:1 F3:2.5"),
        (7, "stay with me", "E3:1.5 G3:2.5 D3:2.5"),
        (9, "running through the silver night", "A3:.5 B3:.5 C4:1 B3:.5 A3:1 G3:.5 A3:2.5"),
        (11, "come back home", "G3:2 E3:2 D3:2.5"),
    ):
        singer.sing(song, voice, song.at(bar), words, melody)
    song.add("vocals", voice, level=-15.5, pan=-0.1, room=-16)
    return song


def technology(sources: Sources, band: Band) -> Song:
    song = Song(24.0, 120.0, 4, "A minor")
    drums = 0.8 * loop(song, sources, f"{LOOPS}safari.opus", 16, end=24.0)
    drums += 0.7 * loop(song, sources, f"{LOOPS}mehackit2.opus", 4, begin=song.at(4), end=24.0)
    song.add("drums", drums, level=-17, room=-24)
    song.bass = bass_line(song, SHARED_CHORDS * 3, SHARED_BASS)
    song.add("bass", play(song, sources, song.bass, band.bass, 0.04), level=-18, room=-40)
    keys = comping(song, SHARED_CHORDS * 3, [(k + 0.5, 0.25) for k in range(4)], low=60)
    song.add("other", play(song, sources, keys, band.piano, 0.05), level=-25, pan=0.3, room=-10)
    voice = np.zeros(song.n_samples, np.float32)
    for bar, words in (
        (1, "Technology-is-Magic"),
        (4, "Global-Consciousness-5"),
        (8, "We-Begin-as-Wanderers"),
        (10, "Stars-Cant-Shine"),
    ):
        phrase = sources.sound(f"{SPOKEN}{words}.opus")
        start = round(song.at(bar) * SR)
        voice[start : start + len(phrase)] += 0.1 * phrase[: len(voice) - start] / phrase.std()
    song.add("vocals", voice, level=-15, room=-18)
    return song


def sa(sources: Sources, band: Band) -> Song:
    """Carnatic phrases, whose tonic is G sharp, over a drone and tablas."""
    song = Song(10 * 240 / 90, 90.0, 4, "G#")
    song.add("drums", loop(song, sources, f"{LOOPS}tabla.opus", 12, begin=song.at(1), end=song.duration, length=8.0),
             level=-19, room=-18)  # fmt: skip
    up = 2 ** (1.087 / 12)  # the drone is on G, the singers 9 cents above G sharp
    drone = np.tile(sources.sound(f"{LOOPS}drone_g_97.opus", up)[: round(8 * 60 / 97 / up * SR)], 6)[: song.n_samples]
    song.add("other", drone, level=-24, pan=-0.2, room=-14)
    voice = np.zeros(song.n_samples, np.float32)
    for bar, beat, name in ((1, 0, "vignesh"), (3, 0, "carnatic"), (5, 0, "singing-female"), (8, 0, "vignesh")):
        phrase = sources.sound(f"vocals/sms-tools/{name}.opus")
        start = round(song.at(bar, beat) * SR)
        part = phrase[: len(voice) - start]
        voice[start : start + len(part)] += 0.1 * part / phrase.std()
    song.add("vocals", voice, level=-16, room=-12)
    return song


def vals(sources: Sources, band: Band) -> Song:
    """A waltz without a voice."""
    song = Song(17 * 180 / 132, 132.0, 3, "E minor")
    chords = ["Em", "Em", "Em", "Am", "Am", "B7", "B7", "Em", "Em", "C", "G", "Am", "Em", "B7", "B7", "Em", "Em"]
    song.add("drums", cajon(song, sources, "B.t.S.", 14, first_bar=2, seed=5), level=-22, room=-16)
    song.bass = bass_line(song, chords[1:], [(0, 2, 0), (2, 1, 7)], 1)
    song.add("bass", play(song, sources, song.bass, band.bass, 0.08), level=-19, room=-30)
    strings = comping(song, chords, [(1, 0.8), (2, 0.8)], low=55)
    song.add("other", play(song, sources, strings, band.guitar, 0.12), level=-23, pan=0.5, room=-14)
    tune = (
        "E5:2 B4:1 G4:2 B4:1 A4:2 C5:1 E5:2 D5:1 D#5:2 F#5:1 A5:2 F#5:1 G5:2 E5:1 B4:3 "
        "C5:2 E5:1 D5:2 B4:1 C5:1 B4:1 A4:1 G4:3 F#4:2 A4:1 D#5:2 B4:1 E5:3"
    )
    melody, beat = [], 0.0
    for name, length in (item.split(":") for item in tune.split()):
        melody.append(Note(song.at(1, beat), float(length) * song.beat, midi(name)))
        beat += float(length)
    song.add("other", play(song, sources, melody, band.guitar, 0.2), level=-17, pan=-0.3, room=-12)
    return song


def morning_light(sources: Sources, band: Band) -> Song:
    """A ballad."""
    song = Song(9 * 240 / 72, 72.0, 4, "D major")
    chords = ["D", "Bm", "G", "A", "D", "Bm", "G", "A", "D"]
    song.add("drums", cajon(song, sources, "B...t.t.S...t.B.", 7, first_bar=1, seed=6), level=-24, room=-14)
    song.bass = bass_line(song, chords, [(0, 2.5, 0), (2.5, 1.5, 0)])
    song.add("bass", play(song, sources, song.bass, band.bass, 0.1), level=-22, room=-30)
    keys = arpeggio(song, chords, "02132312", low=50) + comping(song, chords, [(0, 3.5)], low=57)
    song.add("other", play(song, sources, keys, band.piano, 0.25), level=-20, room=-16)
    singer, voice = Singer(sources, "f6", seed=3), np.zeros(song.n_samples, np.float32)
    for bar, words, melody in (
        (0, "hold me in the morning light", "D4:1 E4:.5 F#4:.5 F#4:.5 A4:1 F#4:.5 F#4:2.5"),
        (2, "stay with me", "B4:1.5 A4:.5 G4:2"),
        (3, "say you love me now", "E4:.5 E4:.5 A4:1 G4:.5 E4:1.25"),
        (4, "love is all I need from you", "F#4:1 E4:.5 D4:1 D4:.5 F#4:1 E4:.5 D4:2.5"),
        (6, "take my hand and close your eyes", "G4:.5 G4:.5 B4:1 A4:.5 G4:1 F#4:.5 E4:2.5"),
    ):
        singer.sing(song, voice, song.at(bar), words, melody)
    song.add("vocals", voice, level=-16, room=-13)
    return song


def held_breath(sources: Sources, band: Band) -> Song:
    """Electro; the sung G sharp is the fifth of C sharp minor."""
    song = Song(15 * 240 / 148, 148.0, 4, "C# minor")
    drums = loop(song, sources, f"{LOOPS}compus.opus", 16, begin=song.at(2), end=song.duration)
    song.add("drums", drums, level=-16, room=-26)
    chords = (["C#m", "C#m", "A", "B"] * 4)[:15]
    song.bass = bass_line(song, chords[2:], [(0, 1.5, 0), (1.5, 0.5, 12), (2, 1.5, 0), (3.5, 0.5, 7)], 2)
    song.add("bass", play(song, sources, song.bass, band.bass, 0.05), level=-18, room=-40)
    keys = comping(song, chords, [(0, 3.8)], low=56)
    song.add("other", play(song, sources, keys, band.piano, 0.4), level=-24, room=-6)
    voice = np.zeros(song.n_samples, np.float32)
    phrase = sources.sound("vocals/sms-tools/singing-female.opus", 2 ** (-0.087 / 12))
    for bar in (0, 5, 10):
        start = round(song.at(bar) * SR)
        voice[start : start + len(phrase)] += phrase[: len(voice) - start]
    song.add("vocals", voice, level=-17, room=-8)
    return song
