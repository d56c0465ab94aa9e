"""The command line: real processes for help, usage and exit codes, in-process calls for the rest."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import tiny_checkpoint, tiny_recipe
from test_multitrack import tone, write_song

import pipelines.extraction.extract as extraction
from pipelines import cli, cli_reference, commands
from pipelines.catalog import validate_catalog
from pipelines.commands import _inputs, describe, extract
from pipelines.commands._exit import UsageError
from pipelines.commands._progress import ProgressLine
from pipelines.commands._text import NOTHING, columns, count, duration, number, shortened, shortened_inside, size
from pipelines.extraction.cluster import ClusterError
from pipelines.extraction.summary import ErrorGroup, ExtractInterrupted, ExtractProgress, ExtractSummary, PlannedShard
from stemfeatures._util.json import plain
from stemfeatures.audio import AudioLimits
from stemfeatures.constants import STEM_ROWS, STEMS
from stemfeatures.errors import CatalogError, LostPartError
from stemfeatures.models import checkpoints
from stemfeatures.tables.commits import read_snapshot
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import part_file, write_part
from stemfeatures.tables.rows import Provenance, TrackInfo, error_row, track_rows
from stemfeatures.tables.schema import DEFAULT_TABLES, TABLES
from stemfeatures.training.card import merge_metrics, seconds_trained
from stemfeatures.training.data import bank as banks
from stemfeatures.training.data import build_bank
from stemfeatures.training.preparation import TrainingSources, prepare_run, read_recipe

Main = Callable[..., int]
CHECKOUT = Path(cli.__file__).parents[1]
RATE = 22_050
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def stemfeatures(*argv: object, **options) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("closing", ["2>/dev/full", "<&- >&- 2>&-"])
def test_work_goes_on_whoever_reads_what_it_says(tmp_path, closing) -> None:
    """Progress and messages are lost where nobody takes them, the stems are not."""
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(8000) / 5), 8000)
    command = f"{sys.executable} -m pipelines.cli separate {tmp_path}/a.wav {tmp_path}/none.wav -o {tmp_path}/stems"
    run = partial(subprocess.run, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    done = run(["bash", "-c", f"{command} {closing}"])
    assert done.returncode == 3
    assert not done.stderr
    for stem in ("vocals", "drums", "bass", "other"):
        assert soundfile.info(tmp_path / "stems" / "a" / f"{stem}.wav").frames == 8000
    usage = run(["bash", "-c", f"{sys.executable} -m pipelines.cli nothing {closing}"])
    assert usage.returncode == 2


def test_processes_that_are_started_have_open_streams_too(tmp_path) -> None:
    """Or their first files would be where libraries print to."""
    telling = "import os; print(os.open(os.devnull, 0), file=open('told', 'w'))"
    starting = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {telling!r}])'
    command = f"from pipelines.commands._streams import open_streams; open_streams(); {starting}"
    closing = [sys.executable, "-c", command]
    run = partial(subprocess.run, cwd=tmp_path, env={**ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)}, check=True)
    run(["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *closing])
    assert int((tmp_path / "told").read_text()) >= 3


def test_a_folder_that_is_gone(tmp_path) -> None:
    """The mathematical library of PyTorch would end the process, with the exit code of wrong usage."""
    (tmp_path / "gone").mkdir()
    command = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {sys.executable} -m pipelines.cli models"
    environment = {**ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == "stemfeatures: error: the folder that this was started in is gone: start it in another\n"


@pytest.fixture
def main() -> Main:
    """Run the command in this process; the exit code."""

    def run(*argv: object) -> int:
        try:
            return cli.main([str(arg) for arg in argv])
        except SystemExit as stop:
            return int(stop.code or 0)

    return run


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> Path:
    """1.2 s, stereo, 16 kHz, with a name that needs care."""
    rng = np.random.default_rng(1)
    y = np.stack([tone(220, 1.2), tone(330, 1.2)]) + 0.05 * rng.standard_normal((2, round(1.2 * 16_000)))
    path = tmp_path_factory.mktemp("audio") / "Søng no. 1 (live).wav"
    soundfile.write(path, y.T, 16_000, subtype="FLOAT")
    return path


@pytest.fixture
def bad(tmp_path) -> Path:
    path = tmp_path / "bad.mp3"
    path.write_bytes(b"this is not audio " * 50)
    return path


# Help and usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["", *commands.verbs()])
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = (
        "import sys\nfrom pipelines.cli import main\n"
        f"try:\n    main({[*filter(None, [verb]), '--help']!r})\nexcept SystemExit as stop:\n    code = stop.code\n"
        "heavy = ('torch', 'librosa', 'pandas', 'pyarrow', 'numpy', 'scipy', 'dask', 'rich', 'soundfile')\n"
        "print(code, [name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert done.stdout.startswith(f"usage: stemfeatures {verb}".rstrip())


def test_values_that_cannot_be_read_are_told_in_words(main: Main, capsys) -> None:
    """Of every argument of every verb: Python's names of the functions that read values say nothing to a user."""
    n_refused = 0
    for verb, parser in cli_reference.verb_parsers().items():
        for action in parser._actions:
            name = getattr(action.type, "__name__", "").strip("_")
            for text in ("s3://", "nonsense", "", "nan", "-1", "1e999", "a=b", "5-x") if action.type else ():
                try:
                    parser._get_value(action, text)
                except argparse.ArgumentError as error:
                    n_refused += 1
                    said = error.message
                    assert "invalid" not in said, (verb, said)
                    assert not name or name not in said.split(), (verb, said)
                    assert text in said or "expected" in said, (verb, said)
                    assert len(said) > 15, (verb, said)
    assert n_refused > 100
    for argument in ("--max-duration=nan", "--max-duration=nonsense"):  # and so on the command line
        assert main("describe", "a.wav", argument) == 2
        told = f"argument --max-duration: expected a number above 0, not '{argument.partition('=')[2]}'"
        assert told in capsys.readouterr().err


def test_an_address_without_a_bucket_is_told_as_such(main: Main, capsys) -> None:
    assert main("status", "s3://") == 2
    assert "error: argument DIR: 's3://' names no bucket and no host (see" in capsys.readouterr().err


def test_audio_that_cannot_be_read_ends_every_command_alike(main: Main, bad, model, tmp_path, capsys) -> None:
    """Exit code 3, and a line that names the file; one file is no other case than many."""
    lyrics = tmp_path / "lyrics.txt"
    lyrics.write_text("la la\n")
    for verb, *arguments in (
        ("describe", bad, "-m", model),
        ("describe", bad, bad.with_name("none.wav"), "-m", model),
        ("separate", bad, "-o", tmp_path / "stems", "-m", model),
        ("remix", bad, "--vocals", "-12dB", "-o", tmp_path / "softer.flac", "-m", model),
        ("align", bad, lyrics, "-o", tmp_path / "song.lrc", "-m", model),
        ("singalong", bad, lyrics, "-o", tmp_path / "page", "-m", model),
        ("validate", bad),
    ):
        assert main(verb, *arguments) == 3, verb
        told = capsys.readouterr()
        assert "bad.mp3" in told.out + told.err, verb
        assert "Traceback" not in told.err, verb
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_dir()) == ["bad.mp3", "lyrics.txt"]


def test_align_says_how_words_go_to_standard_output(main: Main, tmp_path, capsys) -> None:
    (tmp_path / "song.txt").write_text("la la\n")
    assert main("align", tmp_path / "none.wav", tmp_path / "song.txt", "-o", "-") == 2
    assert "--output: - is no file: without --output, JSON goes to standard output" in capsys.readouterr().err


def test_a_track_that_cannot_be_scored_is_told_as_such(main: Main, tmp_path, capsys) -> None:
    """By the rule of all commands: 3 for what is wrong with a track, 2 for what was asked for."""
    write_song(tmp_path / "set" / "song", {"vocals": tone(440, 1.0), "drums": tone(100, 1.0)})
    assert main("evaluate", "beats", tmp_path, "-m", "librosa", "-q") == 2
    assert "no track here holds the truth for 'beats' [evaluate]" in capsys.readouterr().err
    (broken := next((tmp_path / "set" / "song").glob("drums.*"))).write_bytes(b"this is not audio " * 50)
    assert main("evaluate", "separation", tmp_path, "-m", "mixture", "-q") == 3
    err = capsys.readouterr().err
    assert "song" in err
    assert "Traceback" not in err
    assert broken.name in err


def test_a_command_is_one_file(main: Main, capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "greet.py").write_text(
        "from pipelines.commands._exit import SOME_FAILED\n"
        "from pipelines.commands._options import add_verb\n"
        "def add_parser(verbs):\n"
        "    parser = add_verb(verbs, 'greet', run, 'greet a track', description='Says it.', examples=())\n"
        "    parser.add_argument('name')\n"
        "def run(args):\n"
        "    print('hello', args.name)\n"
        "    return SOME_FAILED\n"
    )
    (tmp_path / "_helper.py").write_text("raise ImportError\n")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    try:
        assert commands.verbs()[-1] == "greet"
        assert main("greet", "a.wav") == 3
        assert capsys.readouterr().out == "hello a.wav\n"
        assert main("--help") == 0
        assert "    greet " in capsys.readouterr().out
    finally:
        sys.modules.pop("pipelines.commands.greet", None)


