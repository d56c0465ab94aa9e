"""Every descriptor column of the ``stems`` table.

Rows on which a field is defined are told in its description; elsewhere it is null and the family's ``*_status`` reads
``not_applicable``.
"""

from __future__ import annotations

from ..fields import Field

_ORDINALS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_PITCHED = "Vocals and bass."
_TONAL = "All rows but drums."
_BEATS = "Mixture and drums."


def _field(family: str, name: str, description: str, unit: str = "", range: str = "", type: str = "float32") -> Field:
    return Field(name=name, type=type, description=description, unit=unit, range=range, family=family)


def _status(family: str, name: str, states: str, what: str) -> Field:
    return Field(
        name=name,
        type="category",
        description=f"Whether {what} could be measured, or why not.",
        range=states,
        nullable=False,
        family=family,
    )


_ACTIVITY = (
    _status("activity", "activity_status", "ok | silent", "the stem sounds at all and so its activity"),
    _field(
        "activity",
        "activity_ratio",
        "Share of frames in which the row sounds: above -60 dBFS, the mixture's level less 40 dB and its own level "
        "less 50 dB.",
        "",
        "0..1",
    ),
    _field("activity", "active_duration_s", "activity_ratio times the duration.", "s", ">= 0"),
    _field("activity", "activity_start_s", "Start of the first active frame.", "s", ">= 0", "float64"),
    _field("activity", "activity_end_s", "End of the last active frame.", "s", ">= 0", "float64"),
    _field("activity", "n_active_segments", "Active stretches, pauses under 0.5 s bridged.", "", ">= 0", "int32"),
    _field("activity", "silence_rate_60db", "Share of frames below -60 dBFS mean square.", "", "0..1"),
    _field(
        "activity", "energy_share", "Energy of the stem over the sum of the four stems. Not the mixture.", "", "0..1"
    ),
)

_HZ_RANGE = "32..2100"
_F0 = (
    _status("f0", "f0_status", "ok | silent | too_short | unvoiced | not_applicable", "an F0 contour"),
    _field("f0", "f0_median_hz", f"Median F0 of the voiced frames. {_PITCHED}", "Hz", _HZ_RANGE),
    _field("f0", "f0_mean_hz", f"Geometric mean F0 of the voiced frames. {_PITCHED}", "Hz", _HZ_RANGE),
    _field("f0", "f0_std_cents", f"Standard deviation of the F0 on the cent scale. {_PITCHED}", "cents", ">= 0"),
    *(
        _field("f0", f"f0_p{p:02d}_hz", f"{p}th percentile of the F0 over voiced frames. {_PITCHED}", "Hz", _HZ_RANGE)
        for p in (5, 25, 75, 95)
    ),
    _field("f0", "f0_min_hz", f"Lowest F0, robustly: 1st percentile. {_PITCHED}", "Hz", _HZ_RANGE),
    _field("f0", "f0_max_hz", f"Highest F0, robustly: 99th percentile. {_PITCHED}", "Hz", _HZ_RANGE),
    _field("f0", "f0_range_semitones", f"From f0_p05_hz to f0_p95_hz in semitones. {_PITCHED}", "semitones", ">= 0"),
    _field("f0", "f0_voiced_ratio", f"Share of the active frames that have an F0. {_PITCHED}", "", "0..1"),
    _field("f0", "f0_voicing_mean", f"Mean voicing probability of the active frames. {_PITCHED}", "", "0..1"),
    _field(
        "f0",
        "f0_confidence",
        f"Mean over voiced frames of voicing probability times salience of the chosen pitch. {_PITCHED}",
        "",
        "0..1",
    ),
    _field("f0", "f0_note_rate", f"Steady notes a second of voiced time. {_PITCHED}", "1/s", ">= 0"),
    _field("f0", "f0_note_duration_median_s", f"Median length of the steady notes. {_PITCHED}", "s", ">= 0.09"),
    _field(
        "f0",
        "f0_interval_mean_cents",
        f"Mean absolute interval between successive notes no more than 1 s apart. {_PITCHED}",
        "cents",
        ">= 0",
    ),
    _field("f0", "f0_interval_std_cents", f"Standard deviation of the signed intervals. {_PITCHED}", "cents", ">= 0"),
    _field("f0", "vibrato_rate_hz", f"Median rate of the vibrato; null without vibrato. {_PITCHED}", "Hz", "4..8.5"),
    _field(
        "f0",
        "vibrato_extent_cents",
        f"Median extent of the vibrato, half of peak to peak; null without vibrato. {_PITCHED}",
        "cents",
        "15..250",
    ),
    _field(
        "f0",
        "vibrato_ratio",
        f"Share of the unbroken voiced windows of 0.74 s that have vibrato; null when there are none. {_PITCHED}",
        "",
        "0..1",
    ),
)

