"""Orders of unmasking against exact enumeration: three tokens of three classes with a known joint law."""

import itertools
import math

import pytest
import torch

from suffuse.diffusion.objectives.denoising import denoising_loss
from suffuse.diffusion.orders import (
    Ancestral,
    Blocks,
    Confidence,
    EntropyBounded,
    Even,
    FirstHitting,
    LeftToRight,
    Remask,
    Stripes,
)
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Categorical, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import events, sample
from suffuse.diffusion.state import Batch, Start, Task

LENGTH, CLASSES = 3, 3
JOINT = Joint({"text": Categorical(CLASSES)})
STATES = torch.tensor(list(itertools.product(range(CLASSES), repeat=LENGTH)))


def law() -> torch.Tensor:
    """A joint law with strong dependence: (27,) probabilities."""
    return torch.softmax(
        3 * torch.randn(len(STATES), generator=torch.Generator().manual_seed(5), dtype=torch.float64), 0
    )


def exact(p: torch.Tensor):
    """The denoiser of the law: logits of each token given the visible ones, from a table of all 64 masked states."""
    table = torch.zeros(4**LENGTH, LENGTH, CLASSES, dtype=torch.float64)
    for code, seen in enumerate(itertools.product(range(CLASSES + 1), repeat=LENGTH)):
        fits = torch.tensor(
            [all(s in (CLASSES, v) for s, v in zip(seen, state, strict=True)) for state in STATES.tolist()]
        )
        mass = p * fits
        for place in range(LENGTH):
            for c in range(CLASSES):
                table[code, place, c] = mass[STATES[:, place] == c].sum() / mass.sum()
    weights = torch.tensor([(CLASSES + 1) ** (LENGTH - 1 - i) for i in range(LENGTH)])

    def denoiser(x, levels, context, targets=None):
        return {"text": table[(x["text"] * weights).sum(1)].clamp(min=1e-300).log()}

    return denoiser


def drawn(order, steps, n=30000, grid="uniform"):
    grid = grid if isinstance(grid, str) else torch.tensor(grid, dtype=torch.float64)
    x = torch.zeros(n, LENGTH, dtype=torch.int64)
    out = sample(exact(law()), JOINT, Task({"text": x}, Start({})), Clock(steps, grid, order), random=Random(0))["text"]
    codes = (out * torch.tensor([9, 3, 1])).sum(1)
    return torch.bincount(codes, minlength=27).double() / n


def variation(order, steps, grid="uniform") -> float:
    return 0.5 * (drawn(order, steps, grid=grid) - law()).abs().sum().item()


@pytest.mark.parametrize(
    "order, steps",
    [
        (FirstHitting(1), 3),
        (LeftToRight(1), 3),
        (EntropyBounded(0.0), 3),
        (Confidence(1.0), 3),
        (Even(), 3),
        (Even("entropy"), 3),
        (Even("left"), 7),
        (Stripes(3), 3),
        (Blocks(2, FirstHitting(1)), 3),
        (Blocks(2, EntropyBounded(0.0)), 3),
        (Ancestral(), 160),
        (Remask(0.01), 160),
    ],
    ids=str,
)
def test_exact_orders_draw_the_law(order, steps):
    assert variation(order, steps) < 0.01


@pytest.mark.parametrize("order", [Ancestral(), FirstHitting(3), EntropyBounded(9.0), Confidence(0.0), Stripes(1)], ids=str)
def test_opening_all_at_once_draws_the_product_of_marginals(order):
    p = law()
    marginal = [torch.stack([p[STATES[:, i] == c].sum() for c in range(CLASSES)]) for i in range(LENGTH)]
    product = torch.stack(
        [math.prod((marginal[i][s[i]] for i in range(LENGTH)), start=torch.tensor(1.0)) for s in STATES]
    )
    assert 0.5 * (drawn(order, 1) - product).abs().sum() < 0.01
    assert 0.5 * (product - p).abs().sum() > 0.2  # so the tests above could have failed


def test_few_steps_are_worse_and_remasking_in_a_loop_mends():
    """Held at one time, remasking keeps resampling some tokens given the others, and nears the law (Wang et al. 2025, loop)."""
    assert variation(Ancestral(), 16) < variation(Ancestral(), 4) / 2
    short = variation(Remask(0.6), 2, grid=[1, 0.2, 0])
    assert variation(Remask(0.6), 12, grid=[1] + [0.2] * 11 + [0]) < short / 2


def test_entropy_bound_opens_the_largest_admissible_set():
    """gamma admits k tokens when the sum of their entropies less the largest is at most gamma (Ben-Hamu et al. 2025)."""
    confident = torch.tensor([8.0, 0, 0])  # entropy about .006
    middling = torch.tensor([3.0, 0, 0])
    open_ = torch.zeros(3)
    logits = torch.stack([open_, confident, middling]).expand(1, 3, 3)
    masked = torch.ones(1, 3, dtype=torch.bool)
    now = torch.ones(1, 1)
    h = [torch.distributions.Categorical(logits=x).entropy().item() for x in (confident, middling, open_)]
    for gamma, count in ((0.0, 1), (h[0] + 1e-6, 2), (h[0] + h[1] - 1e-3, 2), (h[0] + h[1] + 1e-6, 3)):
        stay = EntropyBounded(gamma).next(masked, masked, logits, JOINT["text"], now, now, None)
        assert (~stay).sum() == count
        assert not stay[0, 1], "the surest token opens first"


