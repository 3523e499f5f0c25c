"""What the picture models must show. Each subcommand writes a Markdown table to benchmarks/results/.

    python benchmarks/images.py price       --data ../shared/data --work runs --minutes 10    # one model for everything
    python benchmarks/images.py edits       --data ../shared/data --work runs                 # class change, inversion, captions
    python benchmarks/images.py restoration --data ../shared/data --work runs                 # against DPS and DiffPIR
    python benchmarks/images.py guidance    --data ../shared/data --work runs                 # precision-recall sweep
    python benchmarks/images.py backbones   --data ../shared/data --work runs --minutes 4     # U-Net or patch transformer

Trained runs are kept in --work and are resumed or reused. Frechet distances are in the 64 features of the shipped judge.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import suffuse
from suffuse.metrics import features
from suffuse.metrics.frechet import frechet
from suffuse.metrics.precision_recall import precision_recall
from suffuse.modalities.images.dataset import from_field, to_field
from suffuse.modalities.images.quality import generate

sys.path.insert(0, str(Path(__file__).parent))
from tables import table  # noqa: E402
from zoo_images import MODELS, RECIPE, SAMPLING, source  # noqa: E402


def trained(
    args: argparse.Namespace, name: str, minutes: float, tasks: dict[str, float] | None = None, read: dict | None = None
) -> Any:
    """A Fashion-MNIST model trained for so many CPU minutes; reused when it is there."""
    folder = args.work / name
    if (folder / "model.safetensors").is_file():
        return suffuse.load(folder)
    return suffuse.train(
        source("fashion", args.data, args.work, "train"), "images", minutes=minutes, tasks=tasks, output=folder, resume=True,
        read={**MODELS["fashion"]["read"], **(read or {})}, seed=args.seed, **RECIPE,
    )  # fmt: skip


class Judge:
    """Features and classes of the shipped classifier, and real pictures to compare with."""

    def __init__(self, data: Any, name: str = "fashion"):
        self.network = features.load(name)
        self.real = features.features_of(self.network, data.pixels)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return features.features_of(self.network, pixels)

    def classes(self, pixels: torch.Tensor) -> torch.Tensor:
        return features.classes_of(self.network, pixels)

    def frechet(self, pixels: torch.Tensor, against: slice) -> float:
        return frechet(self(pixels), self.real[against])


# -- line 9: the price of one model for everything ----------------------------------------------------------------------
def price(args: argparse.Namespace) -> None:
    everything = trained(args, args.all_task or f"price_all_{args.minutes:g}", args.minutes)
    by_label = trained(args, f"price_label_{args.minutes:g}", args.minutes, {"generate": 0.1, "label": 0.9})
    generator = trained(args, f"price_generate_{args.minutes:g}", args.minutes, {"generate": 1.0})
    for model in (everything, by_label, generator):
        model.settings |= SAMPLING
    data = everything.modality.dataset(source("fashion", args.data, args.work, "test"))
    judge, n = Judge(data), args.samples
    first, second = slice(0, 5000), torch.arange(5000, 5000 + n)
    rows = [["real against real", "", "", frechet(judge.real[second], judge.real[first]), ""]]
    for name, model, labels, weights in (
        ("class-conditional, specialist", by_label, True, (1.0, 2.0, 3.0)),
        ("class-conditional, all tasks", everything, True, (1.0, 2.0, 3.0)),
        ("unconditional, specialist", generator, False, (1.0,)),
        ("unconditional, all tasks", everything, False, (1.0,)),
    ):
        for weight in weights:
            begin = time.process_time()
            made = generate(model.modality, model, data, second, labels, args.seed, steps=args.steps, guidance=weight)
            rows.append([name, args.steps, weight, judge.frechet(made, first), time.process_time() - begin])
    for name, model, replace, given in (
        ("inpainting a half by replacement, generator", generator, True, False),
        ("inpainting a half by levels, all tasks", everything, False, False),
        ("inpainting a half by levels, label given", everything, False, True),
    ):
        begin = time.process_time()
        made = halves(model, data, second, replace, given, args)
        rows.append([name, args.steps, 1.0, judge.frechet(made, first), time.process_time() - begin])
    part = data.labels[:5000]
    subset = type(data)(data.config, data.pixels[:5000], part, None)
    right = (everything.predict(subset, "label")[:, 0].argmax(1) == part).double().mean().item()
    known = (judge.classes(subset.pixels) == part).double().mean().item()
    notes = (
        f"Fashion-MNIST test pictures; {args.minutes:g} CPU minutes of training each, one core, seed {args.seed}, "
        f"{sum(p.numel() for p in everything.denoiser.parameters()):,} parameters; {n} pictures made against 5,000 others. "
        "The label specialist holds the label back for a tenth of the examples, as guidance needs. "
        f"Task weights of all: {everything.modality.tasks}.\n\n"
        f"Classification by one call of the all-task model: {100 * right:.1f} % (the judge itself: {100 * known:.1f} %)."
    )
    head = ["task and model", "calls", "guidance", "Frechet", "CPU s"]
    table("images_price", "The price of one model for everything", head, rows, notes)


def halves(
    model: Any, data: Any, rows: torch.Tensor, replace: bool, given: bool, args: argparse.Namespace
) -> torch.Tensor:
    """uint8 pictures whose lower half was made: by level maps, or by putting the noised truth back after every step."""
    modality, n = model.modality, len(rows)
    task = modality.request(n, None, index=torch.arange(n))
    truth = data.batch(rows).x
    lower = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    lower[:, :, 14:] = True
    task.x["image"] = truth["image"]
    if given:
        task.x["label"], task.start.levels["label"] = truth["label"], torch.zeros(n, 1)
        task.start.held["label"] = torch.zeros(n, 1, dtype=torch.bool)
    if not replace:
        task.start.levels["image"] = lower.float().expand(n, 1, 28, 28)
        return from_field(model.run(task, steps=args.steps, seed=args.seed, batch=250)["image"], modality.config)
    process, outs = model.joint["image"], []
    from suffuse.diffusion.random import Random

    for begin in range(0, n, 250):
        part = task.rows(slice(begin, begin + 250))
        known = part.x["image"]

        def put_back(x: dict, levels: dict, step: int, part: Any = part, known: torch.Tensor = known) -> dict:
            noise = process.noise(known, {}, Random(args.seed + 1), part.index, step, "image")
            noised = process.corrupt(known, noise, levels["image"])
            return {**x, "image": torch.where(lower, x["image"], noised)}

        for event in model.events(part, steps=args.steps, seed=args.seed, adjust=put_back):
            x = event.x
        outs.append(x["image"])
    return from_field(torch.cat(outs), modality.config)


# -- line 7: edits --------------------------------------------------------------------------------------------------------
def edits(args: argparse.Namespace) -> None:
    from suffuse.modalities.images.modality import to_pil
    from suffuse.modalities.images.verbs import from_latents, invert

    model = suffuse.load(args.model or "fashion")
    data = model.modality.dataset(source("fashion", args.data, args.work, "test"))
    judge, n = Judge(data), min(args.samples, 300)
    pictures = [to_pil(p) for p in data.pixels[:n]]
    generator = torch.Generator().manual_seed(args.seed)
    target = (data.labels[:n] + torch.randint(1, 10, (n,), generator=generator)) % 10
    others = torch.stack([torch.where(data.labels == t)[0][1000 - 1 - k % 900] for k, t in enumerate(target.tolist())])

    def distance(pixels: torch.Tensor) -> float:
        gap = (pixels.float() - data.pixels[:n].float()) / 255
        return gap.flatten(1).norm(dim=1).mean().item()

    far = distance(data.pixels[others])
    rows: list[list[Any]] = []

    def row(name: str, strength: Any, guidance: Any, pixels: torch.Tensor) -> None:
        away = distance(pixels)
        rows.append([name, strength, guidance, 100 * agree(judge, pixels, target), away, away / far])

    row("random real picture of the target class", "", "", data.pixels[others])
    new = {"label": target.tolist()}
    for strength in (0.48, 0.5, 0.52):
        for guidance in (7.0, 9.0):
            begin = time.process_time()
            made = model.change(pictures, label=target.tolist(), strength=strength, guidance=guidance)
            row("`change`: held near the source", strength, guidance, stack(made))
            print(rows[-1], f"{time.process_time() - begin:.0f} s", flush=True)
    known = model.classify(pictures)
    for strength in (0.93, 0.96):
        latents = invert(model, pictures, {"label": known}, 20, strength)
        made = from_latents(model, latents, new, 20, strength, guidance=6.0, interval=(0.0, 1.0))
        row("inversion, then the new label", strength, 6.0, stack(made))
    for strength in (0.7, 0.8, 0.9):
        made = model.edit(pictures, strength, new, guidance=4.0, interval=(0.0, 1.0))
        row("SDEdit", strength, 4.0, stack(made))
    few, truth = pictures[:64], data.pixels[: len(pictures[:64])]
    labels = data.labels[: len(few)].tolist()
    trips = []
    for given in ({}, {"label": labels}):
        latents = invert(model, few, given, steps=50)
        back = stack(from_latents(model, latents, given, steps=50, guidance=1.0))
        error = ((back.float() - truth.float()) / 255).square().flatten(1).mean(1)
        trips.append((-10 * torch.log10(error.clamp(min=1e-9))).median().item())
    notes = (
        f"{n} Fashion-MNIST test pictures, each to another class drawn at random; distance: L2 over the pixels in [0, 1]. "
        f"The judge (test accuracy {100 * agree(judge, data.pixels[:5000], data.labels[:5000]):.1f} %) never saw the model.\n\n"
        f"Inversion round trip, 50 calls up and 50 down, 64 pictures: median PSNR {trips[0]:.1f} dB without a label, "
        f"{trips[1]:.1f} dB with it."
    )
    head = ["edit", "strength", "guidance", "judge convinced %", "distance to source", "relative to random"]
    table("images_edits", "Changing the class of real pictures", head, rows, notes)


def agree(judge: Judge, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    return (judge.classes(pixels) == labels).double().mean().item()


def stack(pictures: list[Any]) -> torch.Tensor:
    """PIL pictures as uint8 (N, C, H, W)."""
    arrays = [np.asarray(p) for p in pictures]
    arrays = [a[..., None] if a.ndim == 2 else a for a in arrays]
    return torch.from_numpy(np.stack([np.moveaxis(a, -1, 0) for a in arrays]))


# -- line 6: restoration ----------------------------------------------------------------------------------------------------
def restoration(args: argparse.Namespace) -> None:
    from suffuse.diffusion.operators import Blur, Downsample, Keep

    model = suffuse.load(args.model or "fashion")
    data = model.modality.dataset(source("fashion", args.data, args.work, "test"))
    count, draws = min(args.samples, 100), 16
    box = torch.ones(1, 1, 28, 28, dtype=torch.bool)
    box[:, :, 8:20, 8:20] = False
    noise = 0.05 * 2 / model.modality.config["deviation"]
    scale = model.modality.config["deviation"] / 2
    problems = {"box inpainting": Keep(box), "x4 super-resolution": Downsample(4), "deblurring (width 1.5)": Blur(1.5)}
    rows = []
    x0 = to_field(data.pixels[:count], model.modality.config)
    other = to_field(data.pixels[-16:], model.modality.config)

    def measure(operator: Any, x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(args.seed)
        y = operator.apply(x) + noise * torch.randn_like(operator.apply(x))
        return y * box if isinstance(operator, Keep) else y

    def psnr(made: torch.Tensor, x: torch.Tensor) -> float:
        error = ((made.mean(1) - x) * scale).square().flatten(1).mean(1)
        return (-10 * torch.log10(error)).mean().item()

    for name, operator in problems.items():
        y, y_other = measure(operator, x0), measure(operator, other)
        methods = {
            "PiGDM (`restore`)": (pigdm, [None]),
            "DPS": (dps, [0.3, 1.0, 3.0, 10.0]),
            "DiffPIR": (diffpir, [1.0, 3.0, 7.0, 20.0]),
        }
        if isinstance(operator, Keep):
            methods["levels"] = (by_levels, [None])
        for method, (solve, settings) in methods.items():
            value = settings[0]
            if len(settings) > 1:
                value = max(settings, key=lambda v: psnr(solve(model, y_other, operator, noise, 4, args, v), other))
            begin = time.process_time()
            made = solve(model, y, operator, noise, draws, args, value)  # (count, draws, C, H, W) in model units
            spent = (time.process_time() - begin) / count / draws
            low, high = made.amin(1), made.amax(1)
            wide = made.std(1) * scale > 0.02
            inside = ((x0 >= low) & (x0 <= high))[wide].double().mean().item()
            rows.append([name, method, "" if value is None else value, args.steps, psnr(made, x0), 100 * inside, spent])
            print(rows[-1], flush=True)
    notes = (
        f"{count} Fashion-MNIST test pictures, measurement noise .05 of the pixel range, mean and central interval of "
        f"{draws} samples, {args.steps} network calls each, the same weights for all. DPS and DiffPIR are worked from their "
        "papers (Chung et al. 2022, algorithm 1; Zhu et al. 2023, algorithm 1); their free setting (step, lambda) is the best "
        "of four on 16 other pictures, for each problem. The interval is from the least to the greatest of the 16 samples, which "
        "covers 15/17 = 88.2 % where they are drawn from the exact posterior (order statistics). Coverage is over pixels whose "
        "samples spread by more than .02."
    )
    head = ["problem", "method", "setting", "calls", "PSNR of the mean (dB)", "covered (%)", "CPU s a sample"]
    table("images_restoration", "Restoration by one model", head, rows, notes)


def noisy(args: argparse.Namespace, eta: float) -> dict[str, Any]:
    """Sampling settings with fresh noise, the same for all methods."""
    return {"steps": args.steps, "grid": "uniform", "solver": "dpmpp2m", "stochasticity": eta}


def _solve(
    model: Any,
    y: torch.Tensor,
    draws: int,
    args: argparse.Namespace,
    wrap: Any = None,
    adjust: Any = None,
    eta: float = 0.0,
) -> torch.Tensor:
    """`draws` samples for each measurement, by the engine with a wrapper; (count, draws, C, H, W)."""
    count = len(y)
    outs = []
    for k in range(count):
        task = model.modality.request(draws, None, index=torch.arange(k * draws, (k + 1) * draws))
        each = y[k : k + 1].expand(draws, *y.shape[1:])
        x = None
        settings = noisy(args, eta)
        for event in model.events(task, seed=args.seed, wrap=lambda d, each=each: wrap(d, each), **settings):
            x = event.x["image"]
        outs.append(x.detach())
    return torch.stack(outs)


def dps(model, y, operator, noise, draws, args, scale):
    from suffuse.diffusion.guidance import DPS

    return _solve(
        model, y, draws, args, lambda d, each: DPS(d, model.joint, "image", operator.apply, each, scale=scale), eta=1.0
    )


def pigdm(model, y, operator, noise, draws, args, _):
    from suffuse.diffusion.guidance import PiGDM

    return _solve(model, y, draws, args, lambda d, each: PiGDM(d, model.joint, "image", operator, each, noise), eta=2.0)


class DiffPIR:
    """The clean prediction's proximal point: argmin |y - A z|^2 / (2 noise^2) + rho |z - D|^2, by conjugate gradients, with
    rho = lambda alpha^2 / sigma^2 (Zhu et al. 2023, eq. 12 and 13)."""

    needs_gradients = False

    def __init__(self, denoiser, joint, operator, y, noise, weight=7.0):
        self.denoiser, self.process, self.operator, self.y, self.noise, self.weight = (
            denoiser,
            joint["image"],
            operator,
            y,
            noise,
            weight,
        )

    def __call__(self, x, levels, context, targets=None):
        clean = self.denoiser(x, levels, context, targets)
        level = levels["image"].amax()
        alpha, sigma = self.process.schedule.alpha(level), self.process.schedule.sigma(level)
        rho = self.weight * self.noise**2 * (alpha / sigma.clamp(min=1e-4)) ** 2
        gap = self.operator.adjoint(self.y - self.operator.apply(clean["image"]))
        z, residual = torch.zeros_like(gap), gap
        direction, size = residual, (residual**2).flatten(1).sum(1)[:, None, None, None]
        for _ in range(12):
            image = self.operator.adjoint(self.operator.apply(direction)) + rho * direction
            rate = size / (direction * image).flatten(1).sum(1)[:, None, None, None].clamp(min=1e-20)
            z, residual = z + rate * direction, residual - rate * image
            fresh = (residual**2).flatten(1).sum(1)[:, None, None, None]
            direction, size = residual + fresh / size.clamp(min=1e-20) * direction, fresh
        return {**clean, "image": clean["image"] + z}


def diffpir(model, y, operator, noise, draws, args, weight):
    return _solve(
        model, y, draws, args, lambda d, each: DiffPIR(d, model.joint, operator, each, noise, weight), eta=0.3
    )


def by_levels(model, y, operator, noise, draws, args, _):
    """Noisy known pixels start at the level whose noise is theirs, the hole at 1; all go down together."""
    process = model.joint["image"]
    known = float(process.schedule.time(torch.tensor(-np.log(noise), dtype=torch.float64)))
    start = torch.where(operator.mask, known, 1.0)
    outs = []
    for k in range(len(y)):
        task = model.modality.request(draws, None, index=torch.arange(k * draws, (k + 1) * draws))
        task.start.levels["image"] = start.float()
        noise_image = process.noise(task.x["image"], {}, _random(args), task.index, 0xFFFFFFFF, "image")
        alpha = process.schedule.alpha(torch.tensor(known))
        state = torch.where(operator.mask, (alpha * y[k : k + 1]).float(), noise_image)
        fields = model.run(task, seed=args.seed, state={"image": state}, batch=draws, **noisy(args, 1.0))
        outs.append(fields["image"])
    return torch.stack(outs)


def _random(args):
    from suffuse.diffusion.random import Random

    return Random(args.seed)


# -- guidance sweep -----------------------------------------------------------------------------------------------------------
def guidance(args: argparse.Namespace) -> None:
    model = suffuse.load(args.model or "fashion")
    data = model.modality.dataset(source("fashion", args.data, args.work, "test"))
    judge, n = Judge(data), args.samples
    rows_of, first = torch.arange(5000, 5000 + n), slice(0, n)
    floor = precision_recall(judge.real[first], judge.real[5000 : 5000 + n])
    rows = [["real", "", frechet(judge.real[5000 : 5000 + n], judge.real[:5000]), *floor]]
    for interval in ((0.0, 1.0), (0.1, 0.7)):
        for weight in (1.0, 1.5, 2.0, 3.0, 4.0):
            model.settings["interval"] = list(interval)
            made = generate(model.modality, model, data, rows_of, True, args.seed, steps=args.steps, guidance=weight)
            found = judge(made)
            name = "plain" if interval == (0.0, 1.0) else f"levels {interval[0]:g} to {interval[1]:g} only"
            rows.append([name, weight, frechet(found, judge.real[:5000]), *precision_recall(judge.real[first], found)])
            print(rows[-1], flush=True)
    notes = f"{n} pictures of the labels of {n} test pictures, {args.steps} calls; Frechet against 5,000 others."
    table(
        "images_guidance",
        "Guidance: precision and recall",
        ["guidance", "weight", "Frechet", "precision", "recall"],
        rows,
        notes,
    )


# -- which network --------------------------------------------------------------------------------------------------------------
def backbones(args: argparse.Namespace) -> None:
    kinds = {
        "U-Net, patch 2, widths 64 and 96": {},
        "U-Net, patch 1, widths 16, 48, 96": {"widths": [16, 48, 96], "patch": 1},
        "patch transformer, patch 4, width 128, depth 4": {
            "backbone": "patches",
            "width": 128,
            "depth": 4,
            "heads": 4,
            "patch": 4,
        },
    }
    rows = []
    for k, (name, read) in enumerate(kinds.items()):
        settings = dict(MODELS["fashion"]["read"])
        if read:
            settings = {key: value for key, value in settings.items() if key not in ("widths", "patch")} | read
        folder = args.work / f"backbone_{k}_{args.minutes:g}"
        if (folder / "model.safetensors").is_file():
            model = suffuse.load(folder)
        else:
            model = suffuse.train(source("fashion", args.data, args.work, "train"), "images", minutes=args.minutes, output=folder,
                                  resume=True, read=settings, seed=args.seed, **RECIPE)  # fmt: skip
        data = model.modality.dataset(source("fashion", args.data, args.work, "test"))
        judge = Judge(data)
        made = generate(
            model.modality, model, data, torch.arange(5000, 5000 + args.samples), True, steps=args.steps, guidance=2.0
        )
        size = sum(p.numel() for p in model.denoiser.parameters())
        rows.append([name, f"{size:,}", model.notes["steps"], judge.frechet(made, slice(0, 5000))])
        print(rows[-1], flush=True)
    notes = f"Fashion-MNIST, all tasks, {args.minutes:g} minutes each; {args.samples} by class, guidance 2, {args.steps} calls"
    table(
        "images_backbones",
        "U-Net or patch transformer",
        ["network", "parameters", "steps", "Frechet"],
        rows,
        notes,
    )


def main() -> None:
    steps = {"price": price, "edits": edits, "restoration": restoration, "guidance": guidance, "backbones": backbones}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="measure this model instead of the zoo's `fashion`")
    parser.add_argument("--all-task", help="price: name of a run in --work to use as the all-task model")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    steps[args.step](args)


if __name__ == "__main__":
    main()
