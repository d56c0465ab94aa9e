"""FactorGAN: the factorisation is exact, each discriminator learns its own ratio, and shuffles leave nothing intact."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stemfeatures.factorgan import (
    FactorGAN,
    GanTrainer,
    Group,
    Joint,
    Variable,
    generator_loss,
    partners,
    shuffle_members,
    spectrally_normalised,
)

torch.set_num_threads(1)


class Table(nn.Module):
    """A logit for every combination of discrete variables: exact where its values are given, learned otherwise."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.values[tuple(x.long().unbind(dim=1))][:, None]


def marginal(p: Tensor, *axes: int) -> Tensor:
    """The table of some axes, in their order."""
    others = tuple(i for i in range(p.ndim) if i not in axes)
    return p.sum(dim=others) if others else p


def dependency(p: Tensor, *groups: tuple[int, ...]) -> Tensor:
    """log of a table over the product of the tables of groups of its axes."""
    product = torch.ones_like(p)
    for axes in groups:
        shape = [n if i in axes else 1 for i, n in enumerate(p.shape)]
        product = product * marginal(p, *axes).reshape(shape)
    return (p / product).log()


def random_table(*shape: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.dirichlet(np.ones(int(np.prod(shape)))).reshape(shape)).float()


def everything(p: Tensor, names: str) -> Joint:
    """All combinations, one a row."""
    cells = torch.tensor(list(itertools.product(*(range(n) for n in p.shape)))).float()
    return Joint({name: cells[:, i : i + 1] for i, name in enumerate(names)})


def test_the_sum_is_the_joint_log_ratio_of_two_and_three_variables():
    for shape, names in (((3, 4), "ab"), ((3, 2, 4), "abc")):
        p, q = random_table(*shape, seed=1), random_table(*shape, seed=2)
        axes = [(i,) for i in range(len(shape))]
        game = FactorGAN(
            Group("all", tuple(Variable(name) for name in names)),
            marginals={name: Table((marginal(p, i) / marginal(q, i)).log()) for i, name in enumerate(names)},
            real_dependencies={"all": Table(dependency(p, *axes))},
            generated_dependencies={"all": Table(dependency(q, *axes))},
        )
        found = game(everything(p, names))[:, 0]
        assert torch.allclose(found, (p / q).log().flatten(), atol=1e-5)
        assert set(game.terms(everything(p, names))) == {*(f"d({n})" for n in names), "d_P(all)", "-d_Q(all)"}


def test_a_given_variable_has_no_marginal():
    p, conditional = random_table(3, 4, seed=1), random_table(3, 4, seed=2)
    q = marginal(p, 0)[:, None] * conditional / conditional.sum(dim=1, keepdim=True)
    game = FactorGAN(
        Group("pair", (Variable("a", given=True), Variable("b"))),
        marginals={"b": Table((marginal(p, 1) / marginal(q, 1)).log())},
        real_dependencies={"pair": Table(dependency(p, (0,), (1,)))},
        generated_dependencies={"pair": Table(dependency(q, (0,), (1,)))},
    )
    assert game.sources == ("b", "pair")
    assert torch.allclose(game(everything(p, "ab"))[:, 0], (p / q).log().flatten(), atol=1e-5)


