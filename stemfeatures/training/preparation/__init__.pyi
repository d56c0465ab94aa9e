from .recipes import (
    DEFAULT_RECIPES as DEFAULT_RECIPES,
    find_recipe as find_recipe,
    read_recipe as read_recipe,
)
from .run import (
    TrainingRun as TrainingRun,
    prepare_run as prepare_run,
)
from .sources import (
    RECORDING_KINDS as RECORDING_KINDS,
    FoundRecordings as FoundRecordings,
    TrainingSources as TrainingSources,
)
