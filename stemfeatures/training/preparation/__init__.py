"""What a training run needs before its first step: recipe, data decoded once, and nothing on two sides.

>>> from stemfeatures.training.preparation import TrainingSources, prepare_run, read_recipe
>>> config = read_recipe("generated-v0")
>>> run = prepare_run(config, "runs/mine", TrainingSources(songs=["songs"]))  # doctest: +SKIP
>>> train(config, run.data, run.run_dir)  # doctest: +SKIP
"""

from ..._util.lazy import lazy_names

#: Public names and the modules they come from, imported when first used.
__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "DEFAULT_RECIPES": "recipes",
        "find_recipe": "recipes",
        "read_recipe": "recipes",
        "RECORDING_KINDS": "sources",
        "FoundRecordings": "sources",
        "TrainingSources": "sources",
        "TrainingRun": "run",
        "prepare_run": "run",
    },
)
