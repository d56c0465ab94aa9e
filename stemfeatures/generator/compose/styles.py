"""What tells one style of music from another: tempo, metre, grooves, playing, instruments.

Grooves are written a character a step: a digit is the velocity in tenths, a dot is a rest.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Beats a bar and steps a beat.
METRES = {
    "4/4": (4, 4), "3/4": (3, 4), "6/8": (2, 6), "5/4": (5, 4), "7/4": (7, 4), "9/8": (3, 6), "12/8": (4, 6),
}  # fmt: skip

#: Semitones above the tonic.
MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}

#: Scale degrees from 0; those of a mode that is not listed are the ones of the mode with the same third.
PROGRESSIONS = {
    "major": ("0453", "0345", "5304", "0534", "0304", "0034", "1400", "3045", "0252", "0314", "5345", "0000", "0434"),
    "minor": ("0526", "0362", "0656", "0034", "0534", "0263", "0356", "5600", "0464", "3064", "0000", "0653"),
    "dorian": ("0303", "0363", "0323", "0033", "0063"),
    "mixolydian": ("0630", "0036", "0363", "0643", "0060"),
    "lydian": ("0101", "0145", "0015", "0514"),
    "phrygian": ("0101", "0161", "0165", "0010"),
}


@dataclass(frozen=True)
class Style:
    """One style.

    Attributes
    ----------
    tempo : tuple[float, float]
        Lowest and highest tempo in beats a minute (6/8, 9/8 and 12/8: dotted quarters).
    grooves : tuple[dict[str, str], ...]
        Patterns by drum role; one is drawn for the verses and one for the choruses.
    bass, comp : tuple[str, ...]
        How bass and accompaniment may play, see :mod:`.composer`.
    families : tuple[str, ...]
        Instrument families of the accompaniment, those listed twice are likelier.
    bass_families : tuple[str, ...], default=('electric_bass',)
        Kinds of bass.
    kits : tuple[str, ...], default=('acoustic',)
        Kinds of drum kit.
    swing : tuple[float, float], default=(0.0, 0.0)
        Range of the delay of off-beats, 1 = triplets; ``swing_unit``: the step that is delayed (2 eighth, 1 16th).
    drive : float, default=0.1
        Probability of distorted guitars.
    sevenths : float, default=0.15
        Of seventh chords.
    loose : float, default=6.0
        Human timing, ms.
    spoken : float, default=0.0
        Probability of spoken verses.
    weight : float, default=1.0
        How often the style is drawn against others; 0: only where it is asked for.
    """

    name: str
    metre: str
    tempo: tuple[float, float]
    grooves: tuple[dict[str, str], ...]
    bass: tuple[str, ...]
    comp: tuple[str, ...]
    families: tuple[str, ...]
    bass_families: tuple[str, ...] = ("electric_bass",)
    kits: tuple[str, ...] = ("acoustic",)
    swing: tuple[float, float] = (0.0, 0.0)
    swing_unit: int = 2
    drive: float = 0.1
    sevenths: float = 0.15
    loose: float = 6.0
    spoken: float = 0.0
    weight: float = 1.0
    modes: tuple[str, ...] = ("major", "major", "minor", "minor", "dorian", "mixolydian")


_STYLES = (
    Style(
        "pop", "4/4", (84, 136),
        (
            {"kick": "9.....5.9.......", "snare": "....9.......9...", "hat": "7.5.7.5.7.5.7.5."},
            {"kick": "9..6..9...9.....", "snare": "....9.......9..2", "hat": "7.4.7.4.7.4.7.4.",
             "tambourine": "....6.......6..."},
            {"kick": "9.......9.9.....", "clap": "....8.......8...", "hat": "7454745474547454",
             "snare": "....8.......8..."},
        ),
        ("roots", "long", "kick", "octaves", "root_fifth"), ("block", "strum", "arpeggio", "pad", "stab"),
        ("piano", "epiano", "acoustic_guitar", "clean_guitar", "pad", "strings", "synth_lead", "organ", "mallet"),
        bass_families=("electric_bass", "electric_bass", "synth_bass"), kits=("acoustic", "acoustic", "electronic"),
        weight=2.0,
    ),
    Style(
        "rock", "4/4", (96, 168),
        (
            {"kick": "9.....9.9.5.....", "snare": "....9.......9...", "hat": "8.6.8.6.8.6.8.6."},
            {"kick": "9.9.....9.9.....", "snare": "....9.......9...", "crash": "8...............",
             "ride": "8.6.8.6.8.6.8.6."},
            {"kick": "9.....6.9.....6.", "snare": "....9.......9...", "open_hat": "8...8...8...8..."},
        ),
        ("roots", "roots", "kick", "root_fifth"), ("power", "power", "strum", "riff", "arpeggio"),
        ("electric_guitar", "electric_guitar", "clean_guitar", "organ", "piano", "acoustic_guitar"),
        drive=0.75, sevenths=0.04, loose=8.0, weight=2.0, modes=("major", "minor", "minor", "mixolydian", "dorian"),
    ),
    Style(
        "ballad", "4/4", (50, 84),
        (
            {"kick": "9.......8.5.....", "rim": "....7.......7...", "hat": "6...4...6...4..."},
            {"kick": "9......59.......", "snare": "....9.......9...", "hat": "6.4.6.4.6.4.6.4."},
            {"kick": "9.........8.....", "snare": "........9.......", "ride": "6...6...6...6..."},
        ),
        ("long", "root_fifth", "long", "kick"), ("arpeggio", "block", "pad", "strum"),
        ("piano", "piano", "strings", "acoustic_guitar", "epiano", "pad", "winds", "mallet"),
        bass_families=("electric_bass", "double_bass"), sevenths=0.3, loose=9.0,
        modes=("major", "major", "minor", "minor", "dorian", "lydian"),
    ),
    Style(
        "funk", "4/4", (92, 124),
        (
            {"kick": "9..6..4...9..3..", "snare": "....9..2.2..9..2", "hat": "8565856585658565"},
            {"kick": "9.5....6..7..4..", "snare": "....9.2..2..9.2.", "hat": "7.577.577.577.57",
             "open_hat": "..............6."},
        ),
        ("funk", "funk", "octaves", "kick"), ("stab", "comp", "riff", "strum16"),
        ("clean_guitar", "clean_guitar", "epiano", "organ", "brass", "clavinet"),
        swing=(0.0, 0.35), swing_unit=1, sevenths=0.8, modes=("dorian", "dorian", "mixolydian", "minor"),
    ),
    Style(
        "reggae", "4/4", (64, 92),
        (
            {"kick": "........9.......", "rim": "........8.....3.", "hat": "7.4.7.4.7.4.7.4."},
            {"kick": "9...9...9...9...", "snare": "........9.......", "hat": "6.5.6.5.6.5.6.5."},
            {"kick": "9.......9.......", "snare": "....7.......7..3", "hat": "4.7.4.7.4.7.4.7."},
        ),
        ("reggae", "reggae", "kick"), ("skank", "skank", "stab", "comp"),
        ("clean_guitar", "organ", "piano", "brass", "clavinet"), swing=(0.0, 0.6), sevenths=0.2, loose=8.0,
    ),
    Style(
        "hiphop", "4/4", (70, 104),
        (
            {"kick": "9......7..9..4..", "snare": "....9.......9...", "hat": "7.5.7.557.5.7.55"},
            {"kick": "9.5.......9....5", "clap": "....9.......9...", "hat": "6.6.6.6.6.6.6.6."},
            {"kick": "9.....7...8..6..", "clap": "........9.......", "hat": "7577757775777677"},
        ),
        ("808", "808", "long", "kick"), ("riff", "arpeggio", "pad", "block"),
        ("epiano", "piano", "strings", "pad", "synth_lead", "mallet", "winds"),
        bass_families=("sub_bass", "sub_bass", "synth_bass", "electric_bass"),
        kits=("electronic", "electronic", "acoustic"), swing=(0.0, 0.6), swing_unit=1, sevenths=0.35, spoken=0.4,
        modes=("minor", "minor", "dorian", "phrygian"),
    ),
    Style(
        "four_to_the_floor", "4/4", (112, 150),
        (
            {"kick": "9...9...9...9...", "clap": "....9.......9...", "open_hat": "..7...7...7...7."},
            {"kick": "9...9...9...9...", "snare": "....8.......8...", "hat": "5.8.5.8.5.8.5.8.",
             "shaker": "5353535353535353"},
            {"kick": "9...9...9...9..4", "hat": "..8...8...8...8.", "clap": "....9.......9..."},
        ),
        ("offbeat", "octaves", "sixteenths", "kick"), ("stab", "pad", "arpeggio", "riff"),
        ("synth_lead", "pad", "piano", "organ", "strings", "synth_lead", "epiano"),
        bass_families=("synth_bass", "synth_bass", "sub_bass"), kits=("electronic",), sevenths=0.3, loose=1.0,
        modes=("minor", "minor", "major", "dorian", "lydian", "phrygian"),
    ),
    Style(
        "waltz", "3/4", (84, 176),
        (
            {"kick": "9...........", "snare": "....7...7...", "hat": "6...5...5..."},
            {"kick": "9.......4...", "rim": "....7...7...", "ride": "7...5.4.5..."},
        ),
        ("root_fifth", "long", "walk"), ("oompah", "arpeggio", "block", "strum"),
        ("piano", "acoustic_guitar", "strings", "accordion", "winds", "mallet"),
        bass_families=("double_bass", "electric_bass"), sevenths=0.2, loose=9.0,
    ),
    Style(
        "six_eight", "6/8", (42, 80),
        (
            {"kick": "9.........4.", "snare": "......9.....", "hat": "8.5.5.8.5.5."},
            {"kick": "9.....3...6.", "snare": "......9...2.", "ride": "7.5.5.7.5.5."},
        ),
        ("long", "root_fifth", "kick", "triplets"), ("arpeggio", "arpeggio", "strum", "pad", "block"),
        ("piano", "clean_guitar", "acoustic_guitar", "strings", "organ", "electric_guitar"), drive=0.3,
    ),
    Style(
        "swing", "4/4", (100, 190),
        (
            {"kick": "4...3...4...3...", "ride": "7...8.5.7...8.5.", "pedal_hat": "....7.......7...",
             "snare": "......2.......3."},
            {"kick": "5.......5.......", "snare": "....6.......6...", "ride": "7...8.5.7...8.5.",
             "pedal_hat": "....6.......6..."},
        ),
        ("walk", "walk", "walk", "long"), ("comp", "comp", "block", "riff"),
        ("piano", "jazz_guitar", "winds", "brass", "organ", "vibraphone"),
        bass_families=("double_bass", "double_bass", "electric_bass"), swing=(0.75, 1.0), sevenths=1.0, loose=8.0,
        modes=("major", "major", "minor", "dorian"),
    ),
    Style(
        "punk", "4/4", (150, 190),
        (
            {"kick": "9...5...9...5...", "snare": "..9...9...9...9.", "hat": "8.8.8.8.8.8.8.8."},
            {"kick": "9.....9.9.......", "snare": "....9.......9...", "crash": "8...7...8...7..."},
        ),
        ("roots", "roots"), ("power", "power", "strum"), ("electric_guitar", "electric_guitar", "organ"),
        drive=1.0, sevenths=0.0, modes=("major", "major", "minor"),
    ),
    Style(
        "country", "4/4", (88, 160),
        (
            {"kick": "9.......9.......", "snare": "..4.9.4...4.9.45"},
            {"kick": "9.......9.5.....", "snare": "....9.......9...", "hat": "6.4.6.4.6.4.6.4."},
        ),
        ("root_fifth", "root_fifth", "walk"), ("strum", "arpeggio", "oompah", "riff"),
        ("acoustic_guitar", "acoustic_guitar", "clean_guitar", "piano", "fiddle"), swing=(0.0, 0.4),
        bass_families=("electric_bass", "double_bass"), modes=("major", "major", "mixolydian"),
    ),
    Style(
        "bossa", "4/4", (60, 92),
        (
            {"kick": "8..58..58..58..5", "rim": "7..7..7...7..7..", "hat": "5454545454545454"},
            {"kick": "8.....589.....58", "rim": "7..7..7...7.7...", "shaker": "6464646464646464"},
        ),
        ("bossa", "bossa", "root_fifth"), ("comp", "comp", "block", "pad"),
        ("nylon_guitar", "nylon_guitar", "piano", "winds", "vibraphone", "strings"),
        bass_families=("double_bass", "electric_bass"), sevenths=1.0, modes=("major", "major", "minor", "dorian"),
    ),
    Style(
        "slow_rock", "4/4", (45, 68),
        (
            {"kick": "9.....5.9.9.....", "snare": "....9.......9...", "hat": "7.5.7.5.7.5.7.5."},
            {"kick": "9.......7..6....", "snare": "........9.......", "ride": "6.4.6.4.6.4.6.4."},
            {"kick": "9..5....9..5..4.", "snare": "....9..2....9...", "hat": "7454745474547454"},
        ),
        ("long", "roots", "kick"), ("power", "arpeggio", "strum", "pad"),
        ("electric_guitar", "electric_guitar", "clean_guitar", "piano", "organ", "strings"),
        drive=0.6, loose=9.0, modes=("major", "minor", "minor", "mixolydian"),
    ),
    Style(
        "soul_ballad", "12/8", (45, 70),
        (
            {"kick": "9.........5.8.........4.", "snare": "......9...........9.....",
             "hat": "8.5.5.8.5.5.8.5.5.8.5.5."},
            {"kick": "9...........9...6.......", "snare": "......9...........9.....",
             "ride": "7.4.5.7.4.5.7.4.5.7.4.5."},
        ),
        ("long", "root_fifth", "kick", "triplets"), ("arpeggio", "block", "pad", "strum"),
        ("piano", "organ", "clean_guitar", "electric_guitar", "strings", "brass", "epiano"),
        drive=0.3, sevenths=0.5, loose=9.0,
    ),
    Style(
        "slow_waltz", "3/4", (58, 100),
        (
            {"kick": "9...........", "rim": "....6...6...", "hat": "6.4.5.4.5.4."},
            {"kick": "9.....5.....", "snare": "....6...8...", "ride": "6...5...5..."},
            {"kick": "9...........", "snare": "........8...", "hat": "6.4.6.4.6.4."},
        ),
        ("long", "root_fifth", "kick"), ("arpeggio", "block", "strum", "pad"),
        ("piano", "acoustic_guitar", "clean_guitar", "strings", "electric_guitar", "pad", "organ"),
        bass_families=("electric_bass", "electric_bass", "double_bass"), drive=0.25, sevenths=0.25, loose=9.0,
    ),
    Style(
        "five_four", "5/4", (84, 172),
        (
            {"kick": "9.....5.....9.......", "snare": "........9.......9...", "hat": "7.5.7.5.7.5.7.5.7.5."},
            {"kick": "9.........6.9.....4.", "snare": "....9...........9...", "ride": "7.4.7.4.7.4.7.4.7.4."},
        ),
        ("kick", "kick", "roots", "root_fifth"), ("riff", "power", "arpeggio", "block", "comp"),
        ("electric_guitar", "clean_guitar", "piano", "epiano", "organ", "synth_lead", "sax"),
        drive=0.4, sevenths=0.3, weight=0.8, modes=("minor", "minor", "dorian", "mixolydian", "major", "phrygian"),
    ),
    Style(
        "seven_four", "7/4", (92, 184),
        (
            {"kick": "9.......9.5.....9.....5.....", "snare": "....9.......9...........9...",
             "hat": "7.5.7.5.7.5.7.5.7.5.7.5.7.5."},
            {"kick": "9.......8.......9.........6.", "snare": "....8.......8.......8.......",
             "ride": "8.5.8.5.8.5.8.5.8.5.8.5.8.5."},
        ),
        ("kick", "kick", "roots", "root_fifth"), ("riff", "power", "arpeggio", "block", "comp"),
        ("electric_guitar", "clean_guitar", "piano", "organ", "synth_lead", "strings"),
        drive=0.4, sevenths=0.2, weight=0.8, modes=("minor", "minor", "dorian", "mixolydian", "major", "lydian"),
    ),
    Style(
        "nine_eight", "9/8", (48, 110),
        (
            {"kick": "9...........5.....", "snare": "......7.....8.....", "hat": "8.5.5.8.5.5.8.5.5."},
            {"kick": "9.....4.........5.", "rim": "......6.....6.....", "ride": "7.5.5.7.5.5.7.5.5."},
            {"kick": "9...........6...4.", "snare": "............9.....", "hat": "7.4.5.7.4.5.7.4.5."},
        ),
        ("long", "root_fifth", "kick", "triplets"), ("arpeggio", "arpeggio", "strum", "pad", "block"),
        ("piano", "acoustic_guitar", "clean_guitar", "strings", "fiddle", "organ", "winds"),
        bass_families=("electric_bass", "electric_bass", "double_bass"), loose=8.0, weight=0.0,
        modes=("major", "minor", "dorian", "dorian", "mixolydian"),
    ),
)  # fmt: skip

STYLES: dict[str, Style] = {style.name: style for style in _STYLES}
#: Names of those that are drawn where none is asked for.
DRAWN_STYLES = tuple(sorted(style.name for style in _STYLES if style.weight > 0))