def test_even_opens_what_ancestral_expects_and_blocks_go_left_to_right():
    masked = torch.ones(2, 12, dtype=torch.bool)
    masked[1, :6] = False
    now, then = torch.tensor([[0.6]]), torch.tensor([[0.4]])
    stay = Even().next(masked, masked, torch.zeros(2, 12, 3), JOINT["text"], now, then, lambda kind: torch.rand(2, 12))
    assert (masked & ~stay).sum(1).tolist() == [4, 2]
    task = Task({"text": torch.zeros(3, 3, dtype=torch.int64)}, Start({}))
    for event in events(exact(law()), JOINT, task, Clock(9, order=Blocks(1, FirstHitting(2))), random=Random(1)):
        hidden = event.x["text"] == CLASSES
        assert (hidden.long().diff(dim=1) >= 0).all()


def test_remask_probabilities_are_those_of_the_paper():
    """sigma = eta min(1, (1 - a_s) / a_t); masked -> x with (a_s - (1 - sigma) a_t) / (1 - a_t): marginals are kept."""
    n, eta, t, s = 200000, 0.7, 0.6, 0.5
    u = torch.rand(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masked = u[:, :1] < t  # alpha = 1 - t
    stay = Remask(eta).next(
        masked, torch.ones_like(masked), None, JOINT["text"], torch.tensor(t), torch.tensor(s), lambda kind: u[:, 1:]
    )
    sigma = eta * min(1, s / (1 - t))
    assert stay[~masked].double().mean().item() == pytest.approx(sigma, abs=0.005)
    assert 1 - stay[masked].double().mean().item() == pytest.approx(((1 - s) - (1 - sigma) * (1 - t)) / t, abs=0.005)
    assert stay.double().mean().item() == pytest.approx(s, abs=0.005)


def test_given_tokens_are_never_remasked():
    x = torch.tensor([[2, 0, 0]]).expand(500, 3)
    task = Task({"text": x}, Start({"text": torch.tensor([[0.0, 1, 1]])}))
    for event in events(exact(law()), JOINT, task, Clock(16, order=Remask(1.0)), random=Random(1)):
        assert (event.x["text"][:, 0] == 2).all()
    assert (event.x["text"] < CLASSES).all()


def test_adaptive_orders_stop_when_nothing_is_masked():
    task = Task({"text": torch.zeros(4, 3, dtype=torch.int64)}, Start({}))
    steps = list(events(exact(law()), JOINT, task, Clock(50, order=FirstHitting(1)), random=Random(1)))
    assert len(steps) == 3 and (steps[-1].x["text"] < CLASSES).all()


def any_order_bound(p: torch.Tensor) -> float:
    """Mean over all orders of the chain rule's -log p(x), in nats, averaged over the law: its entropy."""
    denoiser, total = exact(p), 0.0
    for order in itertools.permutations(range(LENGTH)):
        x = torch.full_like(STATES, CLASSES)
        for place in order:
            log_p = denoiser({"text": x}, None, None)["text"].log_softmax(-1)[:, place]
            total -= (p * log_p.gather(1, STATES[:, place : place + 1])[:, 0]).sum().item() / math.factorial(LENGTH)
            x = x.clone()
            x[:, place] = STATES[:, place]
    return total


def test_any_order_identity_and_both_likelihood_forms():
    """The masked objective at exact counts, and at random levels, both equal the any-order chain rule and so the entropy."""
    p = law()
    entropy = -(p * p.log()).sum().item()
    assert any_order_bound(p) == pytest.approx(entropy, abs=1e-9)
    n = 200000
    rows = torch.multinomial(p, n, replacement=True, generator=torch.Generator().manual_seed(1))
    batch = Batch({"text": STATES[rows]}, index=torch.arange(n))
    random = Random(3)
    loose = denoising_loss(exact(p), JOINT, batch, Start({}), random, 0).total.item() * LENGTH
    asked = 1 + random.integers(LENGTH, (1,), batch.index, 0, "n")
    rank = random.uniform((LENGTH,), batch.index, 0, "order").argsort(1).argsort(1)
    start = Start({"text": (rank < asked).float()}, exact=torch.ones(n, dtype=torch.bool))
    tight = denoising_loss(exact(p), JOINT, batch, start, random, 0).total.item() * LENGTH
    assert tight == pytest.approx(entropy, rel=0.01)
    assert loose == pytest.approx(entropy, rel=0.03)


def test_predictions_are_reused_while_nothing_changes():
    """Many ancestral steps over few tokens: one network call a change of state, and the same tokens as with all calls."""
    from suffuse.diffusion.denoiser import Denoiser

    class Counted(torch.nn.Module):
        calls = 0

        def forward(self, x, levels, context, targets=None):
            self.calls += 1
            return exact(law())(x, levels, context)

    network = Counted()
    task = Task({"text": torch.zeros(1, 3, dtype=torch.int64)}, Start({}))
    path = Clock(64, order=Ancestral())
    out = sample(Denoiser(network, JOINT), JOINT, task, path, random=Random(4))["text"]
    assert network.calls <= 3
    plain = sample(lambda *a: network(*a), JOINT, task, path, random=Random(4))["text"]
    assert torch.equal(out, plain) and network.calls > 10


def test_stripes_open_from_the_left_a_stripe_apart_and_count_only_what_is_free():
    free = torch.ones(2, 12, dtype=torch.bool)
    free[1, [0, 5, 6]] = False  # nine free tokens: three stripes of three
    masked, opened = free.clone(), []
    for _ in range(4):
        stay = Stripes(4).next(masked, free, None, None, None, None, None)
        opened.append([row.nonzero()[:, 0].tolist() for row in masked & ~stay])
        masked = stay
    assert [o[0] for o in opened] == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert [o[1] for o in opened] == [[1, 4, 9], [2, 7, 10], [3, 8, 11], []]
    assert not masked.any()
