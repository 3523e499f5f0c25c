"""Changes that meet at a node are made one after another; levels and losses of graphs."""

import pytest
import torch

from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Categorical, Joint
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.state import Start, Task
from suffuse.modalities.graphs.separation import Separation
from suffuse.networks.graph import GraphTransformer
from suffuse.networks.pairs import pair_list, pair_total


def task_of(n, count):
    edges = torch.zeros(count, pair_total(n), dtype=torch.int64)
    nodes = torch.zeros(count, n, dtype=torch.int64)
    return Task({"edges": edges, "nodes": nodes}, Start({}), {}, {}, {"sizes": torch.full((count, 1), n)}, None)


def test_one_change_a_node_is_kept_and_the_others_are_taken_back():
    n, g = 7, torch.Generator().manual_seed(0)
    task = task_of(n, 40)
    before = task.x
    after = {
        "edges": torch.randint(0, 3, before["edges"].shape, generator=g),
        "nodes": torch.randint(0, 2, before["nodes"].shape, generator=g),
    }
    out, waiting = Separation(task, False).separate(before, after, 3)
    first, second = pair_list(n)
    for b in range(40):
        made = out["edges"][b] != before["edges"][b]
        touched = torch.cat([first[made], second[made], torch.nonzero(out["nodes"][b])[:, 0]])
        assert len(touched) == len(touched.unique())
        asked = after["edges"][b] != before["edges"][b]
        assert torch.equal(asked, made | waiting["edges"][b]) and not (made & waiting["edges"][b]).any()
        assert made.any() or (out["nodes"][b] != 0).any()
        wanted = torch.cat([first[asked], second[asked], torch.nonzero(after["nodes"][b])[:, 0]])
        free = set(wanted.tolist()) - set(touched.tolist())  # nothing waits without a reason
        assert not any(int(i) in free and int(j) in free for i, j in zip(first[asked], second[asked], strict=True))
    again, _ = Separation(task, False).separate(before, after, 3)
    assert all(torch.equal(again[k], out[k]) for k in out)


def test_a_single_change_never_waits_and_samples_do_not_depend_on_others():
    task = task_of(5, 3)
    after = {k: v.clone() for k, v in task.x.items()}
    after["edges"][1, 4] = 1
    after["edges"][2] = 1
    out, waiting = Separation(task, False).separate(task.x, after, 0)
    assert torch.equal(out["edges"][1], after["edges"][1]) and waiting["edges"][2].any()
    alone = Task({k: v[2:] for k, v in task.x.items()}, Start({}), {}, {}, {}, torch.tensor([2]))
    single, _ = Separation(alone, False).separate(alone.x, {k: v[2:] for k, v in after.items()}, 0)
    assert torch.equal(single["edges"][0], out["edges"][2])


def test_changes_that_wait_are_made_later():
    """A denoiser that is sure of a star: every edge of it ends up there, one a step, and all at the last step."""
    n = 6
    first, _ = pair_list(n)
    star = (first == 0).long()
    joint = Joint({"edges": Categorical(2, (1.0, 0.0), warp=2.0)})
    task = Task({"edges": torch.zeros(4, len(star), dtype=torch.int64)}, Start({}), {}, {}, {}, None)
    counts = []

    def sure(x, levels, context, targets=None):
        counts.append(x["edges"].sum(1))
        return {"edges": torch.nn.functional.one_hot(star, 2).float().expand(4, -1, 2) * 60 - 30}

    out = sample(sure, joint, task, Clock(30, "uniform"), adjust=Separation(task, False))["edges"]
    assert torch.equal(out, star.expand(4, -1))
    steps = torch.stack(counts).diff(dim=0)
    assert int(steps.max()) == 1 and int(steps.min()) >= 0


@pytest.mark.parametrize("emphasis", [0.0, 0.5])
def test_emphasis_weighs_small_levels(emphasis):
    process = Categorical(3, (0.5, 0.3, 0.2), emphasis=emphasis)
    x = torch.tensor([[0, 1, 2]])
    clean, levels = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.04, 0.64, 0.0]])
    plain = Categorical(3, (0.5, 0.3, 0.2)).loss(clean, x, x, levels)
    wanted = plain * torch.tensor([[25.0**emphasis, 1.5625**emphasis, 1.0]])
    torch.testing.assert_close(process.loss(clean, x, x, levels), wanted)


def test_fourth_roots_of_levels_start_without_effect():
    torch.manual_seed(0)
    sizes = {"width": 16, "edge_width": 8, "layers": 1, "heads": 2, "walks": 2}
    plain, fine = GraphTransformer(3, 2, **sizes), GraphTransformer(3, 2, fine=1, **sizes)
    for value in plain.parameters():
        torch.nn.init.normal_(value, std=0.2)
    found = fine.load_state_dict(plain.state_dict(), strict=False)
    assert sorted(found.missing_keys) == ["fine_in.bias", "fine_in.weight"] and not found.unexpected_keys
    x = {"nodes": torch.tensor([[0, 1, 2, 0]]), "edges": torch.tensor([[0, 1, 0, 1, 0, 0]])}
    levels = {k: torch.full((1, 1), 0.01) for k in x}
    context = {"sizes": torch.tensor([[4]])}
    one, two = plain(x, levels, context), fine(x, levels, context)
    assert all(torch.equal(one[k], two[k]) for k in one)
    torch.nn.init.normal_(fine.fine_in.weight)
    assert not torch.equal(fine(x, levels, context)["edges"], one["edges"])
