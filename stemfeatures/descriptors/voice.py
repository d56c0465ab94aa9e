"""Quality and resonances of the voice: jitter, shimmer, harmonics-to-noise ratio, cepstral peak, formants.

Values are medians over frames of the separated voice whose pitch the F0 contour confirms (measured by
:mod:`stemfeatures.frames.voice_meter`). A mask keeps the phase of the mixture and some of its sounds, so that periods
differ for reasons that are not the singer's. Of singing over accompaniment as loud as the voice only the first formant
survives separation. The others are reported where the masks promise :data:`HARMONIC_SDR_DB`, :data:`FORMANT_SDR_DB` and
:data:`PERTURBED_SDR_DB` (``benchmarks/voice.py``, docs/descriptors.md).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames import InharmonicityFrames, VoiceFrames
from ..frames.formants import N_FORMANTS
from .activity import active_rows
from .f0 import f0_contours
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .separation import is_trusted
from .values import OK, SILENT, median

VOCALS = "vocals"
#: Least number of measured frames, 70 ms apart.
LEAST_FRAMES = 20
#: The contour may lie so far from the pitch whose periods were measured: it has been moved to them.
NEAR_CENTS = 200.0
#: Signal-to-distortion ratio, as the masks promise it, from which on the values of clips correlate with the true ones:
#: of harmonicity, of the second and third formant, and of jitter and shimmer. They are of the line of
#: :mod:`.separation`, and chosen anew where it is.
HARMONIC_SDR_DB, FORMANT_SDR_DB, PERTURBED_SDR_DB = 7.0, 11.0, 15.0

UNKNOWN, TOO_FEW, POOR = "unknown", "too_few_frames", "poor_separation"
_VALUES = f"{OK} | {SILENT} | absent | {TOO_FEW} | {UNKNOWN} | not_applicable"

_field = partial(
    Field, type="float32", family="voice", rows=(VOCALS,), since="1.1", scale=NOT_A_COORDINATE, statistic="median"
)
_share = partial(_field, range=">= 0")
#: Fields of the columns of :class:`VoiceFrames`.
_PERTURBATIONS = (
    _share("jitter_local", description="Mean difference of successive periods over the mean period (Praat's local)."),
    _share(
        "jitter_rap",
        description="Mean difference of a period from the mean of it and its neighbours, over the mean period "
        "(Praat's RAP): a steady glide or vibrato hardly counts.",
    ),
    _share("shimmer_local", description="Mean difference of amplitudes of successive periods over the mean amplitude."),
    _share(
        "shimmer_apq3",
        description="Mean difference of a period's amplitude from the mean of it and its neighbours, over the mean "
        "amplitude (Praat's APQ3).",
    ),
)
_HARMONICITY = (
    _field(
        "hnr_median_db",
        description="Harmonics-to-noise ratio (Boersma 1993) below 11,025 Hz; noise above is not heard, so that white "
        "noise of 44,100 Hz counts 3 dB less.",
        unit="dB",
        range="-10..50",
    ),
    _field(
        "cpp_median_db",
        description="Cepstral peak prominence: the peak at the period over a line through the cepstrum.",
        unit="dB",
    ),
)
_FORMANTS = tuple(
    _field(
        f"formant_{k:02d}_{what}_hz",
        description=f"{text} of formant {k}, of frames with a pitch up to 350 Hz (Burg's method).",
        unit="Hz",
        range="0..5513" if what == "median" else "> 0",
        feature="formant" if what == "median" else "formant_bandwidth",
        number=k,
    )
    for what, text in (("median", "Frequency"), ("bandwidth_median", "Bandwidth"))
    for k in range(1, N_FORMANTS + 1)
)
#: What separation leaves as it is.
_ROBUST = [field for field in _FORMANTS if field.number == 1]
FIELDS = (
    status_field(
        "voice_status", _VALUES, "the first formant (unknown: the frames hold no waveform)", family="voice", since="1.1"
    ),
    *_ROBUST,
)
QUALITY_FIELDS = (
    status_field(
        "voice_quality_status",
        f"{_VALUES} | {POOR}",
        f"harmonicity (poor_separation: separation_sdr_db is below {HARMONIC_SDR_DB:.0f})",
        family="voice",
        since="1.1",
    ),
    *_HARMONICITY,
)
FORMANT_FIELDS = (
    status_field(
        "voice_formant_status",
        f"{_VALUES} | {POOR}",
        f"the second and third formant (poor_separation: separation_sdr_db is below {FORMANT_SDR_DB:.0f})",
        family="voice",
        since="1.1",
    ),
    *(field for field in _FORMANTS if field not in _ROBUST),
)
PERTURBATION_FIELDS = (
    status_field(
        "voice_perturbation_status",
        f"{_VALUES} | {POOR}",
        f"jitter and shimmer (poor_separation: separation_sdr_db is below {PERTURBED_SDR_DB:.0f})",
        family="voice",
        since="1.1",
    ),
    *_PERTURBATIONS,
)


def confirmed(measured: VoiceFrames | InharmonicityFrames, f0_hz: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a contour of (n_frames,) Hz is voiced at a measured frame and has the pitch measured there."""
    octaves = np.log2(f0_hz[measured.frame] / measured.hz)
    return np.isfinite(octaves) & (np.abs(octaves) * 1200 <= NEAR_CENTS)