def test_folders_of_the_user_do_not_hide_the_packages(tmp_path, model: Path, song: Path) -> None:
    """The installed command and its worker processes, where the working directory has folders of these names."""
    for name in ("pipelines", "stemfeatures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('of the user')\n")
    (tmp_path / "music").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "music" / name).write_bytes(song.read_bytes())
    command = [str(Path(sys.executable).with_name("stemfeatures")), "extract", "music", "-o", "features"]
    done = subprocess.run(
        [*command, "-m", str(model), "-j", "2", "-d", "cpu"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "2 tracks done, 0 failed"), done.stderr


def test_help_lists_every_verb_and_version_is_known(main: Main, capsys) -> None:
    assert main("--help") == 0
    text = capsys.readouterr().out
    assert all(f"    {verb} " in text for verb in commands.verbs())
    assert main("--version") == 0
    assert capsys.readouterr().out == f"stemfeatures {cli.__version__}\n"
    assert main() == 2  # no verb: help, but nothing was done
    said = capsys.readouterr()
    assert not said.out
    assert "usage:" in said.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["extrac"], "no such verb: 'extrac'; did you mean 'extract'?"),
        (["recommend", "trein"], "no such verb: 'trein'; did you mean 'train'?"),
        (["extract", "--dryrun", "x.csv"], "unrecognized arguments: --dryrun; did you mean '--dry-run'?"),
        (["extract", "x.csv", "--out=d"], "unrecognized arguments: --out=d; did you mean '--out-dir'?"),
        (["separate", "-o", "d", "x.wav", "-f", "flac"], "unrecognized arguments: -f (see stemfeatures separate"),
        (["schema", "f0_medain_hz"], "has 'f0_medain_hz'; did you mean 'f0_median_hz'"),
        (["extract", "x.csv"], "required: -o/--out-dir"),
        (["extract", "x.csv", "-o", "d", "--limit", "0"], "expected a whole number of at least 1, not '0'"),
        (["extract", "x.csv", "-o", "d", "--jobs", "two"], "expected a whole number of at least 1, not 'two'"),
        (["extract", "x.csv", "-o", "d", "--track-timeout", "nan"], "expected a number above 0, not 'nan'"),
        (["extract", "x.csv", "-o", "d", "--tables", "stems,beats"], "unknown table 'beats'; there are: tracks,"),
        (["extract", "x.csv", "-o", "d", "--tables", ","], "expected names with commas"),
        (["extract", "x.csv", "-o", "d", "--over"], "unrecognized arguments: --over"),  # no abbreviations to outlive
        (["extract", "x.csv", "-o", "d", "-j", "2", "--scheduler", "tcp://h:1"], "not allowed with argument"),
        (["separate", "x.wav", "-o", "d", "--stems", "voice"], "unknown stem 'voice'; there are: vocals, drums"),
        (["separate", "x.wav", "-o", "d", "--format", "mp3"], "invalid choice: 'mp3'"),
        (["describe", "x.wav", "--model", "nobody"], "unknown model 'nobody'; known:"),
        (["describe", "x.wav", "--model", "nobody.safetensors"], "nobody.safetensors: no such checkpoint file"),
        (["describe", "x.wav", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["validate", "nowhere.csv"], "nowhere.csv: there is no such file or folder"),
        (["status", "nowhere"], "nowhere: there is no such directory"),
        (["compact", "nowhere"], "nowhere: there is no such directory"),
        (["schema", "riffs"], "no table, column, family or description has 'riffs'"),
        (["schema", "--json", "--markdown"], "not allowed with argument"),
        (["models", "nobody"], "unknown model 'nobody'"),
        (["train", "--recipe", "nobody"], "unknown recipe 'nobody'; known: "),
        (["train", "--recipe", "nobody.toml"], "nobody.toml: no such recipe file"),
        (["train", "--run-dir", "r"], "r/bank: no bank there, and no isolated sounds (data) to build one from"),
        (["train", "--run-dir", "r", "--data", "d"], "d: no index.csv"),
        (["train", "--run-dir", "r", "--held-out", "h.txt"], "h.txt: no such file"),
        (["train", "--export", "weights.pt"], "must end in .safetensors"),
        (["evaluate", "melody", "."], "invalid choice: 'melody'"),
        (["evaluate", "f0", "nowhere", "-m", "pyin"], "nowhere: no such folder"),
        (["evaluate", "f0", ".", "-m", "pyin", "-o", "no/x.parquet"], "--output: no such folder: no"),
        (["evaluate", "f0", ".", "-m", "pyin", "--update-card"], "pyin is a reference, it has no model card"),
        (
            ["evaluate", "f0", ".", "--update-card"],
            "is of the package, whose cards stay as they are",
        ),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(main: Main, capsys, tmp_path, monkeypatch, argv, said) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(*argv) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("stemfeatures: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not list(tmp_path.iterdir())  # and nothing is left behind


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ("align nowhere.mp3 song.txt -o a.lrc", 3, "nowhere.mp3: no such file [decode]"),
        ("align song.txt song.txt", 3, "song.txt: soundfile: "),
        ("align nowhere.mp3 folder", 2, "folder: Is a directory"),
        ("remix nowhere.mp3 --vocals -3 -o a.wav", 3, "nowhere.mp3: no such file [decode]"),
        ("align song.txt song.txt -o no/a.lrc", 2, "--output: no such folder: no"),
        ("remix song.txt --vocals -3 -o no/a.wav", 2, "--out: no such folder: no"),
        ("singalong nowhere.mp3 -o page", 3, "nowhere.mp3: no such file [decode]"),
        ("singalong nowhere.mp3 folder -o page", 2, "folder: Is a directory"),
    ],
)
def test_a_single_input_that_cannot_be_used(main: Main, capsys, monkeypatch, tmp_path, argv, code, said) -> None:
    pytest.importorskip("pocketsphinx")
    monkeypatch.chdir(tmp_path)
    Path("song.txt").write_text("no song")
    Path("folder").mkdir()
    assert main(*argv.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"stemfeatures: error: {said}")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == ["folder", "song.txt"]


def test_usage_error_of_a_process(model: Path) -> None:
    done = stemfeatures("validate", "nowhere.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "stemfeatures: error: nowhere.csv: there is no such file or folder [catalog]\n"
    shown = stemfeatures("validate", "nowhere.csv", "-vv")
    assert shown.returncode == 2
    assert "Traceback" in shown.stderr
    assert shown.stderr.endswith(done.stderr)


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m pipelines.cli schema | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("tracks ")
    assert not done.stderr
    assert done.returncode in (0, 141)


def test_unexpected_errors_show_where_and_exit_1(main: Main, capsys, monkeypatch) -> None:
    monkeypatch.setattr("stemfeatures.tables.schema.markdown", lambda tables: 1 / 0)
    assert main("schema", "--markdown") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("stemfeatures: error: unexpected ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "/x/y"), 4, "/x/y: Permission denied"),
        (OSError(28, "No space left on device", "/x/y"), 4, "/x/y: No space left on device"),
        (OSError("the disk is gone"), 4, "the disk is gone"),
    ],
)
def test_trouble_with_the_disk_is_one_line(main: Main, capsys, monkeypatch, error, code, said) -> None:
    def fails(path):
        raise error

    monkeypatch.setattr("stemfeatures.tables.reader.open_features", fails)
    assert main("status", "d") == code
    assert capsys.readouterr().err == f"stemfeatures: error: {said}\n"


def test_page_is_fresh() -> None:
    page = CHECKOUT / "docs" / "cli.md"
    if not page.is_file():
        pytest.skip("docs/ is only in the checkout")
    assert page.read_text(encoding="utf-8") == cli_reference.markdown()


def test_examples_parse() -> None:
    parser = cli.build_parser()
    for verb, of in cli_reference.verb_parsers().items():
        assert of.examples
        for line in of.examples:
            program, *argv = shlex.split(line.split(" > ")[0])
            assert program == "stemfeatures"
            assert parser.parse_args(argv).verb == verb.split()[0]


def test_options_stand_before_between_and_after_arguments() -> None:
    """However an option cuts the arguments in two, and also where names begin with a dash."""
    parser = cli.build_parser()
    out = ["-o", "out"]
    for argv in ([*out, "d", "t"], ["d", *out, "t"], ["d", "t", *out], ["d", *out, "--", "t"], [*out, "--", "d", "t"]):
        args = parser.parse_args(["report", *argv])
        assert (str(args.dataset), args.track_id, str(args.out_dir)) == ("d", "t", "out")
    assert parser.parse_args(["report", "d", *out]).track_id is None
    assert parser.parse_args(["report", *out, "--", "d", "-t-"]).track_id == "-t-"
    for argv in (
        [*out, "a", "b", "c"],
        ["a", *out, "b", "c"],
        ["a", "b", "-q", *out, "c"],
        ["a", *out, "--", "b", "c"],
    ):
        assert parser.parse_args(["separate", *argv]).inputs == ["a", "b", "c"]
    assert parser.parse_args(["models", "a", "--json", "b"]).checkpoints == ["a", "b"]
    assert parser.parse_args(["models", "--json"]).checkpoints == []


def test_names_in_help_are_those_of_the_library() -> None:
    from pipelines.commands import evaluate
    from stemfeatures.evaluation.result import TASKS

    assert (*TASKS, "all") == evaluate.TASKS
    known = {f.name for f in TABLES["stems"].fields}
    shown = {field for _, _, *fields in describe._ROWS for field in fields}
    assert shown <= known