_RHYTHM = (
    _status("rhythm", "rhythm_status", "ok | silent | too_short | no_onsets", "onsets (0.5 s at least)"),
    _field(
        "rhythm",
        "onset_count",
        "Peaks of the network's onset activation (mixture, drums) or of the spectral flux in the stem's own bands "
        "(vocals, bass, other); in vocals and bass also new notes of the F0 contour.",
        "",
        ">= 0",
        "int32",
    ),
    _field("rhythm", "onset_rate", "Onsets a second of the whole track.", "1/s", ">= 0"),
    _field("rhythm", "onset_strength_mean", "Mean height of the onset peaks (activation or flux).", "", ">= 0"),
    _field("rhythm", "onset_strength_std", "Standard deviation of the height of the onset peaks.", "", ">= 0"),
    _field("rhythm", "onset_interval_mean_s", "Mean time between successive onsets.", "s", "> 0"),
    _field("rhythm", "onset_interval_median_s", "Median time between successive onsets.", "s", "> 0"),
    _field("rhythm", "onset_interval_std_s", "Standard deviation of the time between successive onsets.", "s", ">= 0"),
    _status(
        "rhythm",
        "tempo_status",
        "ok | silent | too_short | no_beats | not_applicable",
        "tempo and beats (3 s at least)",
    ),
    _field(
        "rhythm", "tempo_bpm", f"Tempo of the tracked beats; pulses over 220 bpm count half. {_BEATS}", "bpm", "40..220"
    ),
    _field("rhythm", "tempo_strength", f"Its share of the tempogram's peaks. {_BEATS}", "", "0..1"),
    _field("rhythm", "tempo_2_bpm", f"Next best tempo, often an octave away. {_BEATS}", "bpm", "40..220"),
    _field(
        "rhythm",
        "tempo_2_strength",
        f"Its share of the tempogram's peaks; with tempo_strength 1 or less. {_BEATS}",
        "",
        "0..1",
    ),
    _field(
        "rhythm",
        "tempo_stability",
        f"Share of beats whose local tempo is within 4 % of the median. {_BEATS}",
        "",
        "0..1",
    ),
    _field("rhythm", "beat_count", f"Tracked beats. {_BEATS}", "", ">= 0", "int32"),
    _field(
        "rhythm",
        "beat_regularity",
        f"One less the relative deviation (1.48 MAD) of the inter-beat intervals. {_BEATS}",
        "",
        "0..1",
    ),
    _field("rhythm", "beat_strength", f"Mean beat activation on the beats. {_BEATS}", "", "0..1"),
    _field(
        "rhythm", "meter_numerator", f"Beats a bar; null when downbeats do not stand out. {_BEATS}", "", "2..7", "int8"
    ),
    _field(
        "rhythm",
        "meter_confidence",
        f"Mean downbeat activation on the downbeats less that on the other beats. {_BEATS}",
        "",
        "0..1",
    ),
)

_SHAPES = (
    ("spectral_centroid", "_hz", "Hz", "Centroid of the magnitude spectrum", "0..11025"),
    ("spectral_bandwidth", "_hz", "Hz", "Spread of the magnitude spectrum around its centroid", "0..11025"),
    ("spectral_rolloff", "_hz", "Hz", "Frequency below which 85 % of the magnitude spectrum lies", "0..11025"),
    ("spectral_flatness", "", "", "Geometric over arithmetic mean of the power spectrum", "0..1"),
    ("spectral_flux", "", "", "Rise of the log mel spectrum from frame to frame", ">= 0"),
)
_STATS = {"mean": "mean", "std": "standard deviation", "median": "median"}
_TIMBRE = (
    _status("timbre", "timbre_status", "ok | silent", "timbre (over active frames)"),
    *(
        field
        for k in range(1, 14)
        for field in (
            _field(
                "timbre", f"mfcc_{k:02d}_mean", f"Mean of MFCC {k} (librosa's definition) over active frames.", "dB"
            ),
            _field("timbre", f"mfcc_{k:02d}_std", f"Standard deviation of MFCC {k} over active frames.", "dB", ">= 0"),
            _field(
                "timbre",
                f"mfcc_{k:02d}_delta_std",
                f"Standard deviation of the slope of MFCC {k} over nine active frames, per frame.",
                "dB",
                ">= 0",
            ),
        )
    ),
    *(
        _field("timbre", f"{name}_{stat}{suffix}", f"{text}: {word} over active frames.", unit, limits)
        for name, suffix, unit, text, limits in _SHAPES
        for stat, word in _STATS.items()
    ),
    *(
        _field(
            "timbre",
            f"spectral_contrast_{k:02d}_mean_db",
            f"Mean peak to valley contrast in {band} over active frames.",
            "dB",
        )
        for k, band in enumerate(
            ("0 to 200 Hz", *(f"{200 * 2**i} to {400 * 2**i} Hz" for i in range(5)), "6400 to 11025 Hz"), start=1
        )
    ),
)

