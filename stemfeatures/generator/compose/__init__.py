"""Songs as scores: form, harmony, tunes, accompaniment, drums."""
