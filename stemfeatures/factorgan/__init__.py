"""FactorGAN (Stoller, Ewert and Dixon, ICLR 2020): generative training when few examples are complete.

Let x be split into variables x_1 ... x_K, p the data and q the generator. With the dependency terms
c_P(x) = p(x) / prod_i p_i(x_i) and c_Q(x) = q(x) / prod_i q_i(x_i),

    p(x) / q(x) = c_P(x) / c_Q(x) * prod_i p_i(x_i) / q_i(x_i),

so that the logit a discriminator of whole examples would learn, log p(x)/q(x), is a sum of simpler ones:

    D(x) = sum_i d_i(x_i) + d_P(x) - d_Q(x).

The marginal discriminators d_i tell real variables from generated ones and never see which belong together; d_P tells
real examples from real variables put together at random, and is the only one that needs complete examples; d_Q does the
same for generated examples. Each is trained by itself; the generator is given the sum.

Nothing here knows of audio: :class:`FactorGAN` takes a :class:`Group` of :class:`Variable` and torch networks.
"""

from .discriminators import FactorGAN
from .normalisation import spectrally_normalised
from .partition import Group, Joint, Variable
from .shuffling import partners, shuffle_members
from .trainer import GanTrainer, frozen, generator_loss

__all__ = [
    "FactorGAN",
    "GanTrainer",
    "Group",
    "Joint",
    "Variable",
    "frozen",
    "generator_loss",
    "partners",
    "shuffle_members",
    "spectrally_normalised",
]
