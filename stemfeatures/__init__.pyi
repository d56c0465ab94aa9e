from .analysis import (
    Analyser as Analyser,
    from_audio as from_audio,
    from_file as from_file,
)
from .separation import Separator as Separator
from .similarity.build import build_index as build_index
from .similarity.index import open_index as open_index
from .tables.reader import open_features as open_features
from .vectors.matrix import (
    as_multiindex as as_multiindex,
    features_matrix as features_matrix,
)
from .vectors.transformer import FeatureTransformer as FeatureTransformer

__version__: str
