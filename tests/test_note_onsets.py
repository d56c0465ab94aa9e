"""How likely onsets of the network of notes are played: evidence around them, the model that ships, the command."""

import json
import re

import numpy as np
import pytest

from stemfeatures.constants import N_NOTES
from stemfeatures.descriptors import note_onsets
from stemfeatures.descriptors.note_onsets import EVIDENCE, likely_onsets, onset_evidence
from stemfeatures.descriptors.polyphony import polyphonic_notes
from stemfeatures.frames.types import NoteFrames
from stemfeatures.training import note_onsets as training

PITCH, SECOND = 30, 120


def heard(n=300):
    """A pitch that begins at frame 20 and sounds to 200, with an onset of the same certainty amid it."""
    onset, active = np.full((N_NOTES, n), 0.01, np.float32), np.full((N_NOTES, n), 0.02, np.float32)
    onset[PITCH, [19, 20, 21]] = onset[PITCH, [SECOND - 1, SECOND, SECOND + 1]] = 0.3, 0.6, 0.3
    active[PITCH, 20:200] = 0.9
    return onset, active


def test_evidence_is_what_stands_around_an_onset():
    onset, active = heard()
    onset[PITCH - 12, 22] = 0.6
    rows = onset_evidence(onset, active, np.array([PITCH, PITCH]), np.array([20, SECOND]))
    first, again = (dict(zip(EVIDENCE, row.tolist(), strict=True)) for row in rows)
    assert first["onset"] == pytest.approx(np.log(1.5), abs=1e-5)
    assert first["active"] == pytest.approx(np.log(9), abs=1e-5)
    assert (first["active_before"], again["active_before"]) == pytest.approx((0.02, 0.9), abs=1e-6)
    assert (first["least_active_before"], again["least_active_before"]) == pytest.approx((0.02, 0.9), abs=1e-6)
    assert (first["onset_-12"], again["onset_-12"]) == pytest.approx((0.6, 0.01), abs=1e-6)
    assert first["pitch"] == pytest.approx((33 + PITCH - 60) / 12)


def test_an_onset_of_what_sounds_already_is_less_likely():
    onset, active = heard()
    judged = likely_onsets(onset, active)
    assert judged[PITCH, 20] > 0.5 > judged[PITCH, SECOND] > 0
    # Beside it the network's own shape is kept, so that times between frames are; elsewhere nothing is left.
    assert judged[PITCH, 19] / judged[PITCH, 20] == pytest.approx(0.5, abs=1e-5)
    told = np.zeros_like(judged, dtype=bool)
    told[PITCH, [19, 20, 21, SECOND - 1, SECOND, SECOND + 1]] = True
    assert ((judged > 0) == told).all()
    notes = polyphonic_notes(judged.T, active.T, np.zeros_like(active).T)
    assert notes.onset_s == pytest.approx([20 * 512 / 22_050], abs=1e-6)
    # The same pitch struck again after it has paused is a note.
    active[PITCH, SECOND - 12 : SECOND] = 0.02
    assert likely_onsets(onset, active)[PITCH, SECOND] > 0.5


def test_an_onset_is_less_likely_where_its_octave_begins_below():
    onset, active = heard()
    alone = likely_onsets(onset, active)[PITCH, 20]
    onset[[PITCH - 24, PITCH - 12], 20] = 0.8
    assert likely_onsets(onset, active)[PITCH, 20] < 0.7 * alone


def test_likely_onsets_do_not_depend_on_where_blocks_end(monkeypatch):
    rng = np.random.default_rng(0)
    onset, active = rng.random((2, N_NOTES, 500)).astype(np.float32)
    whole = likely_onsets(onset, active)
    monkeypatch.setattr("stemfeatures.descriptors.values.BLOCK_FRAMES", 37)
    np.testing.assert_allclose(likely_onsets(onset, active), whole, atol=1e-6)
    assert (whole > 0).mean() > 0.1


def test_a_model_is_fitted_to_what_matches_the_truth():
    examples = []
    for song in range(6):
        rng = np.random.default_rng(song)
        onset, active = np.full((2, N_NOTES, 900), 0.01, np.float32)
        true = []
        # Every note is followed by a false onset while it sounds.
        for start in range(20, 850, 60):
            pitch = int(rng.integers(20, 50))
            onset[pitch, [start, start + 20]] = rng.uniform(0.5, 0.9, 2)
            active[pitch, start : start + 40] = 0.9
            true.append((start * 512 / 22_050, (start + 40) * 512 / 22_050, 33 + pitch))
        notes = NoteFrames(onset, active, np.zeros_like(onset))
        examples.append(training.onset_example(notes, np.ones(900, bool), np.array(true), song))
    assert [int(e.matches.sum()) for e in examples] == [14] * 6
    assert [len(e.matches) for e in examples] == [28] * 6
    weights, bias, (precision, recall, f_measure) = training.fit_onsets(examples)
    assert min(precision, recall, f_measure) > 0.99
    told = examples[0].evidence @ weights + bias > 0
    assert (told == examples[0].matches).all()


def test_the_command_writes_what_the_analysis_reads(tmp_path, monkeypatch, capsys):
    training.main(["--songs", "3", "--duration", "8", "--seed", "830000", "-o", str(tmp_path)])
    assert re.search(r"songs left out: precision 0\.\d{3}, recall 0\.\d{3}, F 0\.\d{3}", capsys.readouterr().out)
    stored = json.loads((tmp_path / note_onsets.WEIGHTS).read_text())
    assert stored["made_of"]["songs"] == 3
    assert stored["made_of"]["bank"] is None
    monkeypatch.setattr("stemfeatures.descriptors.fitted.files", lambda _: tmp_path)
    weights, bias = note_onsets._model.__wrapped__()
    assert weights.shape == (len(EVIDENCE),)
    assert bias == stored["bias"]


def test_one_song_is_too_few(tmp_path, capsys):
    with pytest.raises(SystemExit):
        training.main(["--songs", "0", "-o", str(tmp_path)])
    assert "0 songs: fewer than two of them have notes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
