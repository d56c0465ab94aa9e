"""Descriptors in a musician's words: what they are called, and their values with units."""

from __future__ import annotations

from typing import Any

from ._text import NOTHING

#: What a descriptor is called, where its name alone would not tell a musician; ``%`` has its value as per cent.
_CALLED = {
    "activity_ratio": ("plays", "%", " of the time"),
    "silence_rate_60db": ("silent", "%", " of the time"),
    "energy_share": ("share of the energy", "%", ""),
    "n_active_segments": ("separate entries", "d", ""),
    "f0_median_hz": ("middle pitch", "note", ""),
    "f0_mean_hz": ("mean pitch", "note", ""),
    "f0_p05_hz": ("low notes", "note", ""),
    "f0_p25_hz": ("lower quarter of the notes", "note", ""),
    "f0_p75_hz": ("upper quarter of the notes", "note", ""),
    "f0_p95_hz": ("high notes", "note", ""),
    "f0_min_hz": ("lowest note", "note", ""),
    "f0_max_hz": ("highest note", "note", ""),
    "f0_range_semitones": ("range", ".0f", " semitones"),
    "f0_std_cents": ("spread of pitch", ".0f", " cents"),
    "f0_voiced_ratio": ("pitched", "%", " of its sound"),
    "f0_voicing_mean": ("how pitched it is", "%", ""),
    "f0_confidence": ("clearness of the pitch", "%", ""),
    "f0_note_rate": ("held notes", ".1f", " a second"),
    "f0_note_duration_median_s": ("length of the notes", ".2f", " s"),
    "f0_interval_mean_cents": ("step between notes", "cents", " semitones"),
    "f0_interval_std_cents": ("spread of the steps", "cents", " semitones"),
    "vibrato_rate_hz": ("vibrato", ".1f", " Hz"),
    "vibrato_extent_cents": ("depth of vibrato", ".0f", " cents"),
    "vibrato_ratio": ("with vibrato", "%", " of the long notes"),
    "onset_rate": ("attacks", ".1f", " a second"),
    "onset_count": ("attacks", "d", ""),
    "onset_strength_mean": ("sharpness of the attacks", ".2f", ""),
    "onset_strength_std": ("unevenness of the attacks", ".2f", ""),
    "onset_interval_mean_s": ("time between attacks", ".2f", " s"),
    "onset_interval_median_s": ("usual time between attacks", ".2f", " s"),
    "onset_interval_std_s": ("unevenness of the time between attacks", ".2f", " s"),
    "tempo_bpm": ("tempo", ".0f", " bpm"),
    "tempo_2_bpm": ("second tempo", ".0f", " bpm"),
    "tempo_strength": ("clearness of the tempo", "%", ""),
    "tempo_2_strength": ("clearness of the second tempo", "%", ""),
    "tempo_stability": ("steady tempo", "%", " of the beats"),
    "beat_regularity": ("evenness of the beats", "%", ""),
    "beat_strength": ("strength of the beats", "%", ""),
    "meter_numerator": ("beats a bar", "d", ""),
    "stroke_kick_rate": ("kicks", ".1f", " a second"),
    "stroke_snare_rate": ("snares", ".1f", " a second"),
    "stroke_hat_rate": ("hi-hats", ".1f", " a second"),
    "stroke_tom_rate": ("toms", ".1f", " a second"),
    "stroke_cymbal_rate": ("cymbals", ".1f", " a second"),
    "swing_ratio": ("swing", ".2f", " to 1"),
    "syncopation": ("syncopation", ".1f", ""),
    "stroke_beat_offset_mean_s": ("ahead of (-) or behind the beat", "ms", " ms"),
    "stroke_beat_offset_std_s": ("looseness of the timing", "ms", " ms"),
    "kick_bass_coincidence": ("kicks together with the bass", "%", ""),
    "mfcc_mean": ("colour of the sound (MFCC)", "", ""),
    "mfcc_std": ("changes of the colour (MFCC)", "", ""),
    "mfcc_delta_std": ("speed of the changes of colour (MFCC)", "", ""),
    "spectral_centroid_mean_hz": ("brightness", ".0f", " Hz"),
    "spectral_centroid_median_hz": ("usual brightness", ".0f", " Hz"),
    "spectral_centroid_std_hz": ("changes of brightness", ".0f", " Hz"),
    "spectral_bandwidth_mean_hz": ("width of the spectrum", ".0f", " Hz"),
    "spectral_bandwidth_median_hz": ("usual width of the spectrum", ".0f", " Hz"),
    "spectral_bandwidth_std_hz": ("changes of the width of the spectrum", ".0f", " Hz"),
    "spectral_rolloff_mean_hz": ("where the treble ends", ".0f", " Hz"),
    "spectral_rolloff_median_hz": ("where the treble usually ends", ".0f", " Hz"),
    "spectral_rolloff_std_hz": ("changes of the treble", ".0f", " Hz"),
    "spectral_flatness_mean": ("noisiness", "%", ""),
    "spectral_flatness_median": ("usual noisiness", "%", ""),
    "spectral_flatness_std": ("changes of noisiness", "%", ""),
    "spectral_flux_mean": ("busyness of the spectrum", ".2f", ""),
    "spectral_flux_median": ("usual busyness of the spectrum", ".2f", ""),
    "spectral_flux_std": ("changes of the busyness of the spectrum", ".2f", ""),
    "spectral_contrast_mean": ("how far tones stand out", "", ""),
    "loudness_integrated_lufs": ("loudness", ".1f", " LUFS"),
    "loudness_relative_lu": ("loudness in the mix", "+.1f", " LU"),
    "loudness_range_lu": ("range of loudness", ".1f", " LU"),
    "loudness_momentary_max_lufs": ("loudest moment", ".1f", " LUFS"),
    "loudness_short_term_max_lufs": ("loudest three seconds", ".1f", " LUFS"),
    "true_peak_dbtp": ("peak", ".1f", " dBTP"),
    "dynamic_complexity": ("swell of loudness", ".1f", " dB"),
    "crest_factor_db": ("peaks over the average", ".1f", " dB"),
    "tuning_cents": ("tuning", "+.0f", " cents"),
    "chroma": ("notes in use", "", ""),
    "chroma_mean": ("notes in use", "", ""),
    "hpcp_entropy": ("how many notes are in use", ".1f", " bit"),
    "key": ("key", "key", ""),
    "key_2": ("second key", "key", ""),
    "key_strength": ("fit of the key", "%", ""),
    "key_2_strength": ("fit of the second key", "%", ""),
    "key_clarity": ("clearness of the key", "%", ""),
    "chords_changes_rate": ("chord changes", ".2f", " a second"),
    "section_distinct_count": ("different sections", "d", ""),
    "section_duration_median_s": ("usual length of a section", ".1f", " s"),
    "chord_duration_median_s": ("usual length of a chord", ".1f", " s"),
    "note_pitch_class": ("notes that are played", "", ""),
    "note_interval": ("steps between notes", "", ""),
    "note_phrase_duration_median_s": ("usual length of a phrase", ".1f", " s"),
    "fill_bar_ratio": ("bars with a fill", "%", ""),
    "meter_confidence": ("clearness of the meter", "%", ""),
    "bark": ("bands of the spectrum (Bark)", "", ""),
    "embedding": ("what the network hears", "", ""),
}
#: How names of descriptors end that say their unit.
_UNITS = {"s", "hz", "db", "lu", "lufs", "dbtp", "bpm", "cents", "semitones"}
_PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def called(descriptor: str) -> str:
    """``spectral_centroid_mean_hz`` as ``brightness``."""
    if descriptor in _CALLED:
        return _CALLED[descriptor][0]
    words = descriptor.split("_")
    return " ".join(words[:-1] if words[-1] in _UNITS else words)  # the unit stands behind the values


def told(descriptor: str, unit: str, values: list[Any]) -> str:
    """Values of two tracks, with their unit once: ``5.3 and 4.5 a second``."""
    _, how, after = _CALLED.get(descriptor, ("", ".3g", f" {unit}" if unit else ""))
    return " and ".join(_value(value, how) for value in values) + ("%" if how == "%" else "") + after


def _value(value: Any, how: str) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value.replace(":", " ")
    if how == "note":
        return _note(value)
    if how == "ms":
        return f"{1000 * value:+.0f}"
    if how == "cents":
        return f"{value / 100:.1f}"
    if how == "%":
        return f"{100 * value:.0f}"
    return format(int(value) if how == "d" else value, how)


def _note(f0_hz: float) -> str:
    """``A4`` for 440 Hz: the nearest note of equal temperament."""
    from math import log2

    midi = round(69 + 12 * log2(f0_hz / 440.0))
    return f"{_PITCHES[midi % 12]}{midi // 12 - 1}"
