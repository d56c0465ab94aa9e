"""What holds for every row of every description: the registry, nulls, statuses, bounds, determinism."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from frames_helper import SR, n_frames_of, pitch_frames, pulses, stem_frames, track_frames
from scipy.signal import sosfreqz

from stemfeatures.constants import STEM_ROWS, STEMS
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.activity import active_rows, audible_energy, playing_frames
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.registry import descriptor_fields
from stemfeatures.spectra.k_weighting import k_weighting

NAMES = [field.name for field in descriptor_fields()]
PYTHON_TYPES = {
    "float32": float,
    "float64": float,
    "int8": int,
    "int16": int,
    "int32": int,
    "category": str,
    "string": str,
}


def song_frames(seconds=8.0, gain=1.0):
    """Sound on every stem, with beats every half second and a downbeat every four."""
    rng = np.random.default_rng(0)
    n = int(seconds * SR)
    t = np.arange(n) / SR
    frames = n_frames_of(n)
    beats = np.arange(0.25, seconds - 0.25, 0.5)
    clicks = np.zeros(n)
    for beat in beats:
        at = int(beat * SR)
        clicks[at : at + 800] += (
            0.4
            * rng.standard_normal(len(clicks[at : at + 800]))
            * np.exp(-np.arange(800) / 200)[: len(clicks[at : at + 800])]
        )
    return track_frames(
        {
            "vocals": gain * 0.1 * np.sin(2 * np.pi * 330 * t) * (t < seconds / 2),
            "drums": gain * clicks,
            "bass": gain * 0.1 * np.sin(2 * np.pi * 65.4 * t),
            "other": gain * 0.05 * sum(np.sin(2 * np.pi * f * t) for f in (261.6, 329.6, 392.0)),
        },
        f0_hz={
            "vocals": np.where(np.arange(frames) < frames / 2, 330.0 * 2 ** (np.arange(frames) // 40 % 3 / 6), np.nan),
            "bass": np.full(frames, 65.4),
        },
        onset=pulses(beats, frames),
        beat=pulses(beats, frames),
        downbeat=pulses(beats[::4], frames),
        embedding=np.array([3.0, 4.0], np.float32),
    )


def _check(description):
    """Every rule that a description must keep whatever the sound."""
    assert tuple(description.stems) == STEM_ROWS
    for row, values in description.stems.items():
        assert sorted(values) == sorted(NAMES), row
        for field in descriptor_fields():
            value = values[field.name]
            if value is None:
                assert field.nullable, (row, field.name)
                continue
            assert field.holds_for(row), (row, field.name)
            assert type(value) is PYTHON_TYPES[field.type], (row, field.name, value)
            if isinstance(value, float):
                assert math.isfinite(value), (row, field.name)
            if field.values:
                assert value in field.values, (row, field.name, value)
            elif field.is_number:
                low, high = field.bounds
                assert low - 1e-6 <= value <= high + 1e-6, (row, field.name, value)
    events = description.events
    assert len(events.beats_s) == len(events.beat_positions)
    assert (np.diff(events.beats_s) > 0).all()
    assert set(events.onsets_s) == set(STEM_ROWS)
    for contour in description.contours.values():
        assert len(contour.times_s) == len(contour.f0_hz) == len(contour.voicing)
        assert contour.voicing.dtype == np.float32
        assert not (np.isfinite(contour.f0_hz) & (contour.voicing == 0)).any()


def test_names_are_unique_and_described():
    assert len(set(NAMES)) == len(NAMES)
    for field in descriptor_fields():
        assert field.description.endswith("."), field.name
        assert field.family, field.name
        assert field.type in PYTHON_TYPES, field.name


def test_a_song_is_described_in_full():
    description = describe(song_frames())
    _check(description)
    rows = description.stems
    for row in STEM_ROWS:
        assert rows[row]["activity_status"] == rows[row]["timbre_status"] == rows[row]["loudness_status"] == "ok"
    assert rows["vocals"]["f0_status"] == rows["bass"]["f0_status"] == "ok"
    assert rows["mixture"]["tempo_status"] == rows["drums"]["tempo_status"] == "ok"
    # Every registered column is measured on some row: none is always null.
    measured = {name for values in rows.values() for name, value in values.items() if value is not None}
    # Eight seconds of one pattern: no vibrato, no stroke between the beats or beside another stem's, no second tempo,
    # not four bars, no masks, no channels, no waveforms, one section. Sines have pitch classes at their ends alone.
    assert rows["mixture"]["sections_status"] == "no_sections"
    assert list(description.tables["chords"]["label"]) == ["C:maj", "N", "C:maj"]
    absent = ("section_", "separation_", "stereo_", "fill_", "bpm_histogram_second_", "vibrato_", "voices_")
    voice = ("formant_", "hnr_", "cpp_", "jitter_", "shimmer_", "inharmonicity_")
    other = {name for name in NAMES if name.startswith((*absent, *voice))}
    alone = {"swing_ratio", "danceability", "leading_stem", "onset_lead_s"}
    assert set(NAMES) - measured - other == alone


def test_not_applicable_rows():
    rows = describe(song_frames()).stems
    for row in ("mixture", "drums", "other"):
        assert rows[row]["f0_status"] == "not_applicable"
        assert rows[row]["f0_median_hz"] is None
    for row in ("vocals", "bass", "other"):
        assert rows[row]["tempo_status"] == "not_applicable"
        assert rows[row]["tempo_bpm"] is None
    assert rows["drums"]["harmony_status"] == "not_applicable"
    assert rows["drums"]["key"] is None
    assert rows["mixture"]["energy_share"] is None
    assert sum(rows[stem]["energy_share"] for stem in ("vocals", "drums", "bass", "other")) == pytest.approx(1)


def _cases():
    rng = np.random.default_rng(1)
    for seconds in (3.0, 0.2, 1 / SR, 0.01):
        n = max(1, round(seconds * SR))
        noise = rng.standard_normal(n)
        yield f"zeros-{n}", np.zeros(n), True
        yield f"minus-90-dBFS-{n}", noise * 10 ** (-90 / 20), True
        yield f"white-{n}", 0.2 * noise, False
        yield f"full-scale-{n}", np.sign(noise), False
        yield f"dc-{n}", np.full(n, 0.5), False


@pytest.mark.parametrize(("y", "silent"), [pytest.param(y, silent, id=name) for name, y, silent in _cases()])
def test_edge_cases_give_nulls_and_no_warnings(y, silent):
    frames = track_frames({"drums": 0.5 * y, "other": 0.5 * y}, embedding=np.ones(4, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        description = describe(frames)
    _check(description)
    for row, values in description.stems.items():
        assert values["tempo_bpm"] is None
        assert values["key"] is None
        assert values["f0_median_hz"] is None
        if silent:
            assert values["activity_status"] == "silent"
            assert values["activity_ratio"] == 0
            assert values["loudness_integrated_lufs"] is None
            assert values["mfcc_01_mean"] is None
            assert row not in description.embeddings
    assert len(description.events.beats_s) == 0


def _hard_sounds():
    rng = np.random.default_rng(4)
    n = 5 * SR
    t = np.arange(n) / SR
    for hz in (25, 55, 110, 220, 261.63, 440, 1000, 5000, 10_900):
        yield f"sine-{hz}", np.sin(2 * np.pi * hz * t)
    for rate in (0.3, 1, 3.9, 11, 21.5, 43, 500):
        clicks = np.zeros(n)
        clicks[(np.arange(0.1, 4.9, 1 / rate) * SR).astype(int)] = 1
        yield f"clicks-{rate}", clicks
    yield "white", rng.standard_normal(n)
    yield "brown", np.cumsum(rng.standard_normal(n)) / 100
    yield "square", np.sign(np.sin(2 * np.pi * 50 * t))
    yield "fade", rng.standard_normal(n) * 10 ** (-t)
    yield "offset", 0.5 + 0.1 * np.sin(2 * np.pi * 300 * t)
    yield "short", rng.standard_normal(int(0.2 * SR))


@pytest.mark.parametrize("gain", [0.05, 8.0])
@pytest.mark.parametrize("y", [pytest.param(y, id=name) for name, y in _hard_sounds()])
def test_every_value_lies_in_its_documented_range(y, gain):
    rng = np.random.default_rng(len(y))
    n = n_frames_of(len(y))
    seconds = len(y) / SR
    rate = float(rng.uniform(0.5, 5))
    hz = 2.0 ** rng.uniform(5.1, 11, n // 10 + 1).repeat(10)[:n]
    beats = np.arange(0.05, seconds, 1 / rate)
    activation = np.maximum(pulses(beats, n, height=float(rng.uniform(0.2, 1))), rng.uniform(0, 0.3, n))
    frames = track_frames(
        {"vocals": gain * y, "drums": 0.5 * gain * y, "bass": gain * y[::-1], "other": -0.3 * gain * y},
        f0_hz={"vocals": np.clip(hz, 32.7, 2068), "bass": np.clip(hz[::-1], 32.7, 2068)},
        onset=activation.astype(np.float32),
        beat=activation.astype(np.float32),
        downbeat=rng.uniform(0, 1, n).astype(np.float32),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _check(describe(frames))


def test_non_finite_network_output_makes_no_number():
    frames = song_frames(4.0)
    for values in (frames.onset, frames.beat, frames.downbeat, frames.pitch["vocals"].voicing):
        values[:] = np.nan
    frames.pitch["bass"].salience[:] = np.nan
    frames.stems["other"].embedding[:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        description = describe(frames)
    _check(description)
    assert description.stems["vocals"]["f0_status"] == description.stems["bass"]["f0_status"] == "unvoiced"
    assert description.stems["mixture"]["tempo_status"] == "no_beats"
    assert description.stems["drums"]["onset_count"] == 7  # read off the spectrum
    assert "other" not in description.embeddings


def test_the_same_frames_give_the_same_description_and_stay_as_they_are():
    frames = song_frames(4.0)
    before = frames.stems["other"].mel.copy(), frames.pitch["vocals"].candidates_hz.copy(), frames.beat.copy()
    first, second = describe(frames), describe(frames)
    assert first.stems == second.stems
    np.testing.assert_array_equal(first.events.beats_s, second.events.beats_s)
    np.testing.assert_array_equal(first.contours["vocals"].f0_hz, second.contours["vocals"].f0_hz)
    after = frames.stems["other"].mel, frames.pitch["vocals"].candidates_hz, frames.beat
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_embeddings_have_unit_length():
    vectors = describe(song_frames(2.0)).embeddings
    assert set(vectors) == set(STEM_ROWS)
    np.testing.assert_allclose(vectors["vocals"], [0.6, 0.8], rtol=1e-6)
    assert vectors["vocals"].dtype == np.float32


def test_frames_that_cannot_be_described_are_named():
    frames = song_frames(1.0)
    frames.stems.pop("bass")
    with pytest.raises(ValueError, match="bass"):
        describe(frames)
    frames = song_frames(1.0)
    frames.stems["other"] = stem_frames(np.zeros(100))
    with pytest.raises(ValueError, match="other has 1 frames"):
        describe(frames)


class TestActivity:
    def test_bleed_is_absent_and_a_soft_stem_is_not(self):
        n = 4 * SR
        rng = np.random.default_rng(2)
        loud = 0.3 * rng.standard_normal(n)
        bleed = loud * 10 ** (-45 / 20)
        soft = 0.3 * rng.standard_normal(n) * 10 ** (-30 / 20)
        rows = describe(track_frames({"drums": loud, "vocals": bleed, "other": soft})).stems
        assert rows["vocals"]["activity_status"] == "absent"
        assert rows["vocals"]["loudness_status"] == "absent"
        assert rows["mixture"]["voice_instrumental"] == "instrumental"
        assert rows["other"]["activity_ratio"] == 1
        # At -55 dBFS the bleed is audible alone; in this mixture it is no sound of the stem.
        assert rows["vocals"]["silence_rate_60db"] is None
        assert rows["vocals"]["energy_share"] is None
        assert rows["vocals"]["activity_ratio"] == 0

    def test_a_stem_that_the_network_does_not_hear_is_absent_however_loud_its_estimate(self):
        n = 4 * SR
        loud = 0.3 * np.random.default_rng(2).standard_normal(n)
        presence = np.full((4, n_frames_of(n)), 0.95, np.float32)
        presence[0] = 0.05
        presence[0, 40:43] = 0.95  # 70 ms of it make no singer
        frames = track_frames({"drums": loud, "vocals": 0.3 * loud}, f0_hz={"vocals": np.full(n_frames_of(n), 220.0)})
        rows = describe(replace(frames, presence=presence)).stems
        statuses = {name: value for name, value in rows["vocals"].items() if name.endswith("_status")}
        assert set(statuses.values()) == {"absent", "not_applicable"}
        counts = {"activity_ratio", "active_duration_s", "n_active_segments"}
        told = {name for name, value in rows["vocals"].items() if value is not None} - set(statuses)
        assert told == counts
        assert all(rows["vocals"][name] == 0 for name in counts)
        assert rows["mixture"]["voice_instrumental"] == "instrumental"
        assert rows["drums"]["activity_ratio"] == 1
        assert describe(frames).stems["mixture"]["voice_instrumental"] == "voice"

    @pytest.mark.parametrize(("stem", "family"), [("drums", "strokes"), ("bass", "f0")])
    def test_moments_that_sound_like_a_stem_are_none_however_many(self, stem, family):
        n = 20 * SR
        loud = 0.3 * np.random.default_rng(2).standard_normal(n)
        frames = track_frames({stem: 0.1 * loud, "other": loud}, onset=np.full(n_frames_of(n), 0.9, np.float32))
        presence = np.full((4, n_frames_of(n)), 0.95, np.float32)
        row = STEMS.index(stem)
        presence[row] = 0.5
        moments = np.arange(20, n_frames_of(n) - 20, 30)[:, None] + np.arange(12)
        presence[row, moments] = 0.97  # 0.28 s of every 0.7 s: eight seconds in all
        rows = describe(replace(frames, presence=presence)).stems
        assert rows[stem]["activity_status"] == rows[stem][f"{family}_status"] == "absent"
        presence[row, 200:340] = 0.97  # 3.2 s on end
        rows = describe(replace(frames, presence=presence)).stems
        assert rows[stem]["activity_status"] == "ok"
        assert rows[stem]["activity_ratio"] > 0.15

    def test_what_leaks_into_an_estimate_is_no_stem_whatever_the_network_hears(self):
        n = 14 * SR
        loud, soft = 0.3 * np.random.default_rng(2).standard_normal((2, n))
        alone = np.arange(n) < 9 * SR

        def plays(stem, level_db, mask, solo=False):
            own = soft * 10 ** (level_db / 20)
            # A solo is softer than the song that follows, into which the song leaks.
            song = {stem: np.where(alone & solo, 0.1 * soft, own), "vocals": np.where(alone & solo, 0, loud)}
            frames = track_frames(song, onset=np.full(n_frames_of(n), 0.9, np.float32))
            shares = np.where(solo & (np.arange(frames.n_frames) < 387), 0.9, mask)
            frames.stems[stem].mask_energy = None if mask is None else frames.stems[stem].energy / shares
            presence = np.full((4, frames.n_frames), 0.95, np.float32)
            return DescriptorInputs(replace(frames, presence=presence)).get(active_rows)[stem].mean()

        # Levels and masks of what leaks, and of the quietest stems, in songs.
        assert plays("other", -17, 0.33) == plays("drums", -24, 0.15) == plays("bass", -20, 0.3) == 0
        assert plays("other", -17, 0.6) == plays("drums", -19, 0.33) == plays("bass", -11, 0.42) == 1
        assert plays("other", -36, 0.1, solo=True) == 1
        assert plays("other", -30, None) == 1  # without masks nobody knows

    @pytest.mark.parametrize(
        ("hz", "sounding", "status"),
        [
            ((32.6, 32.8), 0.8, "ok"),  # on either side of the lowest note of the network's grid
            ((27.5, 27.5), 0.7, "ok"),
            ((34.4, 34.4), 0.7, "ok"),
            ((41.2, 41.2), 0.8, "ok"),
            ((49.0, 49.0), 0.8, "absent"),  # which the network hears: it knows better
            ((32.6, 32.8), 0.3, "absent"),  # kick drums
        ],
    )
    @pytest.mark.parametrize("mask", [None, 0.01])
    def test_a_bass_too_deep_for_the_network(self, hz, sounding, status, mask):
        n = 20 * SR
        t = np.arange(n) / SR
        n_frames = n_frames_of(n)
        frame = np.arange(n_frames)
        plays = frame % 40 < 40 * sounding
        tone = 0.3 * np.sin(2 * np.pi * hz[0] * t) * (np.arange(n) // 512 % 40 < 40 * sounding)
        f0_hz = np.where(plays, np.where(frame % 2, *hz), np.nan)
        noise = 0.1 * np.random.default_rng(2).standard_normal(n)
        frames = track_frames({"bass": tone, "other": noise}, f0_hz={"bass": f0_hz})
        presence = np.full((4, n_frames), 0.95, np.float32)
        presence[STEMS.index("bass")] = 0.1
        # The pitch itself leads, none of the candidates around it.
        pitch = pitch_frames(f0_hz)
        pitch = replace(pitch, candidates_hz=np.where(np.isfinite(f0_hz), f0_hz, 100.0)[:, None].repeat(5, 1))
        frames = replace(frames, presence=presence, pitch={**frames.pitch, "bass": pitch})
        # However little of it the masks leave.
        frames.stems["bass"].mask_energy = None if mask is None else frames.stems["bass"].energy / mask
        row = describe(frames).stems["bass"]
        assert row["activity_status"] == status
        if status == "ok":
            assert row["activity_ratio"] > sounding - 0.1

    @pytest.mark.parametrize(
        ("presence", "sounding", "status"),
        [(0.7, 0.8, "ok"), (0.7, 0.5, "absent"), (0.4, 0.8, "absent"), (0.9, 0.5, "ok")],
    )
    def test_a_bass_of_which_the_network_is_not_sure_has_a_pitch(self, presence, sounding, status):
        n = 10 * SR
        plays = np.arange(n_frames_of(n)) % 40 < 40 * sounding
        tone = 0.3 * np.sin(2 * np.pi * 98 * np.arange(n) / SR)
        frames = track_frames({"bass": tone, "other": 0.1 * tone}, f0_hz={"bass": np.where(plays, 98.0, np.nan)})
        rows = np.full((4, n_frames_of(n)), 0.95, np.float32)
        rows[STEMS.index("bass")] = presence
        assert describe(replace(frames, presence=rows)).stems["bass"]["activity_status"] == status

    def test_a_stem_plays_from_where_it_is_sure_to_where_it_is_unlikely(self):
        presence = np.array([0.0, 0.4, 0.4, 0.7, 0.4, 0.1, 0.4, 0.4, 0.0, 0.6, 0.31, 0.29, 0.55])
        expected = [0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 1]
        assert playing_frames(presence, on=0.5, off=0.3).tolist() == [bool(x) for x in expected]
        assert not playing_frames(np.zeros(5), 0.5, 0.3).any()
        assert playing_frames(np.ones(5), 0.5, 0.3).all()

    @pytest.mark.parametrize("gain_db", [-12, -24])
    def test_a_gain_changes_levels_alone(self, gain_db):
        gain = 10 ** (gain_db / 20)
        before, after = (describe(song_frames(gain=g)).stems for g in (1.0, gain))
        levels = {"loudness_integrated_lufs", "loudness_momentary_max_lufs", "loudness_short_term_max_lufs"}
        levels |= {"true_peak_dbtp", "silence_rate_60db", "mfcc_01_mean", "beat_loudness_mean_db"}
        for row in STEM_ROWS:
            for name, value in before[row].items():
                if name in levels:
                    continue
                if isinstance(value, float):
                    assert after[row][name] == pytest.approx(value, rel=2e-3, abs=2e-3), (row, name)
                else:
                    assert after[row][name] == value, (row, name)
            lufs = "loudness_integrated_lufs"
            assert after[row][lufs] - before[row][lufs] == pytest.approx(gain_db, abs=0.01)

    def test_start_end_and_segments(self):
        n = 10 * SR
        t = np.arange(n) / SR
        on = ((t > 2) & (t < 4)) | ((t > 4.3) & (t < 5)) | ((t > 7) & (t < 8))
        values = describe(track_frames({"other": 0.3 * np.sin(2 * np.pi * 440 * t) * on})).stems["other"]
        assert values["activity_start_s"] == pytest.approx(2, abs=0.06)
        assert values["activity_end_s"] == pytest.approx(8, abs=0.06)
        assert values["n_active_segments"] == 2  # the pause of 0.3 s is bridged, that of 2 s is not
        assert values["active_duration_s"] == pytest.approx(3.7, abs=0.3)
        assert values["silence_rate_60db"] == pytest.approx(0.63, abs=0.03)
        assert values["energy_share"] == 1

    def test_a_constant_offset_is_no_sound(self):
        values = describe(track_frames({"other": np.full(5 * SR, 0.5)})).stems["other"]
        assert values["activity_ratio"] < 0.05  # the steps at both ends
        assert values["key"] is None

    @pytest.mark.parametrize(("hz", "heard"), [(0, False), (20, True), (32.7, True), (41.2, True)])
    def test_a_constant_is_told_from_deep_bass(self, hz, heard):
        # The window spreads a constant into bins that K-weighting does not remove altogether.
        window = np.hanning(2049)[:-1]
        frame = 0.5 * np.cos(2 * np.pi * hz * np.arange(2048) / SR + 0.3) * window
        power = np.square(np.abs(np.fft.fft(frame)))
        response = np.square(np.abs(sosfreqz(k_weighting(SR), 2048, whole=True)[1]))
        stem = stem_frames(np.zeros(1))
        stem.energy = np.array([power.sum()], np.float32) / (2048 * np.square(window).sum())
        stem.k_power = np.array([(power * response).sum()], np.float32) / (2048 * np.square(window).sum())
        assert (audible_energy(stem)[0] > 1e-6) == heard
        if heard:
            assert audible_energy(stem)[0] == stem.energy[0]
