"""What a training run needs before its first step: recipe, data decoded once, and nothing on two sides.

>>> from stemfeatures.training.preparation import TrainingSources, prepare_run, read_recipe
>>> config = read_recipe("generated-v0")
>>> run = prepare_run(config, "runs/mine", TrainingSources(songs=["songs"]))  # doctest: +SKIP
>>> train(config, run.data, run.run_dir)  # doctest: +SKIP
"""

import lazy_loader

#: Public names, imported when first used; ``__init__.pyi`` says where from, to type checkers too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