_LOUDNESS = (
    _status(
        "loudness",
        "loudness_status",
        "ok | silent | too_short",
        "loudness (0.4 s at least, but for true peak and crest factor)",
    ),
    _field(
        "loudness",
        "loudness_integrated_lufs",
        "Gated loudness after ITU-R BS.1770-4; a stem's is its K-weighted share of the mixture's, on the same scale. "
        "Above about 5 only where float samples exceed full scale.",
        "LUFS",
        ">= -70",
    ),
    _field("loudness", "loudness_relative_lu", "Integrated loudness less that of the mixture; 0 on the mixture.", "LU"),
    _field("loudness", "loudness_range_lu", "Loudness range after EBU Tech 3342 (3 s at least).", "LU", ">= 0"),
    _field("loudness", "loudness_momentary_max_lufs", "Largest loudness of 0.4 s.", "LUFS"),
    _field("loudness", "loudness_short_term_max_lufs", "Largest loudness of 3 s.", "LUFS"),
    _field(
        "loudness",
        "true_peak_dbtp",
        "Peak after four times oversampling: of the full-rate channels on the mixture where known, of the mono "
        "22,050 Hz analysis signal on the stems.",
        "dBTP",
    ),
    _field(
        "loudness",
        "dynamic_complexity",
        "Mean absolute deviation of the loudness of 0.2 s frames from their emphasised mean (Streich 2007).",
        "dB",
        ">= 0",
    ),
    _field(
        "loudness",
        "crest_factor_db",
        "Peak over the root mean square of the active frames, analysis signal; 3 dB for a sine.",
        "dB",
        ">= 0",
    ),
)

_HARMONY = (
    _status(
        "harmony",
        "harmony_status",
        "ok | silent | too_short | unvoiced | unresolved | atonal | not_applicable",
        "harmony (0.5 s of sound at least; unresolved: nothing above 430 Hz, where spectra tell semitones apart)",
    ),
    _field("harmony", "tuning_cents", f"Deviation from A4 = 440 Hz. {_TONAL}", "cents", "-50..50"),
    *(
        _field(
            "harmony",
            f"chroma_{k:02d}_mean",
            f"Mean share of pitch class {name} in the amplitude, tuning removed; the twelve sum to 1. {_TONAL}",
            "",
            "0..1",
        )
        for k, name in enumerate(_ORDINALS, start=1)
    ),
    _field(
        "harmony",
        "hpcp_entropy",
        f"Mean Shannon entropy of a frame's twelve pitch classes. {_TONAL}",
        "bit",
        "0..3.585",
    ),
    _field(
        "harmony",
        "key",
        "Key such as G#:minor (sharps only) that correlates best with Temperley's 1999 profiles; the mixture's is read "
        f"from vocals, bass and other. {_TONAL}",
        type="category",
    ),
    _field("harmony", "key_strength", f"Correlation with the profile of key. {_TONAL}", "", "-1..1"),
    _field("harmony", "key_2", f"Second best key. {_TONAL}", type="category"),
    _field("harmony", "key_2_strength", f"Correlation with the profile of key_2. {_TONAL}", "", "-1..1"),
    _field("harmony", "key_clarity", f"key_strength less key_2_strength. {_TONAL}", "", "0..2"),
    _field(
        "harmony", "chords_changes_rate", "Changes of the decoded triad a second. Mixture and other.", "1/s", ">= 0"
    ),
)

#: In column order.
STEM_FIELDS: tuple[Field, ...] = (*_ACTIVITY, *_F0, *_RHYTHM, *_TIMBRE, *_LOUDNESS, *_HARMONY)