@pytest.mark.parametrize("verb", ["index", "recommend train", "recommend evaluate"])
def test_families_in_help_are_those_of_the_library(capsys, verb: str) -> None:
    from stemfeatures.vectors.columns import scalar_families

    with pytest.raises(SystemExit):
        cli.main([*verb.split(), "--help"])
    assert ",".join(scalar_families()) in "".join(capsys.readouterr().out.split())


# Words ----------------------------------------------------------------------------------------------------------------


def test_words_for_people() -> None:
    assert [duration(s) for s in (0, 8.26, 59.94, 65, 3599.6, 11_220)] == [
        "0.0 s", "8.3 s", "59.9 s", "1 min 05 s", "1 h 00 min", "3 h 07 min",
    ]  # fmt: skip
    assert [size(n) for n in (0, 999, 1500, 2_500_000, 7e15)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "7000.0 TB"]
    assert (count(1, "track"), count(2000, "track")) == ("1 track", "2,000 tracks")
    assert [number(v) for v in (None, float("nan"), float("-inf"), 1.25, 3)] == [
        NOTHING,
        NOTHING,
        NOTHING,
        "1.2",
        "3.0",
    ]
    assert columns([("a", "bb"), ("ccc", "d")], align="<>", indent=" ") == " a    bb\n ccc   d"
    assert columns([("息", "1"), ("abc", "2"), ("e\u0301", "3")]) == "息   1\nabc  2\ne\u0301    3"
    assert [shortened("息息息", n) for n in (6, 5, 4)] == ["息息息", "息息…", "息…"]
    names = [f"pieces/Rockabilly_{i}.flac" for i in (0, 1)]
    assert [shortened_inside(name, 16) for name in names] == ["piece…lly_0.flac", "piece…lly_1.flac"]
    assert shortened_inside(names[0], 24) == names[0]
    assert [shortened_inside("息息息息息", n) for n in (10, 9, 8, 3)] == ["息息息息息", "息…息息息", "息…息息", "…息"]
    assert shortened_inside("abcdefe\u0301x", 4) == "a…e\u0301x"


def test_no_name_breaks_a_table() -> None:
    assert columns([("a\nb\x1b[31m", "é\u2028"), ("c", "d")]) == "a\\nb\\x1b[31m  é\\u2028\nc             d"


def test_plain_is_always_json() -> None:
    value = {
        "a": np.array([1.0, np.nan, np.inf]),
        "b": np.float32(0.5),
        "c": (np.int8(3), np.bool_(True), None, Path("x")),
        "d": datetime(2026, 1, 2, tzinfo=UTC),
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "a": [1.0, None, None],
        "b": 0.5,
        "c": [3, True, None, "x"],
        "d": "2026-01-02T00:00:00+00:00",
    }


def test_progress_speaks_now_and_then_where_nobody_watches() -> None:
    stream, now = io.StringIO(), [0.0]
    line = ProgressLine(100, label="extract", unit="track", done=20, stream=stream, every_s=30, clock=lambda: now[0])
    for done, seconds in ((21, 25), (22, 26), (31, 35), (40, 40), (57, 65), (100, 66)):
        now[0] = seconds
        line.advance_to(done, note="1 failed" if done > 30 else "")
    line.close()
    assert stream.getvalue().splitlines() == [
        "extract: 31 of 100 tracks, 1 min 09 s left, after 35.0 s, 1 failed, 1.00 tracks/s",
        "extract: 57 of 100 tracks, 47.8 s left, after 1 min 05 s, 1 failed, 0.90 tracks/s",
        "extract: 100 of 100 tracks, after 1 min 06 s, 1 failed, 1.93 tracks/s",
    ]
    quiet = io.StringIO()
    with ProgressLine(2, label="x", unit="y", stream=quiet, every_s=0, quiet=True) as line:
        line.update()
        line.say("failed: z")
    assert quiet.getvalue() == "failed: z\n"


def test_progress_counts_within_a_unit() -> None:
    stream, now = io.StringIO(), [0.0]
    line = ProgressLine(2, label="separate", unit="file", stream=stream, every_s=10, clock=lambda: now[0])
    for part, seconds in ((0.25, 10), (0.5, 20), (0.9, 36)):
        now[0] = seconds
        line.within(part, note="song.mp3")
    now[0] = 40.0
    line.update()
    line.close()
    assert stream.getvalue().splitlines() == [
        "separate: 0 of 2 files and 25% of the next, after 10.0 s, song.mp3",
        "separate: 0 of 2 files and 50% of the next, 1 min 00 s left, after 20.0 s, song.mp3",
        "separate: 0 of 2 files and 90% of the next, 44.0 s left, after 36.0 s, song.mp3",
        "separate: 1 of 2 files, 40.0 s left, after 40.0 s, 1.50 files/min",
    ]


def test_progress_is_a_live_line_on_a_terminal(monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream, now = Terminal(), [0.0]
    with ProgressLine(300, label="extract", unit="track", stream=stream, clock=lambda: now[0]) as line:
        for _ in range(3):
            now[0] += 70.0
            line.update(note="1 failed, 3 h 07 min of audio, 23.4 x real time, and more than fits into a line")
        line.say("failed: z")
        with line.paused():
            stream.write("RESULT\n")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    shown = [part for part in re.split(r"[\r\n]+", text) if part.startswith("extract")]
    assert all(len(part) <= 80 for part in shown)
    assert re.search(r"3/300 5 h 46 min left 0 s 1 failed, 3 h 07 min of a\S*…", " ".join(shown[-1].split()))
    assert "failed: z\n" in text
    assert "RESULT\n" in text


# extract --------------------------------------------------------------------------------------------------------------


def summary(out_dir: Path, **values) -> ExtractSummary:
    return ExtractSummary(**{"run_id": "r1", "out_dir": out_dir, "model": "joint-v0", "n_workers": 2, **values})


@pytest.fixture
def extracted(monkeypatch):
    """Stands in for the extraction: records its arguments, reports progress, returns or raises what it is told to."""
    calls: list[tuple[tuple, dict]] = []
    answers: list = []

    def fake(*args, **kwargs):
        calls.append((args, kwargs))
        for state, done, failed in (("starting", 0, 0), ("running", 2, 1), ("finished", 7, 3)):
            kwargs["progress"](
                ExtractProgress(
                    state, n_total=12, n_skipped=2, n_done=done, n_failed=failed, audio_s=100.0 * done, elapsed_s=10.0
                )
            )
        answer = answers.pop()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(extraction, "extract_catalog", fake)
    return calls, answers


def test_extract_passes_its_flags_on(main: Main, extracted, tmp_path) -> None:
    calls, answers = extracted
    answers += [summary(tmp_path, n_total=1, n_done=1)] * 3
    assert main("extract", "a.csv", "-o", tmp_path, "-j", "4") == 0
    assert calls.pop()[1]["jobs"] == 4
    assert main("extract", "a.csv", "-o", tmp_path) == 0
    flags = "-m x.safetensors -d cuda:3 --scheduler tcp://h:1 --batch-size 8 --overwrite --dry-run --limit 5"
    more = "--tables stems,events,stems --skip-failed --track-timeout 2.5 --separator demucs:x --keep-stems kept"
    limits = "--max-duration 60 --max-channels 2 --max-cpu-per-mb 5 --precision float32"
    assert main("extract", "a.wav", "b.wav", "-o", tmp_path / "d", *flags.split(), *more.split(), *limits.split()) == 0
    (args, kwargs), (args2, kwargs2) = calls
    assert args == ("a.csv", tmp_path)
    kwargs.pop("progress"), kwargs2.pop("progress")
    assert kwargs == {
        "model": checkpoints.DEFAULT_MODEL, "device": "auto", "jobs": None, "scheduler": None, "batch_size": None,
        "overwrite": False, "dry_run": False, "limit": None, "tables": None, "retry_failed": True,
        "track_timeout_s": None, "separator": None, "stems_from": None, "keep_stems": None, "on_duplicate": "error",
        "limits": AudioLimits(), "tracer": None, "precision": "auto",
    }  # fmt: skip
    assert args2 == (["a.wav", "b.wav"], tmp_path / "d")
    assert kwargs2 == {
        "model": "x.safetensors", "device": "cuda:3", "jobs": None, "scheduler": "tcp://h:1", "batch_size": 8,
        "overwrite": True, "dry_run": True, "limit": 5, "tables": ("stems", "events"), "retry_failed": False,
        "track_timeout_s": 2.5, "separator": "demucs:x", "stems_from": None, "keep_stems": Path("kept"),
        "on_duplicate": "error",
        "limits": AudioLimits(max_duration_s=60.0, max_channels=2, max_cpu_s_per_mb=5.0), "precision": "float32",
        "tracer": None,
    }  # fmt: skip


def test_series_come_with_the_tables_that_are_asked_for(main: Main, extracted, tmp_path) -> None:
    calls, answers = extracted
    answers += [summary(tmp_path, n_total=1, n_done=1)] * 4
    assert main("extract", "a.csv", "-o", tmp_path, "--series") == 0
    assert calls.pop()[1]["tables"] == (*DEFAULT_TABLES, "series")
    assert main("extract", "a.csv", "-o", tmp_path, "--tables", "stems", "--series") == 0
    assert calls.pop()[1]["tables"] == ("stems", "series")
    assert main("extract", "a.csv", "-o", tmp_path, "--tables", "stems", "--polyphonic-notes", "--series") == 0
    assert calls.pop()[1]["tables"] == ("stems", "series", "polyphonic_notes")
    assert main("extract", "a.csv", "-o", tmp_path, "--tables", "stems", "--strokes", "--further-voices") == 0
    assert calls.pop()[1]["tables"] == ("stems", "further_voices", "strokes")
    assert main("extract", "a.csv", "-o", tmp_path, "--tables", "serious") == 2
    assert not calls


def test_extract_sums_up_and_exits_3_on_failures(main: Main, extracted, tmp_path, capsys) -> None:
    errors = [
        ErrorGroup("decode", "DecodeError", 2, "a/bad.mp3", "soundfile: no;\nffmpeg: no", "broken or unknown audio"),
        ErrorGroup("worker", "WorkerCrash", 1, "b.wav", "killed"),
    ]
    rows = {"tracks": 9, "stems": 45, "errors": 3}
    extracted[1].append(
        summary(
            tmp_path / "f", n_total=12, n_done=7, n_skipped=2, n_failed=3, errors=errors, audio_s=700, wall_s=10,
            table_rows=rows, n_metadata_changed=1, by_status={"silent": 1, "truncated": 2},
        )
    )  # fmt: skip
    assert main("extract", "a.csv", "-o", tmp_path / "f") == 3
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "7 tracks done, 3 failed"
    assert "of the done: 2 truncated, 1 silent (column status of table tracks)\n" in out
    assert "skipped: 2 tracks done before" in out
    assert "       2  broken or unknown audio\n          e.g. a/bad.mp3: soundfile: no; ffmpeg: no\n" in out
    assert "       1  worker: WorkerCrash" in out
    assert "audio: 11 min 40 s in 10.0 s, 70.0 times real time (joint-v0 on cpu, 2 workers)" in out
    assert "  table   rows\n  tracks     9\n  stems     45\n" in out
    assert "columns changed for 1 skipped track" in out
    last = err.splitlines()[-1]
    assert last.startswith("extract: 12 of 12 tracks, after ")
    assert "3 failed, 11 min 40 s of audio, 70.0 x real time" in last
    assert err.count("failed") == 1  # the plain line


def test_extract_logs_as_json(main: Main, extracted, tmp_path, capsys) -> None:
    """Every line of standard error is an event, whatever happens."""
    _, answers = extracted
    errors = [ErrorGroup("decode", "DecodeError", 3, "a\x1b[0m.mp3", "no")]
    answers.append(summary(tmp_path / "f", n_total=12, n_done=7, n_failed=3, n_skipped=2, errors=errors, audio_s=700))
    assert main("extract", "a.csv", "-o", tmp_path / "f", "--json-logs", "-q") == 3
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [e["event"] for e in events] == ["progress"] * 3 + ["summary"]
    assert [(e["state"], e["n_done"], e["times_real_time"]) for e in events[:3]] == [
        ("starting", 0, None), ("running", 2, 20.0), ("finished", 7, 70.0)
    ]  # fmt: skip
    assert (events[3]["n_failed"], events[3]["out_dir"]) == (3, str(tmp_path / "f"))
    assert events[3]["errors"][0]["example_source_uri"] == "a\x1b[0m.mp3"
    assert "\x1b" not in err  # escaped: what reads logs may be a terminal
    assert all(datetime.fromisoformat(e["time"]).utcoffset() == timedelta(0) for e in events)
    answers.append(CatalogError("no rows", source="a.csv"))
    assert main("extract", "a.csv", "-o", tmp_path, "--json-logs") == 2
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["event"], last["message"], last["exit_code"]) == ("error", "a.csv: no rows [catalog]", 2)
    logging.getLogger("pipelines").warning("two\nlines")
    record = json.loads(capsys.readouterr().err)
    assert (record["event"], record["level"], record["message"]) == ("log", "warning", "two\nlines")


