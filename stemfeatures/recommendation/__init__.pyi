from .evaluation import evaluate_models as evaluate_models
from .fit import fit_recommender as fit_recommender
from .interactions import (
    Interactions as Interactions,
    read_interactions as read_interactions,
)
from .models import Recommender as Recommender
from .ranking import recommend as recommend
from .simulation import (
    simulate_catalogue as simulate_catalogue,
    simulate_listeners as simulate_listeners,
)
from .splits import split_interactions as split_interactions
from .store import (
    load_recommender as load_recommender,
    save_recommender as save_recommender,
)
