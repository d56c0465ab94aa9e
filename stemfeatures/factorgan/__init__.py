"""FactorGAN (Stoller, Ewert and Dixon, ICLR 2020): generative training when few examples are complete.

Let x be split into parts x_1 ... x_K, p the data and q the generator. With the dependency terms
c_P(x) = p(x) / prod_i p_i(x_i) and c_Q(x) = q(x) / prod_i q_i(x_i),

    p(x) / q(x) = c_P(x) / c_Q(x) * prod_i p_i(x_i) / q_i(x_i),

so that the logit a discriminator of whole examples would learn, log p(x)/q(x), is a sum of simpler ones:

    D(x) = sum_i d_i(x_i) + d_P(x) - d_Q(x).

The marginal discriminators d_i tell real parts from generated ones and never see which parts belong together; d_P tells
real wholes from real parts put together at random, and is the only one that needs complete examples; d_Q does the same
for the generator's wholes. Each learns for itself; the generator is given the sum.

Nothing here knows of audio: :class:`FactorGAN` takes a :class:`Group` of :class:`Part` and torch networks.
"""

from .adversarial import Adversary, frozen, generator_loss
from .discriminators import FactorGAN
from .normalisation import spectrally_normalised
from .partition import Group, Joint, Part
from .shuffling import partners, shuffle_parts

__all__ = [
    "Adversary",
    "FactorGAN",
    "Group",
    "Joint",
    "Part",
    "frozen",
    "generator_loss",
    "partners",
    "shuffle_parts",
    "spectrally_normalised",
]