def test_partitions_of_partitions_compose():
    """((a b) c) with a group that is factorised, one that is given, and one with a discriminator of its own."""
    p, q = random_table(2, 3, 2, seed=1), random_table(2, 3, 2, seed=2)
    top = {
        "real_dependencies": {"all": Table(dependency(p, (0, 1), (2,)))},
        "generated_dependencies": {"all": Table(dependency(q, (0, 1), (2,)))},
    }
    pair_p, pair_q = marginal(p, 0, 1), marginal(q, 0, 1)
    c = Table((marginal(p, 2) / marginal(q, 2)).log())
    partition = Group("all", (Group("ab", (Variable("a"), Variable("b"))), Variable("c")))
    game = FactorGAN(
        partition,
        marginals={"c": c} | {n: Table((marginal(p, i) / marginal(q, i)).log()) for i, n in enumerate("ab")},
        real_dependencies=top["real_dependencies"] | {"ab": Table(dependency(pair_p, (0,), (1,)))},
        generated_dependencies=top["generated_dependencies"] | {"ab": Table(dependency(pair_q, (0,), (1,)))},
    )
    cells = everything(p, "abc")
    assert torch.allclose(game(cells)[:, 0], (p / q).log().flatten(), atol=1e-5)
    unfactored = FactorGAN(partition, marginals={"c": c, "ab": Table((pair_p / pair_q).log())}, **top)
    assert unfactored.sources == ("ab", "c", "all")
    assert torch.allclose(unfactored(cells), game(cells), atol=1e-5)
    plain = FactorGAN(partition, marginals={"all": Table((p / q).log())})
    assert plain.sources == ("all",)
    assert torch.allclose(plain(cells), game(cells), atol=1e-5)

    same = pair_p[..., None] * random_table(2, 3, 2, seed=3) / random_table(2, 3, 2, seed=3).sum(2, keepdim=True)
    given = FactorGAN(
        Group("all", (Group("ab", (Variable("a", given=True), Variable("b", given=True))), Variable("c"))),
        marginals={"c": Table((marginal(p, 2) / marginal(same, 2)).log())},
        real_dependencies={"all": Table(dependency(p, (0, 1), (2,)))},
        generated_dependencies={"all": Table(dependency(same, (0, 1), (2,)))},
    )
    assert torch.allclose(given(cells)[:, 0], (p / same).log().flatten(), atol=1e-5)


def test_without_d_p_the_data_count_as_independent():
    p = random_table(3, 1, seed=1) * random_table(1, 4, seed=2)
    q = random_table(3, 4, seed=3)
    game = FactorGAN(
        Group("all", (Variable("a"), Variable("b"))),
        marginals={n: Table((marginal(p, i) / marginal(q, i)).log()) for i, n in enumerate("ab")},
        generated_dependencies={"all": Table(dependency(q, (0,), (1,)))},
    )
    assert game.sources == ("a", "b")
    assert torch.allclose(game(everything(p, "ab"))[:, 0], (p / q).log().flatten(), atol=1e-5)


def test_networks_and_partition_must_fit():
    pair = Group("all", (Variable("a"), Variable("b")))
    nets = {name: nn.Linear(1, 1) for name in "ab"}
    with pytest.raises(ValueError, match="no discriminator for variable 'b'"):
        FactorGAN(pair, marginals={"a": nets["a"]}, generated_dependencies={"all": nn.Linear(2, 1)})
    with pytest.raises(ValueError, match="generated dependencies for all"):
        FactorGAN(pair, marginals=nets)
    with pytest.raises(ValueError, match="networks for c, which"):
        FactorGAN(pair, marginals=nets | {"c": nn.Linear(1, 1)}, generated_dependencies={"all": nn.Linear(2, 1)})
    with pytest.raises(ValueError, match="nothing to generate"):
        FactorGAN(Variable("a", given=True), marginals={})
    with pytest.raises(ValueError, match="called a"):
        Group("all", (Variable("a"), Group("b", (Variable("a"), Variable("c")))))
    with pytest.raises(ValueError, match="at least two members"):
        Group("all", (Variable("a"),))
    with pytest.raises(ValueError, match="differ in length"):
        Joint({"a": torch.zeros(3, 1), "b": torch.zeros(2, 1)})
    game = FactorGAN(pair, marginals=nets, generated_dependencies={"all": nn.Linear(2, 1)})
    with pytest.raises(KeyError, match="lacks b"):
        game(Joint({"a": torch.zeros(3, 1)}))
    with pytest.raises(ValueError, match="no source of real examples of b"):
        game.losses({"a": lambda: Joint({"a": torch.zeros(3, 1)})}, lambda: Joint({}))
    with pytest.raises(ValueError, match="unknown loss 'WGAN'"):
        GanTrainer(game, [nn.Parameter(torch.zeros(1))], loss="WGAN")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_shuffles_leave_no_partners(data):
    n_variables = data.draw(st.integers(2, 4))
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=30)))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    if len(labels.unique()) < n_variables:
        with pytest.raises(ValueError, match="labels"):
            partners(len(labels), n_variables, labels=labels, rng=rng)
        return
    rows = partners(len(labels), n_variables, labels=labels, rng=rng)
    assert torch.equal(rows[0], rows[0].sort().values)
    for row in rows:  # every variable uses the same rows, each once
        assert torch.equal(row.sort().values, rows[0])
    for one, other in itertools.combinations(labels[rows], 2):
        assert not (one == other).any()
    counts = labels.bincount()
    if n_variables * counts.max() <= len(labels):
        assert rows.shape[1] == len(labels)
    free = partners(len(labels), 2, rng=rng)
    assert free.shape == (2, len(labels))
    assert not (free[0] == free[1]).any()


