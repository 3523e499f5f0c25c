"""SAITS and CSDI of PyPOTS 1.5 on windows prepared by `series.py`; run by the Python of an environment that has them.

    python -m venv peers && peers/bin/pip install torch==2.13.0
    peers/bin/pip install --no-deps pypots==1.5
    peers/bin/pip install h5py einops pandas seaborn matplotlib tensorboard scikit-learn "transformers<=4.57.6" \
        "tsdb>=0.8" "pygrinder>=0.7" "benchpots>=0.5" ai4ts
    python benchmarks/series.py beijing --peers peers/bin/python ...

Networks, losses and samplers are PyPOTS' own, with the published sizes; this loop trains them for a budget of process
seconds on the hole patterns of the test (blocks of the same law), Adam at 1e-3 falling to a tenth over the last quarter.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch


def csdi(nodes: int, length: int) -> torch.nn.Module:
    """CSDI with the sizes of its air-quality experiment (Tashiro et al. 2021, appendix E)."""
    from pypots.imputation.csdi.core import _CSDI

    return _CSDI(nodes, 4, 8, 64, 128, 16, 128, False, 50, "quad", 1e-4, 0.5)


def saits(nodes: int, length: int) -> torch.nn.Module:
    """SAITS with the sizes of its base model (Du et al. 2023, table 8)."""
    from pypots.imputation.saits.core import _SAITS
    from pypots.nn.modules.loss import MAE

    return _SAITS(2, length, nodes, 256, 4, 64, 64, 128, 0.1, 0.0, True, 1, 1, MAE(), MAE())


def hide_blocks(shape: tuple[int, ...], rng: np.random.Generator, share: float, sizes: tuple[int, int]) -> np.ndarray:
    """(B, N, T) bool: per window and node, blocks at random places until `share` is hidden."""
    hidden = np.zeros(shape, bool)
    for line in hidden.reshape(-1, shape[-1]):
        while line.mean() < share:
            size = int(rng.integers(sizes[0], sizes[1] + 1))
            begin = int(rng.integers(1 - size, shape[-1]))
            line[max(begin, 0) : begin + size] = True
    return hidden


def inputs(name: str, x: np.ndarray, hidden: np.ndarray) -> dict:
    """What PyPOTS' cores take for windows x (B, N, T) with NaN holes, of which `hidden` are to be answered."""
    seen = np.isfinite(x)
    cond, target = seen & ~hidden, seen & hidden
    x, cond, target = (torch.from_numpy(a).float() for a in (np.nan_to_num(x), cond, target))
    if name == "csdi":
        places = torch.arange(x.shape[-1]).float().expand(len(x), -1)
        return {"X_ori": x, "X": x * cond, "cond_mask": cond, "indicating_mask": target, "observed_tp": places}
    x, cond, target = (a.transpose(1, 2).contiguous() for a in (x, cond, target))
    return {"X": x * cond, "X_ori": x, "missing_mask": cond, "indicating_mask": target}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("csdi", "saits"))
    parser.add_argument(
        "data", help="npz: series (N, T) scaled, starts (M,), length, test (K, N, T) with NaN where asked"
    )
    parser.add_argument("out", help="npz: draws (n, K, N, T), steps, trained, seconds")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--n", type=int, default=25)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    torch.manual_seed(0)
    data, rng = np.load(args.data), np.random.default_rng(0)
    series, starts, test, length = data["series"], data["starts"], data["test"], int(data["length"])
    model = {"csdi": csdi, "saits": saits}[args.name](series.shape[0], length)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    begin, steps = time.process_time(), 0
    while (done := (time.process_time() - begin) / (60 * args.minutes)) < 1:
        x = np.stack([series[:, s : s + length] for s in rng.choice(starts, args.batch)])
        share = rng.uniform(0.1, 0.5)
        loss = model(inputs(args.name, x, hide_blocks(x.shape, rng, share, (2, 18))), calc_criterion=True)["loss"]
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 if done < 0.75 else 1e-3 * (1 - 0.9 * (done - 0.75) / 0.25)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if steps % 50 == 0:
            print(steps, float(loss), flush=True)
    trained = time.process_time() - begin
    model.eval()
    begin = time.process_time()
    with torch.no_grad():
        given = inputs(args.name, test, np.zeros(test.shape, bool))
        if args.name == "csdi":
            draws = model(given, n_sampling_times=args.n)["imputation"].permute(1, 0, 3, 2)
        else:
            draws = model(given)["imputation"].transpose(1, 2)[None]
    seconds = time.process_time() - begin
    np.savez(args.out, draws=draws.numpy(), steps=steps, trained=trained, seconds=seconds)


if __name__ == "__main__":
    main()
