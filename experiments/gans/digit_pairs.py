"""Pairs of handwritten digits that belong together more or less, and how well a generator makes such pairs.

Two digits are of one class with probability lambda, and independent otherwise. The digits are scikit-learn's
(1,797 images of 8x8 pixels); what is learned from and what is compared with are different images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 8
N_PIXELS = SIDE**2
N_CLASSES = 10
#: Added to every probability of the tables that dependency is read from.
SMOOTHING = 0.001


@dataclass(frozen=True)
class Digits:
    """``images`` (n, 64) in 0..1 and their ``labels`` (n,)."""

    images: Tensor
    labels: Tensor

    def pairs(self, n: int, dependence: float, seed: int) -> tuple[Tensor, Tensor]:
        """(n, 2, 64) images of digits of one class with probability ``dependence`` and of any class otherwise, and
        their (n, 2) labels."""
        rng = np.random.default_rng(seed)
        labels = self.labels.numpy()
        first, second = rng.integers(len(labels), size=(2, n))
        of_class = [np.flatnonzero(labels == k) for k in range(N_CLASSES)]
        for i in np.flatnonzero(rng.random(n) < dependence):
            second[i] = rng.choice(of_class[labels[first[i]]])
        places = torch.from_numpy(np.stack([first, second], axis=1))
        return self.images[places], self.labels[places]

    def dependency(self, dependence: float) -> np.ndarray:
        """The table p(i, j) of classes of pairs, exactly."""
        share = np.bincount(self.labels.numpy(), minlength=N_CLASSES) / len(self.labels)
        return dependence * np.diag(share) + (1 - dependence) * np.outer(share, share)


def load_digits() -> tuple[Digits, Digits]:
    """1,200 digits to learn from, 597 to compare with; the same ones always."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = load(return_X_y=True)
    split = train_test_split(images / 16.0, labels, train_size=1200, random_state=0, stratify=labels)
    learned, held, of_learned, of_held = split
    return (
        Digits(torch.from_numpy(learned).float(), torch.from_numpy(of_learned)),
        Digits(torch.from_numpy(held).float(), torch.from_numpy(of_held)),
    )


class Classifier(nn.Module):
    """Two convolutions and 32 units, whose activations are the features of the Frechet distance."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * (SIDE // 2) ** 2, 32), nn.ReLU(),
        )  # fmt: skip
        self.out = nn.Linear(32, N_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.features(images))


def train_classifier(digits: Digits, *, steps: int = 800, seed: int = 0) -> Classifier:
    """A classifier of digits, a function of them and the seed; leaves torch's random stream as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier()
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(steps):
            rows = torch.randint(len(digits.images), (64,))
            images = digits.images[rows]
            loss = F.cross_entropy(net(images + 0.1 * torch.randn_like(images)), digits.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return net.eval()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between normal distributions fitted to two sets of features (n, d): |m_a - m_b|^2 + tr(A + B - 2 (A B)^1/2)."""
    mean = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    one, other = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # A B is similar to a positive semi-definite matrix, so that its root's trace is that of its eigenvalues' roots.
    roots = np.sqrt(np.linalg.eigvals(one @ other).real.clip(0))
    return float(mean + np.trace(one) + np.trace(other) - 2 * roots.sum())


def dependency_ratio(table: np.ndarray) -> np.ndarray:
    """c(i, j) = p(i, j) / (p(i) p(j)) of a table of probabilities, both smoothed by :data:`SMOOTHING`."""
    return (table + SMOOTHING) / (np.outer(table.sum(axis=1), table.sum(axis=0)) + SMOOTHING)


@torch.no_grad()
def score_pairs(pairs: Tensor, classifier: Classifier, held: Digits, expected: np.ndarray) -> dict[str, float]:
    """How near pairs (n, 2, 64) come to real ones.

    Returns
    -------
    fid : Frechet distance of the classifier's features to those of held-out digits, mean over both places, which says
        nothing of what belongs together. dependency : mean |c_P - c_Q| over the classes' table, of the ``expected``
        table and what the classifier sees. same : share of pairs that it takes for the same digit.
    """
    reference = classifier.features(held.images).numpy()
    fid = np.mean([frechet_distance(classifier.features(place).numpy(), reference) for place in pairs.unbind(1)])
    first, second = (classifier(place).argmax(dim=1).numpy() for place in pairs.unbind(1))
    table = np.zeros((N_CLASSES, N_CLASSES))
    np.add.at(table, (first, second), 1 / len(pairs))
    dependency = np.abs(dependency_ratio(expected) - dependency_ratio(table)).mean()
    return {"fid": float(fid), "dependency": float(dependency), "same": float(np.mean(first == second))}