def test_shuffles_are_random_matchings():
    """Every other row is as likely a partner as any, and of two labels nothing is left but crossing over."""
    counts = torch.zeros(6, 6)
    for _ in range(1500):
        rows = partners(6, 2)
        counts[rows[0], rows[1]] += 1
    assert counts.diag().sum() == 0
    assert (counts[~torch.eye(6, dtype=torch.bool)] - 300).abs().max() < 85
    labels = torch.tensor([7, 7, 7, 9, 9])
    rows = partners(5, 2, labels=labels)
    assert rows.shape == (2, 4)
    assert (labels[rows[0]] != labels[rows[1]]).all()
    with pytest.raises(ValueError, match="among 1 rows"):
        partners(1, 2)


def test_groups_move_as_a_whole():
    group = Group("all", (Variable("a"), Group("bc", (Variable("b"), Variable("c")))))
    x = torch.arange(12.0)[:, None]
    together, shuffled = shuffle_members(Joint({"a": x, "b": x + 100, "c": x + 200, "more": x}), group)
    assert torch.equal(together.values["a"], shuffled.values["a"])
    assert torch.equal(shuffled.values["b"] + 100, shuffled.values["c"])
    assert not (shuffled.values["a"] + 100 == shuffled.values["b"]).any()
    assert set(shuffled.values) == {"a", "b", "c"}