def test_extract_says_where_it_stands_otherwise(main: Main, extracted, tmp_path, capsys) -> None:
    _, answers = extracted
    interrupted = summary(tmp_path, n_total=12, n_done=3, interrupted=True)
    answers.append(ExtractInterrupted(interrupted))
    assert main("extract", "a.csv", "-o", tmp_path) == 130
    out, err = capsys.readouterr()
    assert "3 tracks done, 0 failed, 9 left; the same command goes on from here" in out
    assert "interrupted" not in err  # the summary has said it
    answers.append(ExtractInterrupted(interrupted))
    assert main("extract", "a.csv", "-o", tmp_path, "-q") == 130
    said = "stemfeatures: interrupted: 3 of 12 tracks were saved, 9 are left; the same command goes on where this one"
    assert capsys.readouterr().err.startswith(said)
    answers.append(summary(tmp_path, n_total=12, n_skipped=12, run_id=None))
    assert main("extract", "a.csv", "-o", tmp_path) == 0
    assert "nothing to do: 12 tracks of 12 done before" in capsys.readouterr().out
    answers.append(summary(tmp_path, n_total=12, n_skipped=11, n_known_failed=1))
    assert main("extract", "a.csv", "-o", tmp_path, "--skip-failed") == 3
    out = capsys.readouterr().out
    assert out.startswith("0 tracks done, 0 failed, 1 failed earlier and skipped\n")
    assert "1 track that failed before" in out
    missing = [ErrorGroup("decode", "missing", 2, "new\nline.wav", "no such file")]
    answers.append(summary(tmp_path, n_total=2, errors=missing, run_id=None))
    assert main("extract", "a.csv", "-o", tmp_path, "--dry-run") == 3
    said = "cannot be read: 2 tracks\n       2  decode: missing\n          e.g. new\\nline.wav: no such file"
    assert said in capsys.readouterr().out
    shards = [PlannedShard(f"{i:03d}", 1, 60.0, (f"t{i}",)) for i in range(12)]
    answers.append(summary(tmp_path, n_total=12, planned=shards, run_id=None))
    assert main("extract", "a.csv", "-o", tmp_path, "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "would extract 12 of 12 tracks, about 12 min 00 s of audio, in 12 shards, with joint-v0 on cpu"
    )
    assert "… and 2 more shards" in out
    answers.append(summary(tmp_path, n_total=9, n_done=9, n_dropped=2, n_same_audio=1))
    assert main("extract", "a.csv", "-o", tmp_path, "--on-duplicate", "first") == 0
    out = capsys.readouterr().out
    assert "left out: 2 rows that share their id or file with another" in out
    assert "same audio: 1 track whose file holds the bytes of another's, analysed once" in out
    assert extracted[0][-1][1]["on_duplicate"] == "first"
    answers.append(CatalogError("no rows", source="a.csv"))
    assert main("extract", "a.csv", "-o", tmp_path, "-q") == 2
    assert capsys.readouterr() == ("", "stemfeatures: error: a.csv: no rows [catalog]\n")
    answers.append(ClusterError("cannot reach a scheduler there", source="tcp://h:1"))
    assert main("extract", "a.csv", "-o", tmp_path, "-q") == 6
    assert capsys.readouterr().err == "stemfeatures: error: tcp://h:1: cannot reach a scheduler there [cluster]\n"
    answers.append(summary(tmp_path, n_total=12, n_done=12))
    assert main("extract", "a.csv", "-o", tmp_path, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def features(folder: Path, *, status: str = "finished") -> Path:
    """A features directory of two tracks and one error."""
    layout = DatasetLayout.create(folder)
    made = Provenance("run-1", "c" * 64, "joint-v0", "a" * 64)
    rows: dict[str, list] = {"errors": [error_row("t3", "c.mp3", "no decoder\nat all", made, stage="decode")]}
    for i, name in ((1, "t1"), (2, "t2")):
        info = TrackInfo(name, f"{name}.wav", status="ok" if i == 1 else "silent", decoded_duration_s=30.0 * i)
        for table, some in track_rows(info, None, made).items():
            rows.setdefault(table, []).extend(some)
    run = {"run_id": "run-1", "model": "joint-v0", "model_sha256": "a" * 64, "config_hash": "c" * 64}
    with Committer(layout, run) as committer:
        committer.commit([write_part(layout, table, some, shard="s") for table, some in rows.items()])
        committer.finish(status=status, n_skipped=4)
    return folder


@pytest.mark.parametrize("table", ["tracks", "errors"])
def test_the_pandas_lines_work(tmp_path, capsys, table) -> None:
    folder = features(tmp_path / "odd 'name'")
    lines = extract.pandas_lines(summary(folder, table_rows={table: 1}))
    assert len(lines) == 3
    exec("\n".join(lines), {})
    shown = capsys.readouterr().out
    assert ("t2.wav" if table == "tracks" else "decode") in shown


def test_extract_for_real(tmp_path, model: Path, song: Path, bad: Path) -> None:
    """Two processes over three files: what is on the screen is what is in the tables."""
    silent = tmp_path / "silent.flac"
    soundfile.write(silent, np.zeros(RATE), RATE)
    out = tmp_path / "features"
    command = ("extract", song, silent, bad, "-o", out, "--model", model, "--jobs", 1, "--device", "cpu")
    done = stemfeatures(*command)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("2 tracks done, 1 failed\n")
    assert "1  no audio in the file" in done.stdout
    assert "bad.mp3" in done.stdout
    assert "extract: 3 of 3 tracks" in done.stderr
    assert "Traceback" not in done.stderr
    import stemfeatures as library

    counts = library.open_features(out).counts()
    for table in ("tracks", "stems", "errors"):
        assert any(line.split() == [table, str(counts[table])] for line in done.stdout.splitlines())
    code = "\n".join(line.strip() for line in done.stdout.splitlines()[-3:])
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "tempo_bpm" in shown
    again = stemfeatures(*command, "--skip-failed", "-q")
    assert (again.returncode, again.stdout, again.stderr) == (3, "", "")
    planned = stemfeatures(*command, "--overwrite", "--dry-run")
    assert planned.returncode == 3
    assert planned.stdout.startswith("would extract 2 of 3 tracks")  # the third cannot be read
    assert library.open_features(out).counts() == counts


# separate -------------------------------------------------------------------------------------------------------------


def test_separate_writes_stems_that_sum_to_the_input(main: Main, capsys, tmp_path, model, song, bad) -> None:
    song = Path(shutil.copy(song, tmp_path))  # beside the bad one
    assert main("separate", song, bad, "-o", tmp_path / "out", "-m", model) == 3
    out, err = capsys.readouterr()
    folder = tmp_path / "out" / "Søng no. 1 (live)"
    assert out.splitlines() == [str(folder / f"{stem}.wav") for stem in STEMS]
    assert f"failed: {bad}: soundfile:" in err
    written = {path: path.read_bytes() for path in folder.iterdir()}
    assert main("separate", song, "-o", tmp_path / "out", "-m", model) == 2
    assert "vocals.wav and 3 more exists already; --overwrite replaces it" in capsys.readouterr().err
    assert main("separate", song, "-o", tmp_path / "out", "-m", model, "--skip-existing") == 0
    assert "1 file skipped: all stems are there" in capsys.readouterr().err
    (folder / "bass.wav").write_bytes(b"")
    assert main("separate", song, "-o", tmp_path / "out", "-m", model, "--overwrite") == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == written
    out = capsys.readouterr().out
    assert "stemfeatures: 1 of 2 files failed" in err
    mixture, rate = soundfile.read(song)
    total = np.zeros_like(mixture)
    for path in out.splitlines():
        stem, stem_rate = soundfile.read(path)
        assert (stem.shape, stem_rate) == (mixture.shape, rate)
        total += stem
    assert 10 * np.log10(np.mean((total - mixture) ** 2) / np.mean(mixture**2)) < -80
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [folder.name]  # no folder for the bad one


def test_separate_writes_what_was_chosen(main: Main, capsys, tmp_path, model, song) -> None:
    chosen = ("--stems", "bass,vocals", "--format", "flac", "-q")
    assert main("separate", song, "-o", tmp_path / "out", "-m", model, *chosen) == 0
    assert capsys.readouterr() == ("", "")
    folder = tmp_path / "out" / song.stem
    assert sorted(p.name for p in folder.iterdir()) == ["bass.flac", "vocals.flac"]
    assert soundfile.info(folder / "bass.flac").frames == soundfile.info(song).frames


def test_inputs_mirror_folders_and_never_share_a_name(tmp_path, monkeypatch) -> None:
    for name in ("a/song.wav", "b/song.wav", "b/song.mp3", "b/song.wav.d/x.flac", "b/notes.txt", "...wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)

    def names(*given: str) -> list[tuple[str, str]]:
        return [(str(one.path), one.name) for one in _inputs.read_inputs(given)]

    assert names("a/song.wav") == [("a/song.wav", "song")]
    assert names("a/song.wav", "b/song.wav") == [("a/song.wav", "a/song"), ("b/song.wav", "b/song")]
    assert names("b") == [
        ("b/song.mp3", "song.mp3"),
        ("b/song.wav", "song.wav"),
        ("b/song.wav.d/x.flac", "song.wav.d/x"),
    ]
    assert names("*/song.wav") == [("a/song.wav", "a/song"), ("b/song.wav", "b/song")]
    assert names("a", "a/song.wav") == [("a/song.wav", "song")]
    assert names("...wav") == [("...wav", "...wav")]
    assert names("../x.wav", "a/song.wav")[0] == ("../x.wav", "x")
    Path("m.csv").write_text("path,title\nb/song.mp3,B\na/song.wav,A\n")
    assert names("m.csv") == [("b/song.mp3", "b/song"), ("a/song.wav", "a/song")]
    Path("m.csv").write_text("path\ns3://bucket/x/a@1.wav\na/song.wav\ns3://bucket/../../b.wav\n")
    assert names("m.csv") == [
        ("s3://bucket/x/a@1.wav", "s3/bucket/x/a@1"),
        ("a/song.wav", "a/song"),
        ("s3://bucket/../../b.wav", "b"),
    ]
    signed = "https://me:word@host/b/x.wav?Signature=abc"
    assert names(signed) == [("https://host/b/x.wav", "x")]
    assert names(signed, "https://host/c/x.wav") == [
        ("https://host/b/x.wav", "b/x"),
        ("https://host/c/x.wav", "c/x"),
    ]
    with pytest.raises(UsageError, match=r"x\.wav\?v=1 and https://host/x\.wav\?v=2 have one name: x"):
        names("https://host/x.wav?v=1", "https://host/x.wav?v=2")
    with pytest.raises(UsageError, match=r"ftp://host/a\.wav: cannot open ftp:// addresses; mount or"):
        names("ftp://me:word@host/a.wav")
    Path("m.csv").write_text("path\nftp://host/a.wav\n")
    with pytest.raises(UsageError, match="names no file"):
        names("m.csv")
    with pytest.raises(CatalogError, match="no audio files"):
        names("*.flac")


def test_outputs_never_take_the_place_of_inputs(tmp_path) -> None:
    inputs = [Path("song.wav"), tmp_path / "song" / "vocals.wav"]
    with pytest.raises(UsageError, match=r"overwrite the input .*vocals\.wav"):
        _inputs.spare_inputs(inputs, [tmp_path / "song" / ".." / "song" / "vocals.wav"])
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    _inputs.spare_inputs([tmp_path / "loop.wav"], [tmp_path / "vocals.wav"])
    with pytest.raises(UsageError, match=r"overwrite the input .*loop\.wav"):
        _inputs.spare_inputs([tmp_path / "loop.wav"], [tmp_path / "loop.wav"])
    (tmp_path / "there").symlink_to("nowhere")
    with pytest.raises(UsageError, match="there exists already; --overwrite replaces it"):
        _inputs.require_free([tmp_path / "there", tmp_path / "free"], overwrite=False)
    _inputs.require_free([tmp_path / "there"], overwrite=True)


def test_out_dir_that_cannot_be_made(main: Main, capsys, tmp_path, model, song) -> None:
    (tmp_path / "file").write_text("")
    assert main("separate", song, "-o", tmp_path / "file" / "out", "-m", model) == 2
    assert "file is a file, not a folder" in capsys.readouterr().err
    assert main("separate", song, "-o", tmp_path / "file", "-m", model) == 2
    assert "file is a file, not a folder" in capsys.readouterr().err


def test_separate_leaves_no_empty_folder(main: Main, capsys, tmp_path, model) -> None:
    assert main("separate", tmp_path / "nowhere.mp3", "-o", tmp_path / "stems", "-m", model, "-q") == 3
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "stems").exists()
    (tmp_path / "mine").mkdir()
    assert main("separate", tmp_path / "nowhere.mp3", "-o", tmp_path / "mine", "-m", model, "-q") == 3
    assert (tmp_path / "mine").is_dir()


# describe -------------------------------------------------------------------------------------------------------------


def test_describe_json_has_everything_and_no_nan(main: Main, capsys, tmp_path, model, song, bad) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    assert main("describe", song, bad, silent, "--json", "-m", model) == 3
    out, err = capsys.readouterr()
    assert f"failed: {bad}: soundfile:" in err

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    first, second = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    assert list(first) == ["input", "track", "stems", "contours", "events", "tables"]
    assert (first["input"], second["input"]) == (str(song), str(silent))
    track = first["track"]
    assert (track["sample_rate"], track["channels"], track["status"]) == (16_000, 2, "ok")
    assert (track["codec"], track["model"], track["lossless"]) == ("pcm_f32", "tiny", True)
    assert track["decoded_duration_s"] == pytest.approx(1.2)
    assert len(track["audio_sha256"]) == len(track["model_sha256"]) == 64
    fields = {f.name for f in TABLES["stems"].fields if f.family not in ("key", "provenance")}
    assert list(first["stems"]) == list(STEM_ROWS)
    assert all(set(values) == fields for values in first["stems"].values())
    assert first["stems"]["mixture"]["loudness_integrated_lufs"] < 0
    assert set(first["contours"]) == {"vocals", "bass"}
    for stem, contour in first["contours"].items():
        n = {"vocals": 103, "bass": 52}[stem]
        assert len(contour["times_s"]) == len(contour["f0_hz"]) == len(contour["voicing"]) == n
        assert all(f0 is None or f0 > 0 for f0 in contour["f0_hz"])
    assert set(first["events"]) == {"beats_s", "beat_positions", "onsets_s"}
    assert set(first["events"]["onsets_s"]) <= set(STEM_ROWS)
    assert second["track"]["status"] == "silent"
    assert second["stems"]["mixture"]["tempo_bpm"] is None
    assert not any(second["contours"]["vocals"]["f0_hz"])


def test_describe_is_readable(main: Main, capsys, tmp_path, model, song) -> None:
    short = tmp_path / "short.wav"
    soundfile.write(short, 0.1 * np.sin(np.arange(100)), RATE)
    assert main("describe", song, short, "-m", model) == 0
    text = capsys.readouterr().out
    first, second = text.split(f"{short}\n")
    lines = first.splitlines()
    assert lines[0] == str(song)
    assert lines[1] == "  1.20 s · stereo · 16000 Hz · pcm_f32 in wav · ok · model tiny"
    assert all(len(line) <= 80 for line in lines[1:])
    table = [line for line in lines[3:] if line.startswith("  ")][: len(describe._ROWS) + 1]
    assert table[0].split() == list(STEM_ROWS)
    ends = {line.rfind(line.split()[-1]) + len(line.split()[-1]) for line in table}
    assert len(ends) == 1  # columns are aligned
    loudness = next(line for line in table if line.split()[0] == "loudness,")
    assert "LUFS" in loudness
    assert -40 < float(loudness.split()[2]) < 0
    assert "too_short" in second
    assert "tempo too short: mixture, drums" in second


def test_describe_values() -> None:
    assert describe._cell({"a": 0.256}, "%", "a") == "26"
    assert describe._cell({"a": 82.41, "b": 164.8}, ".0f", "a", "b") == "82-165"
    assert describe._cell({"a": 82.41, "b": None}, ".0f", "a", "b") == NOTHING
    assert describe._cell({"key": "G#:minor"}, "", "key") == "G#:minor"
    assert describe._cell({}, ".1f", "a") == NOTHING


def test_an_unexpected_error_of_one_file_stops_no_other(main: Main, capsys, monkeypatch, model, song, bad) -> None:
    from stemfeatures.analysis import Analyser

    honest = Analyser.from_file

    def treacherous(self, path, **options):
        if path == bad:
            raise ZeroDivisionError("oops")
        return honest(self, path, **options)

    monkeypatch.setattr(Analyser, "from_file", treacherous)
    assert main("describe", bad, song, "-m", model) == 3
    out, err = capsys.readouterr()
    assert f"failed: {bad}: unexpected ZeroDivisionError: oops\n" in err
    assert "Traceback" not in err
    assert out.startswith(str(song))


# validate, status, compact, schema, models, doctor --------------------------------------------------------------------


def test_validate(main: Main, capsys, tmp_path, song, bad) -> None:
    manifest = tmp_path / "catalog.csv"
    manifest.write_text(f"track_id,path\nt1,{song}\nt2,{bad}\nt3,gone.wav\n", encoding="utf-8")
    assert main("validate", manifest, "-q") == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["row", "problem", "track", "id", "what"]
    assert lines[1].split()[:3] == ["2", "unreadable", "t2"]
    assert lines[2].split()[:3] == ["3", "missing", "t3"]
    assert "2 problems (1 unreadable, 1 missing)" in out
    assert not err
    assert main("validate", manifest, "--json") == 3
    report = json.loads(capsys.readouterr().out)
    assert [p["kind"] for p in report["problems"]] == [p.kind for p in validate_catalog(manifest).problems]
    assert (report["ok"], report["fatal"], report["n_rows"]) == (False, False, 3)
    assert main("validate", song) == 0
    assert "1 row, 1.2 s of audio, no problems" in capsys.readouterr().out
    assert main("validate", song, "--max-duration", 1) == 3
    assert "longer than --max-duration = 1 s" in capsys.readouterr().out
    assert main("describe", song, "--max-duration", 1) == 3
    assert "longer than --max-duration = 1 s" in capsys.readouterr().err
    manifest.write_text("path\n" + "".join(f"gone{i}.wav\n" for i in range(1234)), encoding="utf-8")
    assert main("validate", manifest, "-q") == 3
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[200].split()[0]) == (205, "200")
    assert lines[202] == "and 1,034 problems more; --json lists all of them"
    manifest.write_text(f"track_id,path\nt1,{song}\nt1,{bad}\n", encoding="utf-8")
    assert main("validate", manifest, "--no-probe") == 3
    assert "extract refuses this catalogue" in capsys.readouterr().out
    cut = tmp_path / "cut.wav"
    cut.write_bytes(song.read_bytes()[:-100_000])
    assert main("validate", cut, "--decode", "-q") == 3
    out = capsys.readouterr().out
    assert "1 truncated" in out
    assert "extract takes all of them, the truncated ones as far as they go" in out
    assert main("validate", cut, bad, "--decode", "-q") == 3
    assert "table errors, and takes the other rows and those truncated" in capsys.readouterr().out


