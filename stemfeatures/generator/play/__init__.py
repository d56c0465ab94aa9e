"""Scores to sound: recorded notes, SoundFonts, synthesisers."""