def voice_medians(voice: VoiceFrames, those: np.ndarray) -> dict[str, float | None]:
    """Medians of the fields over some frames.

    Parameters
    ----------
    voice : VoiceFrames
        Of a voice.
    those : (n,) ndarray of bool
        Which of its frames.

    Returns
    -------
    dict
        By field; None for what fewer than :data:`LEAST_FRAMES` frames have.
    """
    values = {}
    for fields, table in (
        (_PERTURBATIONS, voice.perturbations),
        (_HARMONICITY, voice.harmonicity_db),
        (_FORMANTS, voice.formants_hz),
    ):
        for field, column in zip(fields, table[those].T, strict=True):
            known = column[np.isfinite(column)]
            values[field.name] = median(known) if len(known) >= LEAST_FRAMES else None
    return values


def measured_voice(inputs: DescriptorInputs) -> tuple[str, dict[str, float | None]]:
    """Status and medians of the vocals, whatever the separation is worth, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    status : str
        ``ok``, or why there are no values.
    values : dict
        Of :func:`voice_medians`.
    """
    voice = inputs.frames.voice
    if not inputs.get(active_rows)[VOCALS].any():
        return SILENT, {}
    if voice is None:
        return UNKNOWN, {}
    those = confirmed(voice, inputs.get(f0_contours)[VOCALS][0].f0_hz)
    if np.count_nonzero(those) < LEAST_FRAMES:
        return TOO_FEW, {}
    return OK, voice_medians(voice, those)


def _voice(inputs: DescriptorInputs, _: str) -> dict[str, Any]:
    status, values = inputs.get(measured_voice)
    return {"voice_status": status, **{field.name: values.get(field.name) for field in _ROBUST}}


def _separated(inputs: DescriptorInputs, row: str, *, fields: tuple[Field, ...], least_sdr_db: float) -> dict[str, Any]:
    """The status, which is the first of the fields, and the others if the separation is good enough."""
    name = fields[0].name
    status, values = inputs.get(measured_voice)
    if status != OK:
        return {name: status}
    if not is_trusted(inputs.frames.stems[row], least_sdr_db):
        return {name: POOR}
    return {name: OK, **{field.name: values[field.name] for field in fields[1:]}}


_quality = partial(_separated, fields=QUALITY_FIELDS, least_sdr_db=HARMONIC_SDR_DB)
_formants = partial(_separated, fields=FORMANT_FIELDS, least_sdr_db=FORMANT_SDR_DB)
_perturbations = partial(_separated, fields=PERTURBATION_FIELDS, least_sdr_db=PERTURBED_SDR_DB)
register(Extractor("voice", 67, FIELDS, "voice_status", _voice))
register(Extractor("voice_perturbation", 67, PERTURBATION_FIELDS, "voice_perturbation_status", _perturbations))
register(Extractor("voice_quality", 67, QUALITY_FIELDS, "voice_quality_status", _quality))
register(Extractor("voice_formants", 67, FORMANT_FIELDS, "voice_formant_status", _formants))