def test_problems_on_a_narrow_terminal(main: Main, capsys, monkeypatch, tmp_path) -> None:
    manifest = tmp_path / "catalog.csv"
    manifest.write_text("track_id,path\nfirst,gone.wav\nsecond,\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(len(str(tmp_path)) + 20))
    assert main("validate", manifest, "-q") == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["row  problem: track id", "  1  missing: first", "      no such file:"]
    assert lines[3:6] == [f"      {tmp_path}/gone.wav", "  2  no_path: second", "      the row names no file"]


def test_generate_has_short_options() -> None:
    args = cli.build_parser().parse_args(["generate", "-o", "songs", "--songs", "2", "--seed", "1", "-j", "3"])
    assert (args.out, args.jobs) == (Path("songs"), 3)


def test_status(main: Main, capsys, tmp_path) -> None:
    folder = features(tmp_path / "features")
    assert main("status", folder) == 0
    text = capsys.readouterr().out
    assert "writing now: nobody" in text
    assert "incomplete" not in text
    assert "tracks: 1 ok, 1 silent; 1 min 30 s of audio" in text
    assert "       1  decode: error\n          e.g. c.mp3: no decoder at all" in text
    assert f"2 tracks by joint-v0 ({'a' * 12}), config {'c' * 12}" in text
    assert text.splitlines()[-1].split()[-4:] == ["2", "1", "4", "finished"]
    assert all(len(line) <= 80 for line in text.splitlines()[1:])
    assert main("status", folder, "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert state["tables"]["tracks"]["rows"] == 2
    assert state["tables"]["tracks"]["bytes"] > 0
    assert (state["active"], state["incomplete"], state["audio_s"]) == (None, False, 90.0)
    assert state["commit"] == read_snapshot(folder).commit
    assert state["errors"][0]["count"] == 1


def test_status_of_runs_at_work_and_runs_that_died(main: Main, capsys, tmp_path) -> None:
    folder = features(tmp_path / "features", status="failed")
    main("status", folder, "--json")
    assert json.loads(capsys.readouterr().out)["incomplete"]
    with Committer(folder, {"run_id": "run-2"}):
        main("status", folder, "--json")
        state = json.loads(capsys.readouterr().out)
        assert "run run-2" in state["active"]
        assert not state["incomplete"]
        assert state["runs"][-1]["status"] == "running"
        assert main("compact", folder) == 5
        assert "another writer is at work: run run-2" in capsys.readouterr().err
    killed = Committer(folder, {"run_id": "run-3"})
    killed.__enter__()
    killed._lock.release()  # what the kernel does when a process is killed
    main("status", folder)
    text = capsys.readouterr().out
    assert "incomplete: the last run stopped early" in text
    assert text.splitlines()[-1].split()[-1] == "interrupted"


def test_compact(main: Main, capsys, tmp_path) -> None:
    folder = features(tmp_path / "features")
    run = {"run_id": "run-2"}
    made = Provenance("run-2", "c" * 64, "joint-v0", "a" * 64)
    layout = DatasetLayout.open(folder)
    with Committer(layout, run) as committer:
        rows = track_rows(TrackInfo("t1", "new.wav"), None, made)
        committer.commit([write_part(layout, table, some, shard="s") for table, some in rows.items()])
    orphan = write_part(layout, "tracks", rows["tracks"], shard="dead")
    assert main("compact", folder, "--vacuum") == 0
    with pytest.raises(LostPartError, match="is missing"):
        part_file(layout, orphan)
    assert "deleted, nothing merged" in capsys.readouterr().out
    assert main("compact", folder) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("tracks"))
    assert line.split()[1:3] == ["1", "2"]
    import pandas as pd

    assert sorted(pd.read_parquet(folder / "tracks")["source_uri"]) == ["new.wav", "t2.wav"]
    assert main("compact", folder, "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_schema(main: Main, capsys) -> None:
    assert main("schema", "--json") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert {name: [f["name"] for f in t["fields"]] for name, t in tables.items()} == {
        name: list(t.names) for name, t in TABLES.items()
    }
    assert main("schema", "stems") == 0
    text = capsys.readouterr().out
    assert text.startswith("stems (key: track_id, stem)\n")
    found = next(i for i, line in enumerate(text.splitlines()) if line.split()[:1] == ["f0_p05_hz"])
    assert text.splitlines()[found].split()[:6] == ["f0_p05_hz", "float32", "Hz", "24..2100", "or", "null"]
    assert "5th percentile of the F0" in text.splitlines()[found + 1]
    assert all(len(line) <= 80 for line in text.splitlines())
    for asked, expected in (
        (["f0_p05_hz"], ["f0_p05_hz"]),
        (["true", "peak"], ["true_peak_dbtp"]),
        (["tempo_2"], ["tempo_2_bpm", "tempo_2_strength"]),
        (["profile of key_2"], ["key_2_strength"]),
        (["vibrato", "vocals"], ["vibrato_rate_hz", "vibrato_extent_cents", "vibrato_ratio", "jitter_rap"]),
        (["true", "peak", "drums"], ["loudness_status", "true_peak_dbtp"]),
    ):
        assert main("schema", *asked, "--json") == 0
        tables = json.loads(capsys.readouterr().out)["tables"]
        assert [f["name"] for f in tables["stems"]["fields"]] == expected
    assert main("schema", "harmony", "--json") == 0
    found = json.loads(capsys.readouterr().out)["tables"]["stems"]["fields"]
    assert {f["family"] for f in found} == {"harmony"}
    assert main("schema", "nonsense") == 2
    assert "no table, column, family or description has 'nonsense'" in capsys.readouterr().err
    for misspelt, near in (("tempoo", "'tempo'"), ("tempo_bmp", "'tempo_bpm'"), ("harmmony", "'harmony'")):
        assert main("schema", misspelt) == 2
        assert f"; did you mean {near}" in capsys.readouterr().err
    assert main("schema", "errors", "--markdown") == 0
    assert "| `error_type` | string |" in capsys.readouterr().out


def test_model_cards_fit_the_terminal(main: Main, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = str(checkpoints.resolve(checkpoints.DEFAULT_MODEL).path.parent)
    assert main("models", "--card") == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if folder not in line) <= 80
    card = json.loads((Path(folder) / f"{checkpoints.DEFAULT_MODEL}.json").read_text())
    assert card["training"]["command"] in " ".join(text.split())
    vocals = card["metrics"]["mdb"]["separation"]["stems"]["vocals"]["sdr_db"]
    assert f"sdr_db {vocals['mean']:.2f}/{vocals['median']:.2f} " in " ".join(text.split())


def test_models(main: Main, capsys, tmp_path) -> None:
    path = tiny_checkpoint(tmp_path, name="mine")
    assert main("models", path, "--card") == 0
    text = capsys.readouterr().out
    assert text.startswith("mine\n  random weights\n  licence  test\n")
    assert "not evaluated" in text
    assert main("models", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mine  ")
    assert lines[1:] == ["  random weights", "  not evaluated", ""]
    card = checkpoints.resolve(path).card | {
        "data": [
            {"source": "kits", "licence": "CC0-1.0", "classes": list("abcdefgh"), "sounds": 1234, "minutes": 12.345},
            {"source": "sung"},
        ],
        "metrics": {
            "set": {
                "f0": {
                    "settings": {"seed": 1, "museval": False},
                    "stems": {
                        "vocals": {
                            "raw_pitch": {"mean": 0.5, "median": None, "n": 2},
                            "overall_accuracy": {"mean": 0.5, "median": 0.6, "n": 3},
                        },
                        "bass": {"overall_accuracy": {"mean": 0.7, "median": 0.8, "n": 3}},
                    },
                }
            }
        },
        "training": {"steps": 7, "command": "stemfeatures train"},
    }
    checkpoints.write_card(path, card)
    assert main("models", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", test, trained on 0.2 h from 2 sources")
    assert lines[2] == "  raw_pitch: vocals 0.50"
    assert main("models", path, "--card") == 0
    text = capsys.readouterr().out
    assert "kits    CC0-1.0  1,234     12.3  a, b, c, d, e, f and 2 more" in text
    assert any(line.split() == ["sung", "?", NOTHING, NOTHING] for line in text.splitlines())
    at = text.splitlines().index("    set: f0 (seed=1)")
    assert [line.split() for line in text.splitlines()[at + 1 : at + 5]] == [
        ["metric", "vocals", "bass"],
        ["raw_pitch", f"0.50/{NOTHING}", NOTHING],
        ["overall_accuracy", "0.50/0.60", "0.70/0.80"],
        ["tracks", "2-3", "3"],
    ]
    assert main("models", path, "--json") == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["card"]["training"]["steps"] == 7
    assert main("models", "--json") == 0
    shipped = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [m["name"] for m in shipped] == [c.name for c in checkpoints.list_models()]


def test_doctor_without_a_scheduler(main: Main, capsys, monkeypatch) -> None:
    def fails(*args: object, **options: object) -> None:
        raise ClusterError("cannot reach a scheduler there", source="tcp://h:1")

    monkeypatch.setattr("pipelines.extraction.cluster.existing_scheduler", fails)
    assert main("doctor", "--scheduler", "tcp://h:1") == 6
    assert capsys.readouterr().err == "stemfeatures: error: tcp://h:1: cannot reach a scheduler there [cluster]\n"


def test_doctor(main: Main, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("stemfeatures.models.checkpoints.WEIGHTS_DIR", tmp_path)
    monkeypatch.setattr("stemfeatures.audio.streams.ffmpeg_path", lambda: None)
    assert main("doctor", "--json") == 3
    report = json.loads(capsys.readouterr().out)
    assert any(f"unknown model '{checkpoints.DEFAULT_MODEL}'" in problem for problem in report["problems"])
    assert any("no ffmpeg" in problem for problem in report["problems"])
    assert report["codecs"]["ffmpeg"] == "not found"
    tiny_checkpoint(tmp_path, name=checkpoints.DEFAULT_MODEL)
    monkeypatch.setattr("stemfeatures.audio.streams.ffmpeg_path", lambda: "/bin/ffmpeg")
    monkeypatch.setattr("stemfeatures.audio.streams.ffmpeg_version", lambda path: "7.0")
    assert main("doctor") == 0
    text = capsys.readouterr().out
    assert text.endswith("no problems found\n")
    for word in ("torch", "pyarrow", "flac", "7.0", "NUMBA_CACHE_DIR", "cpu"):
        assert word in text


# train ----------------------------------------------------------------------------------------------------------------


def _sound(path: str, kind: str, of: str, y: np.ndarray, f0: float | None = None, **more) -> banks.Sound:
    row = {"path": path, "class": of, "source": "made", "licence": "CC0-1.0", "kind": kind, "role": "", "song": ""}
    row |= {"pitch_hz": float("nan"), "named_midi": -1, "octave_known": False, **more}
    frames = 1 + len(y) // 512
    return banks.Sound(row, y.astype(np.float32), None if f0 is None else np.full(frames, f0, np.float32))


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Path:
    """Enough of every kind of sound for the mixer to choose from."""
    rng = np.random.default_rng(0)
    sounds = []
    for kind, low in (("bass", 36), ("guitar", 52), ("keys", 52), ("other", 60)):
        for midi in range(low, low + 10, 2):
            hertz = 440 * 2 ** ((midi - 69) / 12)
            more = {"pitch_hz": hertz, "named_midi": midi, "octave_known": True}
            path = f"notes/{kind}/made/tone_c{midi // 12 - 1}_{midi}.wav"
            sounds.append(_sound(path, "note", kind, tone(hertz, 1.0, rate=RATE), **more))
    for role in ("kick", "snare", "hat", "open_hat", "crash", "ride", "tom", "perc"):
        y = 0.4 * rng.standard_normal(4000) * np.exp(-np.arange(4000) / 900)
        sounds.append(_sound(f"notes/drums/made/{role}.wav", "hit", "drums", y, role=role))
    sounds += [_sound(f"vocals/made/{i}.wav", "phrase", "vocals", tone(220, rate=RATE), 220.0) for i in range(3)]
    for of in STEMS:
        y, f0 = tone(150, 4.0, rate=RATE), 150.0 if of in ("vocals", "bass") else None
        sounds.append(_sound(f"performances/one/{of}.wav", "performance", of, y, f0, song="one"))
    return build_bank.write_bank(sounds, tmp_path_factory.mktemp("bank"))


@pytest.fixture
def recipe(tmp_path) -> Path:
    return tiny_recipe(tmp_path / "mini.toml")


def test_train_exports_a_checkpoint_that_works(main: Main, capsys, tmp_path, bank, recipe, song) -> None:
    run_dir, export = tmp_path / "run", tmp_path / "weights" / "mini.safetensors"
    command = ["train", "--recipe", recipe, "--bank", bank, "--run-dir", run_dir, "--workers", 0, "--device", "cpu"]
    command += ["--export", export, "--licence", "CC0-1.0"]
    assert main(*command) == 0
    out, err = capsys.readouterr()
    assert str(export) in out
    assert "train mini: 2 of 2 steps" in err
    assert "loss" in err.splitlines()[-1]
    card = checkpoints.resolve(export).card
    assert (card["name"], card["licence"], card["architecture"]) == ("mini", "CC0-1.0", "joint")
    [source] = card["data"]
    seconds = banks.SoundBank(bank).sounds["length"].sum() / RATE
    assert (source["source"], source["licence"]) == ("made", "CC0-1.0")
    assert source["minutes"] == pytest.approx(seconds / 60, abs=0.01)
    assert source["classes"] == ["bass", "drums", "guitar", "keys", "other", "vocals"]
    training = card["training"]
    assert training["command"] == shlex.join(["stemfeatures", *map(str, command)])
    assert (training["steps"], training["recipe"]["n_frames"], training["device"]) == (2, 64, "cpu")
    assert training["seconds"] == round(seconds_trained(run_dir / "log.csv"), 1)
    assert {"stemfeatures", "python", "torch"} <= set(training["versions"])
    assert main("describe", song, "-m", export) == 0  # the network can be used
    assert "model mini" in capsys.readouterr().out

    steps = (run_dir / "log.csv").read_text().splitlines()
    assert main(*command, "--steps", 3) == 0  # goes on where it stopped
    assert "3 of 3 steps" in capsys.readouterr().err
    assert (run_dir / "log.csv").read_text().splitlines()[: len(steps)] == steps
    assert checkpoints.resolve(export).card["training"]["steps"] == 3
    recipe.write_text(recipe.read_text().replace("recurrent = 8", "recurrent = 16"))
    assert main(*command) == 2
    assert "holds a run of another recipe (model changed)" in capsys.readouterr().err


def test_train_keeps_held_out_files_out(main: Main, capsys, tmp_path, bank, recipe) -> None:
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("performances/one/*\n")
    argv = ["train", "--recipe", recipe, "--bank", bank, "--run-dir", tmp_path / "run", "--held-out", held_out]
    assert main(*argv) == 2
    said = capsys.readouterr().err
    assert "the bank holds 4 files that shall be held out, such as performances/one/" in said
    assert not (tmp_path / "run").exists()


def test_train_builds_the_bank_it_needs(tmp_path) -> None:
    data = tmp_path / "data"
    lines = ["path,class,source,licence,seconds"]
    for name in ("kick_1", "snare_1", "kick_secret"):
        path = data / "notes" / "drums" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(100, 0.2, rate=RATE), RATE)
        lines.append(f"notes/drums/{name}.wav,drums,kit,CC0-1.0,0.2")
    (data / "index.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "held_out.txt").write_text("*secret*\n")
    config = read_recipe("joint-v0")
    sources = TrainingSources(sounds=data, bank=tmp_path / "bank", held_out=tmp_path / "held_out.txt")
    assert prepare_run(config, tmp_path / "run", sources).held_out == ["*secret*"]
    sounds = banks.SoundBank(tmp_path / "bank").sounds
    assert sorted(sounds["path"]) == ["notes/drums/kick_1.wav", "notes/drums/snare_1.wav"]
    again = prepare_run(config, tmp_path / "run", TrainingSources(bank=tmp_path / "bank"))
    assert "*secret*" in again.held_out  # the bank remembers


def test_training_time_counts_every_resumption(tmp_path) -> None:
    log = tmp_path / "log.csv"
    assert seconds_trained(log) == 0
    rows = [(20, 1.0), (40, 2.0), (60, 0.5), (80, 1.5), (60, 0.25)]
    log.write_text("step,learning_rate,minutes,loss\n" + "".join(f"{s},1e-3,{m},1\n" for s, m in rows))
    assert seconds_trained(log) == pytest.approx(60 * (2.0 + 1.5 + 0.25))


def test_interrupting_says_how_to_go_on(tmp_path, bank, recipe) -> None:
    recipe.write_text(recipe.read_text().replace("steps = 2", "steps = 100000"))
    argv = ["train", "--recipe", recipe, "--bank", bank, "--run-dir", tmp_path / "run", "--workers", "0"]
    command = [sys.executable, "-m", "pipelines.cli", *map(str, argv), "--device", "cpu"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.csv"
    while not log.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert not out
    assert "the state is kept every" in err  # and, once there is one, that the same command goes on from there
    assert err.endswith("stemfeatures: error: interrupted\n")


# evaluate -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("eval") / "songs"
    for name in ("one", "two"):
        stems = {"vocals": tone(440), "drums": 0.1 * rng.standard_normal(16_000)}
        write_song(folder / name, {**stems, "bass": tone(80), "other": tone(1000)})
    return folder


def test_evaluate_a_reference(main: Main, capsys, tmp_path, truth) -> None:
    table = tmp_path / "scores.parquet"
    assert main("evaluate", "separation", truth, "--model", "mixture", "--limit", 1, "-o", table) == 0
    out, err = capsys.readouterr()
    assert "mixture" in out
    assert "nsdr_db" in out
    assert "evaluate mixture: 1 of 1 tracks" in err
    import pandas as pd

    scores = pd.read_parquet(table)
    assert list(scores["stem"]) == ["vocals", "drums", "bass", "other"]
    assert (scores["nsdr_db"] == 0).all()


def test_evaluate_updates_the_card(main: Main, capsys, tmp_path, truth) -> None:
    path = tiny_checkpoint(tmp_path)
    before = checkpoints.resolve(path)
    checkpoints.write_card(path, before.card | {"metrics": {"songs": {"f0": {"stems": {}}}, "else": {"beats": {}}}})
    assert main("evaluate", "separation", truth, "-m", path, "--json", "--update-card", "-q") == 0
    out, err = capsys.readouterr()
    assert not err
    values = json.loads(out)
    after = checkpoints.resolve(path)
    assert after.sha256 == before.sha256
    assert after.card["licence"] == "test"
    assert set(after.card["metrics"]) == {"songs", "else"}
    assert set(after.card["metrics"]["songs"]) == {"f0", "separation"}
    kept = after.card["metrics"]["songs"]["separation"]
    row = next(r for r in values["summary"] if r["stem"] == "drums" and r["metric"] == "nsdr_db")
    assert kept["stems"]["drums"]["nsdr_db"]["mean"] == pytest.approx(row["mean"], abs=1e-4)
    assert kept["stems"]["drums"]["nsdr_db"]["n"] == 2
    assert main("models", path, "--card") == 0
    assert "nsdr_db" in capsys.readouterr().out
    assert main("evaluate", "separation", truth, "-m", path, "--update-card", "--limit", 1) == 2
    assert "not with --limit" in capsys.readouterr().err


def test_evaluate_shows_references_beside_a_checkpoint(main: Main, capsys, tmp_path, truth) -> None:
    path = tiny_checkpoint(tmp_path)
    line = ("evaluate", "separation", truth, "--limit", 1, "-q", "--json", "-m", path)
    assert main(*line) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["settings"]["estimators"]) == [str(path), "mixture", "irm"]
    assert {row["estimator"] for row in found["summary"]} == {str(path), "mixture", "irm"}
    assert main(*line, "-m", "mixture", "-m", "mixture", "--references", "none", "--channels", "all") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["settings"]["estimators"]) == [str(path), "mixture"]
    assert found["settings"]["channels"] == "all channels"


def test_evaluate_tells_of_tools_that_are_not_there(main: Main, capsys, monkeypatch, truth) -> None:
    monkeypatch.setattr("stemfeatures.evaluation.external.ExternalEstimator.installed", classmethod(lambda cls: False))
    assert main("evaluate", "--list") == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert listed[1] == ["mixture", "separation"]
    assert ["open-unmix", "separation", "not", "installed:", "pip", "install", "openunmix"] in listed
    assert main("evaluate", "separation", truth, "-m", "demucs") == 2
    assert "demucs is not installed; to install it: pip install demucs" in capsys.readouterr().err
    assert main("evaluate", "separation", truth, "-m", "pyin") == 2
    assert "pyin offers f0, not separation" in capsys.readouterr().err
    assert main("evaluate", "separation", truth, "-m", "mixture", "--references", "all", "--limit", 1) == 0
    out, err = capsys.readouterr()
    assert "not installed, so not compared with:" in err
    assert "  open-unmix: pip install openunmix" in err
    assert "repet-sim" in out
    assert "pyin" not in out


def test_merging_metrics_keeps_other_results() -> None:
    card = {"licence": "x", "metrics": {"a": {"f0": 1, "beats": 2}}}
    merged = merge_metrics(card, {"a": {"f0": 3}, "b": {"f0": 4}})
    assert merged == {"licence": "x", "metrics": {"a": {"f0": 3, "beats": 2}, "b": {"f0": 4}}}
    assert card["metrics"] == {"a": {"f0": 1, "beats": 2}}


def test_missing_extra_is_a_usage_error(main: Main, capsys, monkeypatch, truth) -> None:
    def missing(*args, **options):
        raise ImportError("beat metrics need mir_eval: pip install 'stemfeatures[evaluate]'")

    monkeypatch.setattr("stemfeatures.evaluation.evaluate", missing)
    assert main("evaluate", "beats", truth, "-m", "librosa") == 2
    assert "pip install 'stemfeatures[evaluate]'" in capsys.readouterr().err


def test_describe_draws_and_plays_a_folder(main: Main, capsys, tmp_path) -> None:
    """Files mirror the folder; clicks sound where the tables have beats, and nowhere else; pictures show the sounds."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("mir_eval")
    from matplotlib.image import imread
    from scipy.signal import butter, sosfiltfilt

    songs = {"a/song": "Río.flac", "b/song": "Vals, en mi menor.ogg"}
    for name, source in songs.items():
        y, rate = soundfile.read(CHECKOUT / "catalog_samples" / source, stop=8 * 44_100)
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "in" / f"{name}.wav", y, rate)
    made = ("--plot", tmp_path / "pictures", "--sonify", tmp_path / "sounds")
    assert main("describe", tmp_path / "in", "--json", "-q", *made) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for name, line in zip(songs, lines, strict=True):
        beats = np.array(line["events"]["beats_s"])
        assert len(beats) > 6
        music, _ = soundfile.read(tmp_path / "in" / f"{name}.wav")
        played, rate = soundfile.read(tmp_path / "sounds" / f"{name}.wav")
        assert (rate, played.shape) == (44_100, music.shape)
        share = float(np.sum(played * music) / np.sum(music**2))  # what is laid over it has nothing in common with it
        added = sosfiltfilt(butter(4, 800, "high", fs=rate, output="sos"), (played - share * music)[:, 0])
        at_beats = [np.abs(added[int(at * rate) :][: rate // 50]).max() for at in beats[:-1]]
        between = [np.abs(added[int(at * rate) :][: rate // 20]).max() for at in (beats[:-1] + beats[1:]) / 2]
        assert min(at_beats) > 0.1
        assert min(at_beats) > 2 * max(between)
        picture = imread(tmp_path / "pictures" / f"{name}.png")[..., :3]
        assert min(picture.shape[:2]) > 500
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500  # spectra, not a blank page
    assert main("describe", tmp_path / "in", *made) == 2
    assert "song.png and 3 more exists already; --overwrite replaces it" in capsys.readouterr().err