class Quadratic(nn.Module):
    """Linear in 1, x_i and x_i x_j: what the log ratio of two Gaussians is."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.pairs = list(itertools.combinations_with_replacement(range(n), 2))
        self.linear = nn.Linear(n + len(self.pairs), 1)

    def forward(self, x: Tensor) -> Tensor:
        products = torch.stack([x[:, i] * x[:, j] for i, j in self.pairs], dim=1)
        return self.linear(torch.cat([x, products], dim=1))


def _sampler(mean: Tensor, covariance: Tensor, n: int = 1500) -> Callable[[], Joint]:
    root = torch.linalg.cholesky(covariance)

    def draw() -> Joint:
        x = mean + torch.randn(n, len(mean)) @ root.T
        return Joint({"a": x[:, :1], "b": x[:, 1:]})

    return draw


def _learn(game: FactorGAN, real: Callable[[], Joint], fake: Callable[[], Joint], *, steps: int = 300) -> None:
    adversary = GanTrainer(game, [nn.Parameter(torch.zeros(1))], learning_rate=0.05, betas=(0.9, 0.99))
    for step in range(steps):
        for group in adversary.optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / steps)
        adversary.discriminate(dict.fromkeys(game.sources, real), fake)


def test_trained_logits_are_the_log_ratio_of_gaussians():
    """Mean error below 0.06 in units of the log ratio, whose standard deviation is about 1.2."""
    torch.manual_seed(0)
    means = torch.tensor([[0.5, -0.3], [0.0, 0.2]])
    covariances = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[1.2, -0.4], [-0.4, 0.9]]])
    real, fake = (_sampler(m, c) for m, c in zip(means, covariances))
    game = FactorGAN(
        Group("pair", (Variable("a"), Variable("b"))),
        marginals={"a": Quadratic(1), "b": Quadratic(1)},
        real_dependencies={"pair": Quadratic(2)},
        generated_dependencies={"pair": Quadratic(2)},
    )
    _learn(game, real, fake)
    p, q = (torch.distributions.MultivariateNormal(m, c) for m, c in zip(means, covariances))
    for draw in (real, fake):
        joint = draw()
        x = torch.cat([joint.values["a"], joint.values["b"]], dim=1)
        with torch.no_grad():
            assert float((game(joint)[:, 0] - (p.log_prob(x) - q.log_prob(x))).abs().mean()) < 0.06


def test_d_p_of_independent_variables_is_zero_and_of_dependent_ones_is_not():
    torch.manual_seed(0)
    for correlation in (0.0, 0.7):
        real = _sampler(torch.zeros(2), torch.tensor([[1.0, correlation], [correlation, 1.0]]))
        game = FactorGAN(
            Group("pair", (Variable("a"), Variable("b"))),
            marginals={"a": Quadratic(1), "b": Quadratic(1)},
            real_dependencies={"pair": Quadratic(2)},
            generated_dependencies={"pair": Quadratic(2)},
        )
        _learn(game, real, _sampler(torch.zeros(2), torch.eye(2)), steps=200)
        with torch.no_grad():
            terms = {name: float(term.abs().mean()) for name, term in game.terms(real()).items()}
        assert terms["-d_Q(pair)"] < 0.06
        assert terms["d_P(pair)"] < 0.06 if correlation == 0 else terms["d_P(pair)"] > 0.3


@pytest.mark.parametrize("hierarchical", [False, True])
def test_trained_tables_are_the_log_ratio_of_discrete_variables(hierarchical):
    """Mean error below 0.08 over 18 combinations, weighted by how often they are drawn."""
    torch.manual_seed(0)
    p, q = (0.5 * random_table(3, 2, 3, seed=s) + 0.5 / 18 for s in (1, 2))

    def drawing(table: Tensor) -> Callable[[], Joint]:
        def draw() -> Joint:
            cell = torch.multinomial(table.flatten(), 2000, replacement=True)
            places = torch.stack(torch.unravel_index(cell, table.shape), dim=1).float()
            return Joint({name: places[:, i : i + 1] for i, name in enumerate("abc")})

        return draw

    sizes = dict(zip("abc", p.shape))
    variables = (Variable("a"), Variable("b"), Variable("c"))
    partition = Group("all", (Group("ab", variables[:2]), variables[2])) if hierarchical else Group("all", variables)

    def table(node: Variable | Group) -> Table:
        return Table(torch.zeros(*(sizes[leaf.name] for leaf in node.leaves)))

    groups = [node for node in partition.walk() if isinstance(node, Group)]
    game = FactorGAN(
        partition,
        marginals={variable.name: table(variable) for variable in variables},
        real_dependencies={group.name: table(group) for group in groups},
        generated_dependencies={group.name: table(group) for group in groups},
    )
    _learn(game, drawing(p), drawing(q))
    with torch.no_grad():
        error = (game(everything(p, "abc"))[:, 0].reshape(p.shape) - (p / q).log()).abs()
    assert float((error * (p + q) / 2).sum()) < 0.08


def _networks() -> tuple[FactorGAN, nn.Module, Callable[[], Joint], Callable[[], Joint]]:
    torch.manual_seed(0)
    generator = nn.Linear(3, 4)
    game = FactorGAN.build(
        Group("pair", (Variable("a"), Variable("b"))),
        lambda node: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)),
        lambda group: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
    )

    def generated() -> Joint:
        x = generator(torch.randn(10, 3))
        return Joint({"a": x[:, :2], "b": x[:, 2:]})

    return game, generator, lambda: Joint({"a": torch.randn(9, 2), "b": torch.randn(9, 2)}), generated


def _copy(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def _changed(module: nn.Module, before: list[Tensor]) -> list[bool]:
    return [not torch.equal(p, b) for p, b in zip(module.parameters(), before)]


def test_each_step_changes_its_own_networks_alone():
    game, generator, real, generated = _networks()
    adversary = GanTrainer(game, generator.parameters(), learning_rate=0.01)
    sources = dict.fromkeys(game.sources, real)
    before = _copy(game), _copy(generator)
    adversary.discriminate(sources, generated)
    assert all(_changed(game, before[0]))
    assert not any(_changed(generator, before[1]))
    assert all(p.grad is None for p in generator.parameters())
    before = _copy(game), _copy(generator)
    adversary.generate(generated)
    assert not any(_changed(game, before[0]))
    assert all(_changed(generator, before[1]))
    assert all(p.requires_grad for p in game.parameters())


def test_each_discriminator_learns_from_its_own_loss_and_its_own_batch():
    game, _, real, generated = _networks()
    calls = []
    losses = game.losses(
        dict.fromkeys(game.sources, real), lambda: calls.append(torch.is_grad_enabled()) or generated()
    )
    assert calls == [False] * 3  # two marginals and d_Q; d_P never sees the generator
    owners = {
        "d(a)": game.marginals["a"], "d(b)": game.marginals["b"],
        "d_P(pair)": game.real_dependencies["pair"], "d_Q(pair)": game.generated_dependencies["pair"],
    }  # fmt: skip
    assert set(losses) == set(owners)
    for name, loss in losses.items():
        game.zero_grad()
        loss.backward()
        for owner, net in owners.items():
            assert all((p.grad is not None) == (owner == name) for p in net.parameters())


def test_training_goes_on_where_it_was_stored(tmp_path):
    def run(stop: int | None) -> list[Tensor]:
        game, generator, real, generated = _networks()
        adversary = GanTrainer(game, generator.parameters(), learning_rate=0.01)
        for step in range(4):
            if step == stop:
                torch.save([generator.state_dict(), adversary.state_dict()], tmp_path / "state.pt")
                game, generator, real, generated = _networks()
                adversary = GanTrainer(game, generator.parameters(), learning_rate=0.01)
                stored = torch.load(tmp_path / "state.pt", weights_only=True)
                generator.load_state_dict(stored[0])
                adversary.load_state_dict(stored[1])
            torch.manual_seed(step)
            adversary.step(dict.fromkeys(game.sources, real), generated)
        return _copy(generator) + _copy(game)

    assert all(torch.equal(a, b) for a, b in zip(run(None), run(2)))


def test_objectives_of_the_generator():
    logit = torch.tensor([[-2.0], [0.0], [3.0]])
    assert float(generator_loss(logit, "KL")) == pytest.approx(-1 / 3)
    expected = nn.functional.binary_cross_entropy_with_logits(logit, torch.ones(3, 1))
    assert float(generator_loss(logit, "JSD")) == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="known: JSD, KL"):
        generator_loss(logit, "W")


def test_spectral_norm_bounds_what_a_layer_stretches():
    torch.manual_seed(0)
    net = spectrally_normalised(nn.Sequential(nn.Linear(30, 40), nn.LeakyReLU(0.01), nn.Linear(40, 1)))
    weights = net.state_dict()
    spectrally_normalised(net)  # once is enough
    assert weights.keys() == net.state_dict().keys()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x = torch.randn(50, 30)
    for _ in range(100):
        optimizer.zero_grad()
        (net(x) * x[:, :1].sign()).mean().neg().backward()
        optimizer.step()
    for layer in (net[0], net[2]):
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1.0, abs=0.05)
    a, b = torch.randn(500, 30), torch.randn(500, 30)
    stretched = (net[0](a) - net[0](b)).detach().norm(dim=1)
    assert float((stretched / (a - b).norm(dim=1)).max()) <= 1.05
    game, _, _, _ = _networks()
    for net in (*game.marginals.values(), *game.generated_dependencies.values(), *game.real_dependencies.values()):
        assert all(hasattr(layer, "parametrizations") for layer in net if isinstance(layer, nn.Linear))
    free = FactorGAN.build(
        Group("pair", (Variable("a"), Variable("b"))),
        lambda _: nn.Linear(2, 1),
        lambda _: nn.Linear(4, 1),
        normalise_real=False,
    )
    assert not hasattr(free.real_dependencies["pair"], "parametrizations")
    assert hasattr(free.generated_dependencies["pair"], "parametrizations")
