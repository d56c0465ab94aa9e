"""Training examples mixed on the fly from a sound bank.

Stems come from recorded performances (random pieces, or several stems of one song in time) and
from one-shots and notes played as simple patterns; F0 is what is known of the singing and the bass.
"""

from __future__ import annotations

import numpy as np
import soxr

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH, PITCHED_STEMS, STEMS
from ...errors import DatasetError
from . import patterns
from .bank import SoundBank
from .effects import colour, drive, high_pass, rms
from .example import Example, label_example

#: Range of the gain of a second singer beside the first (amplitude).
SECOND_SINGER = (0.3, 1.0)

_Stems = dict[str, np.ndarray]
_F0 = dict[str, list[np.ndarray] | None]


class Mixer:
    """Makes :class:`Example` number ``i``.

    Parameters
    ----------
    bank : SoundBank
        The sounds.
    n_frames : int, default=256
        Length of an example.
    seed : int, default=0
        First number of every example's random state.
    duets : float, default=0.0
        Share of the sung examples in which a second singer sings lines of their own, 0..1.
    """

    def __init__(self, bank: SoundBank, *, n_frames: int = 256, seed: int = 0, duets: float = 0.0) -> None:
        self.bank, self.n_frames, self.seed, self.duets = bank, n_frames, seed, duets
        self.n_samples = n_frames * HOP_LENGTH
        table = bank.sounds.reset_index(drop=True)
        self.table = table
        self.performances = {c: np.flatnonzero((table["kind"] == "performance") & (table["class"] == c)) for c in STEMS}
        self.songs = [
            g.index.to_numpy() for _, g in table[table["kind"] == "performance"].groupby("song") if len(g) > 2
        ]
        # Where a song has no bass stem its bass is inside "other", which then loses its low end.
        with_bass = {table.at[i, "song"] for i in self.performances["bass"]}
        self.bass_inside = {
            int(i) for i in self.performances["other"] if table.at[i, "class"] == "other"
            and table.at[i, "song"] not in with_bass and not table.at[i, "path"].endswith("guitar.opus")
        }  # fmt: skip
        phrases = table[table["kind"] == "phrase"]
        self.phrases = {s: g.index.to_numpy() for s, g in phrases.groupby("source")}
        lengths = {s: table["length"].to_numpy()[i] for s, i in self.phrases.items()}
        wordy = table["path"].str.contains("computer_|whisper_|scifi_|hollywood_|dvs")
        self.phrases = {s: i[~(wordy.to_numpy()[i] & (lengths[s] < 2 * SR))] for s, i in self.phrases.items()}
        self.phrases = {s: i for s, i in self.phrases.items() if len(i)}
        weights = {"singbank": 0.5, "producerspace": 0.27, "utau-yuki": 0.1}
        self.phrase_sources = sorted(self.phrases)
        self.phrase_weights = np.array([weights.get(s, 0.05) for s in self.phrase_sources])
        self.phrase_weights /= self.phrase_weights.sum()
        hits = table[table["kind"] == "hit"].copy()
        hits["family"] = hits["source"] + hits["path"].str.extract(r"([^/]*?)[\d_]*(?:vl|rr|_v|\.opus)")[0].fillna("")
        self.kits = {r: [f.index.to_numpy() for _, f in g.groupby("family")] for r, g in hits.groupby("role")}
        notes = table[(table["kind"] == "note")].copy()
        notes["midi"] = 69 + 12 * np.log2(notes["pitch_hz"] / 440.0)
        notes["articulation"] = notes["source"] + notes["path"].str.extract(r"([^/]*?)_?[A-Ga-g][b#s]?\d")[0].fillna("")
        self.midi = notes["midi"]
        groups: dict[str, list[np.ndarray]] = {}
        for (kind, _), group in notes.groupby(["class", "articulation"]):
            if len(group) >= 5:
                groups.setdefault(kind, []).append(group.sort_values("midi").index.to_numpy())
        self.instruments = groups
        missing = [k for k in ("bass", "guitar", "keys", "other") if k not in groups]
        missing += [] if {"kick", "snare"} <= self.kits.keys() else ["drums (kick and snare)"]
        missing += [] if self.phrases else ["vocals"]
        missing += [c for c in STEMS if not len(self.performances[c])]
        if missing:
            message = f"the bank lacks sounds: {', '.join(missing)} (an instrument needs five notes)"
            raise DatasetError(message, source=str(bank.path), stage="train")

    # -- pieces -------------------------------------------------------------------------------------------------

    def piece(
        self, row: int, rate: float, rng: np.random.Generator, start: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """``n_samples`` of a recording played ``rate`` times as fast, and its F0 (NaN = not sure, None = not known)."""
        need = int(self.n_samples * rate) + 64
        total = int(self.table.at[row, "length"])
        if start is None:
            start = int(rng.integers(0, max(1, total - need)))
        y = self.bank.samples(row, start, need)
        y = soxr.resample(y, SR * rate, SR, quality="LQ") if rate != 1 else y
        y = np.pad(y[: self.n_samples], (0, max(0, self.n_samples - len(y)))).astype(np.float32)
        if row in self.bass_inside:
            y = high_pass(y, 220.0)
        f0 = self.bank.f0(row)
        if f0 is not None:
            source = np.round((start + np.arange(self.n_frames) * HOP_LENGTH * rate) / HOP_LENGTH).astype(int)
            f0 = np.where(source < len(f0), f0[np.minimum(source, len(f0) - 1)], 0.0) * rate
        return y, f0

    def place(self, out: np.ndarray, y: np.ndarray, at: int) -> None:
        """Add ``y`` to ``out`` from sample ``at`` on, whatever sticks out is cut."""
        a, b = max(at, 0), min(at + len(y), len(out))
        if b > a:
            out[a:b] += y[a - at : b - at]

    def sung(self, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
        """Phrases one after the other with rests, sometimes doubled in harmony: samples, F0 of each voice."""
        out = np.zeros(self.n_samples, np.float32)
        lead = np.zeros(self.n_frames, np.float32)
        second = np.zeros(self.n_frames, np.float32)
        source = str(rng.choice(self.phrase_sources, p=self.phrase_weights))
        rows = self.phrases[source]
        if source == "singbank":
            singer = self.table.at[int(rng.choice(rows)), "path"]
            rows = rows[self.table.loc[rows, "path"].to_numpy() == singer]
        rate = float(2 ** (rng.normal(0, 0.17)))
        harmony = rng.random() < 0.12
        interval = float(2 ** (rng.choice([3, 4, 5, 7, -5, -12, 12, 0.1]) / 12))
        at = int(rng.uniform(-0.3, 0.3) * self.n_samples)
        for _ in range(12):
            row = int(rng.choice(rows))
            y = self.bank.samples(row)
            level = rms(y)
            if level == 0:
                break
            y = y / level
            f0 = np.asarray(self.bank.f0(row))
            voices = [(rate, lead, 1.0)] + (
                [(rate * interval, second, float(rng.uniform(0.2, 0.8)))] if harmony else []
            )
            length = 0
            for r, track, gain in voices:
                z = soxr.resample(y, SR * r, SR, quality="LQ") * np.float32(gain)
                self.place(out, z, at)
                frames = np.arange(max(0, -(-at // HOP_LENGTH)), min(self.n_frames, (at + len(z)) // HOP_LENGTH + 1))
                origin = np.round((frames * HOP_LENGTH - at) * r / HOP_LENGTH).astype(int)
                inside = (origin >= 0) & (origin < len(f0))
                track[frames[inside]] = f0[origin[inside]] * r
                length = max(length, len(z))
            at += length + int(rng.exponential(0.35) * SR)
            if at >= self.n_samples:
                break
        return out, [lead, second] if harmony else [lead]

    def struck(self, context: patterns.Context, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A drum pattern on a kit put together at random: samples, onset times."""
        out = np.zeros(self.n_samples, np.float32)
        onsets = []
        kit: dict[str, np.ndarray] = {}
        tune = {}
        level = {
            "kick": 0.0,
            "snare": -2.0,
            "hat": -11.0,
            "open_hat": -12.0,
            "ride": -11.0,
            "crash": -7.0,
            "tom": -4.0,
            "perc": -9.0,
        }
        gain = {role: 10 ** ((db + rng.normal(0, 2.5)) / 20) for role, db in level.items()}
        for hit in patterns.drum_hits(context, rng):
            if hit.role not in kit:
                families = self.kits.get(hit.role) or self.kits["snare"]
                family = families[rng.integers(len(families))]
                kit[hit.role] = rng.permutation(family)[:4]
                tune[hit.role] = float(2 ** rng.normal(0, 0.12))
            row = int(rng.choice(kit[hit.role]))
            y = self.bank.samples(row, 0, int(1.8 * SR * tune[hit.role]))
            y = y / max(float(np.abs(y).max()), 1e-6)
            y = soxr.resample(y, SR * tune[hit.role], SR, quality="QQ") * np.float32(gain[hit.role] * hit.velocity)
            fade = min(400, len(y))
            y[len(y) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
            loud = np.flatnonzero(np.abs(y) > 0.1 * float(np.abs(y).max(initial=0.0)))
            lead = int(loud[0]) if len(loud) else 0
            self.place(out, y, round(hit.time * SR) - lead)
            onsets.append(hit.time)
        return out, np.array(onsets)

    def played(
        self, notes: list[patterns.Note], rows: np.ndarray, rng: np.random.Generator, *, release: float = 0.08
    ) -> tuple[np.ndarray, np.ndarray]:
        """Notes on a recorded instrument: samples, F0 of the latest note sounding (0 = none)."""
        out = np.zeros(self.n_samples, np.float32)
        f0 = np.zeros(self.n_frames, np.float32)
        midi = self.midi.loc[rows].to_numpy()
        shift = 12 * round((np.median(midi) - np.median([n.midi for n in notes])) / 12) if notes else 0
        shift = shift if abs(shift) > 12 else 0
        cache: dict[tuple[int, float], np.ndarray] = {}
        for note in sorted(notes, key=lambda n: n.time):
            if note.time > self.n_samples / SR or note.time + note.duration < 0:
                continue
            target = note.midi + shift
            near = rows[np.argsort(np.abs(midi - target))[:3]]
            row = int(near[rng.integers(len(near))])
            rate = float(2 ** ((target - self.midi.at[row]) / 12))
            if not 0.25 < rate < 4:
                continue
            key = (row, round(rate, 4))
            if key not in cache:
                y = self.bank.samples(row, 0, int(3.0 * SR * rate))
                y = soxr.resample(y, SR * rate, SR, quality="QQ")
                onset = np.flatnonzero(np.abs(y) > 0.05 * float(np.abs(y).max(initial=1e-9)))
                y = y[max(0, (int(onset[0]) if len(onset) else 0) - 64) :]
                cache[key] = y / max(rms(y), 1e-5)
            y = cache[key]
            hold = int(note.duration * SR)
            n = min(len(y), hold + int(4 * release * SR))
            y = y[:n] * np.float32(note.velocity)
            if hold < n:
                y[hold:] *= np.exp(-np.arange(n - hold) / (release * SR)).astype(np.float32)
            fade = min(200, n)
            y[n - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
            start = round(note.time * SR)
            self.place(out, y, start)
            power = np.maximum.accumulate((y**2)[::-1])[::-1]
            audible = int(np.searchsorted(-power, -1e-3 * float(power.max(initial=0.0)), "right"))
            a, b = -(-start // HOP_LENGTH), (start + min(audible, hold + int(2 * release * SR))) // HOP_LENGTH
            f0[max(a, 0) : max(b, 0)] = 440.0 * 2 ** ((target - 69) / 12)
        return out, f0

    def synthesised(
        self, notes: list[patterns.Note], rng: np.random.Generator, *, low: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Notes on a plain band-limited synthesiser (harmonics under an envelope), with the F0 likewise."""
        out = np.zeros(self.n_samples, np.float32)
        f0 = np.zeros(self.n_frames, np.float32)
        slope, odd = rng.uniform(0.6, 2.2), rng.random() < 0.3
        cutoff = np.exp(rng.uniform(np.log(300 if low else 900), np.log(6000)))
        attack, decay = rng.choice([0.004, 0.01, 0.15]), rng.uniform(0.4, 4.0)
        detune = rng.choice([0.0, 0.004])
        for note in notes:
            hertz = 440.0 * 2 ** ((note.midi - 69) / 12)
            n = int((note.duration + 0.06) * SR)
            start = round(note.time * SR)
            if start >= self.n_samples or start + n < 0:
                continue
            t = np.arange(n) / SR
            y = np.zeros(n)
            for h in range(1, int(min(24, 0.45 * SR / hertz)) + 1):
                if odd and h % 2 == 0:
                    continue
                gain = h**-slope / np.sqrt(1 + (h * hertz / cutoff) ** 4)
                if gain < 1e-3:
                    continue
                y += gain * np.sin(2 * np.pi * h * hertz * t + rng.uniform(0, 6))
                if detune:
                    y += gain * np.sin(2 * np.pi * h * hertz * (1 + detune) * t + rng.uniform(0, 6))
            envelope = np.minimum(t / attack, 1) * np.exp(-t / decay) * np.minimum((t[-1] - t) / 0.05 + 1e-3, 1)
            self.place(out, (y * envelope * note.velocity).astype(np.float32), start)
            f0[max(-(-start // HOP_LENGTH), 0) : max((start + n) // HOP_LENGTH, 0)] = hertz
        return out, f0

    # -- stems --------------------------------------------------------------------------------------------------

    def _instrument(self, kinds: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
        groups = [g for k in kinds for g in self.instruments.get(k, [])]
        return groups[rng.integers(len(groups))]

    def accompaniment_line(self, context: patterns.Context, rng: np.random.Generator) -> np.ndarray:
        """Accompaniment of one instrument: chords or a line on guitar, keys, sax or synthesiser."""
        kind = str(rng.choice(["guitar", "keys", "sax", "synth"], p=[0.4, 0.28, 0.12, 0.2]))
        line = kind == "sax" or rng.random() < 0.25
        notes = patterns.melody_notes(context, rng) if line else patterns.chord_notes(context, rng)
        if kind == "synth":
            return self.synthesised(notes, rng, low=False)[0]
        y, _ = self.played(notes, self._instrument(("other",) if kind == "sax" else (kind,), rng), rng)
        if kind == "guitar" and rng.random() < 0.45:
            y = drive(y, float(rng.uniform(6, 34)))
        return y

    def bass_line(self, context: patterns.Context, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        notes = patterns.bass_notes(context, rng)
        if rng.random() < 0.25:
            return self.synthesised(notes, rng, low=True)
        y, f0 = self.played(notes, self._instrument(("bass",), rng), rng, release=0.04)
        return (drive(y, float(rng.uniform(0, 18))), f0) if rng.random() < 0.3 else (y, f0)

    def example(self, index: int) -> Example:
        """Example number ``index``."""
        rng = np.random.default_rng([self.seed, index])
        context = patterns.draw_context(self.n_samples / SR, rng)
        silent = np.zeros(self.n_samples, np.float32)
        stems = dict.fromkeys(STEMS, silent)
        f0: dict[str, list[np.ndarray] | None] = {s: [np.zeros(self.n_frames, np.float32)] for s in PITCHED_STEMS}
        onsets: np.ndarray | None = None
        if self.songs and rng.random() < 0.18:
            self._add_song(stems, f0, rng)
            if stems["bass"] is silent and rng.random() < 0.9:
                stems["bass"], known = self.bass_line(context, rng)
                f0["bass"] = [known]
        else:
            onsets = self._add_drums(stems, context, rng)
            self._add_bass(stems, f0, context, rng)
            self._add_other(stems, context, rng)
        if rng.random() < 0.85:
            self._add_vocals(stems, f0, rng)
        else:
            stems["vocals"], f0["vocals"] = silent, [np.zeros(self.n_frames, np.float32)]
        times, places = context.beats()
        return label_example(
            self._balanced(stems, rng),
            f0,
            onsets_s=onsets,
            beats_s=times if onsets is not None else None,
            downbeats_s=times[places == 1] if onsets is not None else None,
        )

    def _add_song(self, stems: _Stems, f0: _F0, rng: np.random.Generator) -> None:
        """The recorded stems of a song, as far as it has them."""
        rows = self.songs[rng.integers(len(self.songs))]
        rate = float(2 ** rng.uniform(-0.25, 0.25))
        room = int(self.table.loc[rows, "length"].min()) - int(self.n_samples * rate) - 64
        start = int(rng.integers(0, max(1, room)))
        for row in rows:
            kind = str(self.table.at[row, "class"])
            if kind in STEMS:
                stems[kind], known = self.piece(int(row), rate, rng, start)
                if kind in f0:
                    f0[kind] = [known] if known is not None else None

    def _performance(
        self, stem: str, octaves: tuple[float, float], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A recorded performance, played faster by so many octaves."""
        row = int(rng.choice(self.performances[stem]))
        return self.piece(row, float(2 ** rng.uniform(*octaves)), rng)

    def _add_drums(self, stems: _Stems, context: patterns.Context, rng: np.random.Generator) -> np.ndarray | None:
        """Returns the times of the strokes where these, and with them the beats, are known."""
        draw = rng.random()
        if draw < 0.25:
            stems["drums"], _ = self._performance("drums", (-0.2, 0.2), rng)
        elif draw < 0.93:
            stems["drums"], onsets = self.struck(context, rng)
            return onsets
        return None

    def _add_bass(self, stems: _Stems, f0: _F0, context: patterns.Context, rng: np.random.Generator) -> None:
        if rng.random() >= 0.93:
            return
        if rng.random() < 0.12 and len(self.performances["bass"]):
            stems["bass"], known = self._performance("bass", (-0.3, 0.3), rng)
            f0["bass"] = [known] if known is not None else None
        else:
            stems["bass"], line = self.bass_line(context, rng)
            f0["bass"] = [line]

    def _add_other(self, stems: _Stems, context: patterns.Context, rng: np.random.Generator) -> None:
        if rng.random() < 0.22:
            stems["other"], _ = self._performance("other", (-0.3, 0.3), rng)
        elif rng.random() < 0.96:
            count = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
            lines = [self.accompaniment_line(context, rng) for _ in range(count)]
            for y in lines:
                coloured = colour(y, rng, room=0.3)
                level = np.float32(10 ** (rng.normal(0, 4) / 20) / max(rms(y), 1e-4))
                stems["other"] = stems["other"] + coloured * level

    def _add_vocals(self, stems: _Stems, f0: _F0, rng: np.random.Generator) -> None:
        if rng.random() < 0.14:
            stems["vocals"], known = self._performance("vocals", (-0.5, 0.25), rng)
            f0["vocals"] = [known] if known is not None else None
        else:
            stems["vocals"], voices = self.sung(rng)
            if self.duets and rng.random() < self.duets:
                second, others = self.sung(rng)
                stems["vocals"] = stems["vocals"] + second * np.float32(rng.uniform(*SECOND_SINGER))
                voices = voices + others
            f0["vocals"] = [*voices]

    def _balanced(self, stems: _Stems, rng: np.random.Generator) -> np.ndarray:
        """``(stems, n_samples)`` at levels as in a mix."""
        levels = {"vocals": 0.0, "drums": -1.0, "bass": -2.5, "other": -1.5}
        mixed = np.zeros((len(STEMS), self.n_samples), np.float32)
        for i, stem in enumerate(STEMS):
            level = rms(stems[stem])
            if level > 1e-5:
                gain = 10 ** ((levels[stem] + rng.normal(0, 4.0)) / 20) / level
                mixed[i] = colour(stems[stem] * np.float32(0.1 * gain), rng)
        return mixed
