"""What is evaluated, a file an estimator: checkpoints, references to measure them by, tools that people have installed.

Nothing of a tool is imported before it is asked for. Every tool gets the mono mixture (the separators stereo) at the
rate it was made for, searches C2 to C6 where it can be told to, and keeps its best guess in unvoiced frames, so that
raw pitch accuracy does not hang on its voicing. Many of these tools were trained on MIR-1K, MedleyDB or MUSDB18:
figures on those sets flatter them.
"""
