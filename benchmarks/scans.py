"""What the scans room claims, measured. Writes benchmarks/results/scans_LINE.md.

python benchmarks/scans.py round-trip --data ../shared/data
python benchmarks/scans.py anomaly --data ../shared/data --minutes 3 --work runs
python benchmarks/scans.py labels --data ../shared/data          # the shipped xray and hippocampus models, held-out data
python benchmarks/scans.py translate --data ../shared/data --minutes 6 --work runs
python benchmarks/scans.py kspace --data ../shared/data --minutes 3
python benchmarks/scans.py large
python benchmarks/scans.py few --data ../shared/data --minutes 3 --work runs
python benchmarks/scans.py few-xray --data ../shared/data --minutes 5 --work runs
python benchmarks/scans.py few-long --data ../shared/data --minutes 7 --device cuda --work runs
python benchmarks/scans.py few-xray-long --data ../shared/data --minutes 8 --device cuda --work runs
python benchmarks/scans.py kspace-learned --data ../shared/data --minutes 8 --device cuda --work runs
python benchmarks/scans.py kspace-masks --data ../shared/data --minutes 6.8 --count 150 --draws 24 --work runs
python benchmarks/scans.py translate-pairs --data ../shared/data --minutes 8 --device cuda --work runs
python benchmarks/scans.py volumes --data ../shared/data --minutes 9 --work runs --peers peers/bin/python   # after `few`
"""

from __future__ import annotations

import argparse
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scans_few
import scans_few_long
import scans_few_xray
import scans_few_xray_long
import scans_kspace
import scans_kspace_learned
import scans_kspace_masks
import scans_large
import scans_translate
import scans_translate_pairs
import scans_volumes
import torch
from scans_typical import beyond_detail
from tables import table


def round_trip(data: Path) -> None:
    """Line 1: every NIfTI and DICOM sample is read, written and read again; voxels, affine, spacing must be the same bits."""
    import nibabel

    from suffuse.errors import DataError
    from suffuse.modalities.scans.dicom import read_dicom
    from suffuse.modalities.scans.dicom_out import write_dicom
    from suffuse.modalities.scans.nifti import read_nifti, write_nifti

    rows: list[list[Any]] = []

    def same(a: Any, b: Any) -> list[str]:
        checks = (
            np.array_equal(a.stored, b.stored) and a.stored.dtype == b.stored.dtype,
            np.array_equal(a.affine, b.affine),
            a.spacing == b.spacing,
            np.array_equal(a.values, b.values),
        )
        return ["exact" if ok else "DIFFERS" for ok in checks]

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def nifti(raw: bytes, name: str) -> list[str]:
            first = read_nifti(raw, name)
            again = read_nifti(write_nifti(first, folder / "a.nii.gz"))
            theirs, ours = (
                nibabel.Nifti1Image.from_bytes(raw if raw[:2] != b"\x1f\x8b" else __import__("gzip").decompress(raw)),
                again,
            )
            assert np.array_equal(np.asarray(theirs.dataobj.get_unscaled()).reshape(ours.shape), ours.stored)
            return same(first, again)

        for path in sorted(data.glob("medical/*/*.nii.gz")):
            rows.append([path.name, *nifti(path.read_bytes(), path.name)])
        results: dict[tuple[str, ...], int] = {}
        with tarfile.open(data / "medical/msd_hippocampus/hippocampus_train_nii.tar.xz") as archive:
            for member in archive:
                if member.isfile():
                    key = tuple(nifti(archive.extractfile(member).read(), member.name))  # type: ignore[union-attr]
                    results[key] = results.get(key, 0) + 1
        rows += [[f"MSD Task04: {count} files", *key] for key, count in results.items()]
        for path in sorted(data.glob("medical/dicom/*.dcm")):
            try:
                first = read_dicom(path)
            except DataError as error:
                rows.append([path.name, f"refused: {error}", "", "", ""])
                continue
            shutil.rmtree(folder / "d", ignore_errors=True)
            write_dicom(first, folder / "d")
            rows.append([path.name, *same(first, read_dicom(folder / "d"))])
    table(
        "scans_round_trip",
        "Scans 1: round trips",
        ["file", "stored voxels", "affine", "spacing", "physical values"],
        rows,
        "Written DICOM files carry new UIDs, ImageType DERIVED and no attribute that names a patient; the ECG holds no image.",
    )


def anomaly(data: Path, work: Path, minutes: float, seed: int) -> None:
    """Line 6: trained on normal X-rays only, which of the test X-rays are ill?"""
    import suffuse
    from suffuse.modalities.scans.quality import auroc, unlikeness
    from suffuse.modalities.scans.verbs import anomaly_scores

    source, folder = data / "medical/medmnist/pneumoniamnist.npz", work / f"xray_normal_{seed}"
    read = {"classes": "normal,pneumonia", "only": "normal", "width": 32}
    if (folder / "config.json").is_file():
        model = suffuse.load(folder)
    else:
        model = suffuse.train(
            source,
            "scans",
            minutes=minutes,
            seed=seed,
            output=folder,
            read=read,
            batch=32,
            tasks={"generate": 1.0},
            resume=(folder / "training").is_dir(),
        )
    train = suffuse.modalities.scans.Scans.read(source, **read)[1]
    with np.load(source) as loaded:
        parts = {p: (loaded[f"{p}_images"], loaded[f"{p}_labels"][:, 0] == 1) for p in ("val", "test")}
    known = train.batch(torch.arange(len(train))).x["image"].flatten(1)
    batches = {p: model.modality.dataset(images) for p, (images, _) in parts.items()}
    x = {p: d.batch(torch.arange(len(d))).x["image"] for p, d in batches.items()}
    mean = known.mean(0)
    _, _, v = torch.linalg.svd(known - mean, full_matrices=False)

    def pca(y: torch.Tensor, count: int) -> torch.Tensor:
        y, basis = y.flatten(1) - mean, v[:count]
        return (y - y @ basis.T @ basis).square().mean(1)

    def nearest(y: torch.Tensor) -> torch.Tensor:
        return torch.cdist(y.flatten(1), known).square().amin(1) / known.shape[1]

    def noise(y: torch.Tensor, level: float, repeats: int = 4) -> torch.Tensor:
        """Gaussian-noise reconstruction: one denoising call, squared error (Kascenas et al. 2022), by the same network."""
        total, generator = torch.zeros(len(y)), torch.Generator().manual_seed(seed)
        process = model.joint["image"]
        t = torch.full((len(y), 1, 1, 1), level)
        for _ in range(repeats):
            noisy = process.corrupt(y, torch.randn(y.shape, generator=generator), t)
            with torch.inference_mode():
                total += (model.denoiser({"image": noisy}, {"image": t}, {})["image"] - y).square().flatten(1).mean(1)
        return total / repeats

    def sampled(y: torch.Tensor, level: float, part: str) -> torch.Tensor:
        task = model.modality.request(len(y), list(parts[part][0]), index=torch.arange(len(y)))
        return anomaly_scores(model, task, level, 2, 4, seed).flatten(1).mean(1)

    levels = (0.1, 0.2, 0.35, 0.5, 0.7)

    def profile(y: torch.Tensor) -> torch.Tensor:
        """(n, levels) logarithm of the denoising error."""
        return torch.stack([noise(y, t, 2) for t in levels], dim=1).log()

    normal = profile(known.reshape(-1, *x["val"].shape[1:]))
    centre, spread = normal.mean(0), torch.linalg.inv(torch.cov(normal.T) + 1e-4 * torch.eye(len(levels)))
    profiles = {p: profile(y) for p, y in x.items()}

    def typicality(part: str, rows: list[int]) -> torch.Tensor:
        """How unlike those of normal X-rays the errors at some levels are, whether larger or smaller (Nalisnick et al. 2019)."""
        gap = (profiles[part] - centre)[:, rows]
        inverse = torch.linalg.inv(torch.linalg.inv(spread)[rows][:, rows])
        return torch.einsum("ni,ij,nj->n", gap, inverse, gap)

    def unlike(y: torch.Tensor, count: int) -> torch.Tensor:
        """PCA made two-sided in the same way."""
        own = pca(known, count).log()
        return ((pca(y, count).log() - own.mean()) / own.std()).abs()

    rows = []
    arms = [(f"PCA, {k} components", lambda y, p, k=k: pca(y, k), 0) for k in (4, 16, 64)]
    arms += [("PCA, 16 components, two-sided", lambda y, p: unlike(y, 16), 0)]
    arms += [("nearest normal X-ray", lambda y, p: nearest(y), 0)]
    arms += [
        (f"denoising error, level {t} (baseline)", lambda y, p, k=k: profiles[p][:, k], 2) for k, t in enumerate(levels)
    ]
    arms += [
        (f"denoising error, level {t}, two-sided", lambda y, p, k=k: typicality(p, [k]), 2)
        for k, t in enumerate(levels)
    ]
    arms += [("anomaly map: noised to 0.4, sampled back", lambda y, p: sampled(y, 0.4, p), 8)]
    arms += [("typicality of the errors at five levels", lambda y, p: typicality(p, list(range(len(levels)))), 10)]
    usual_x = known.reshape(-1, *x["val"].shape[1:])
    for t in levels:
        usual = model.features(train, t)
        found_at = {p: model.features(d, t) for p, d in batches.items()}
        arms.append((f"typicality of features at level {t}", lambda y, p, u=usual, f=found_at: unlikeness(f[p], u), 1))
    beyond = {p: beyond_detail(profiles[p], x[p], normal, usual_x) for p in parts}
    for k, t in enumerate(levels):
        arms.append((f"error at level {t} beyond the picture's detail", lambda y, p, k=k: beyond[p][:, k], 2))
        arms.append((f"the same, two-sided, level {t}", lambda y, p, k=k: beyond[p][:, k].abs(), 2))
    for name, score, calls in arms:
        begun = time.perf_counter()
        found = {p: auroc(score(x[p], p).numpy(), parts[p][1]) for p in parts}
        rows.append([name, found["val"], found["test"], calls, time.perf_counter() - begun])
    noisy = [r for r in rows if "denoising error" in r[0]]
    plain = max((r for r in noisy if "two-sided" not in r[0]), key=lambda r: r[1])
    sided, best = max(noisy, key=lambda r: r[1]), max(rows, key=lambda r: r[1])
    table(
        "scans_anomaly",
        "Scans 6: anomalies, trained on normal X-rays only (AUROC, one training seed)",
        ["score", "validation", "test", "network calls a picture", "seconds"],
        rows,
        f"{len(train)} normal training X-rays of the public copy of PneumoniaMNIST (its training part is altered), "
        f"{minutes:g} minutes of training. Ill pictures should score higher: values under 0.5 say that they, being smoother, "
        "are easier to denoise, hence the two-sided scores, which compare with normal training pictures. The bar is 3 points "
        "over the denoising baseline; the validation part is 74 % pneumonia, the test part 62 %. Chosen on validation: "
        f"{best[0]}, on test {100 * (best[2] - plain[2]):.1f} points over the baseline chosen there ({plain[0]}) and "
        f"{100 * (best[2] - sided[2]):.1f} over that made two-sided ({sided[0]}). Features: the network's 64 pooled features in "
        "one call, Mahalanobis distance from normal training pictures (covariance shrunk by .1 towards its diagonal).",
    )


def labels(data: Path) -> None:
    """The shipped models on held-out data: Dice and balanced accuracy of single calls."""
    import suffuse
    from suffuse.modalities.scans.quality import balanced_accuracy, dice
    from suffuse.modalities.scans.reading import cases

    rows = []
    xray = suffuse.load("xray")
    test = xray.modality.dataset(data / "medical/medmnist/pneumoniamnist.npz", split="test")
    share = xray.predict(test, "label")[:, 0]
    rows.append(
        [
            "xray: label in one call, balanced accuracy, 624 test pictures",
            balanced_accuracy(share.argmax(-1), test.label),
        ]
    )
    brain = suffuse.load("hippocampus")
    held = list(cases(data / "medical/msd_hippocampus/hippocampus_train_nii.tar.xz"))[200:]
    made = [brain.segment(case.reference) for case in held]
    scores = [
        dice(
            torch.from_numpy(m.mask.stored[None].astype(int)),
            torch.from_numpy(c.mask.values[None].round().astype(int)),
            3,
        )
        for m, c in zip(made, held)
    ]
    mean = torch.cat(scores).mean(0)
    rows.append([f"hippocampus: Dice of one call, {len(held)} held-out volumes, anterior", float(mean[0])])
    rows.append(["hippocampus: posterior", float(mean[1])])
    table(
        "scans_labels",
        "Scans: what the shipped generators answer in one call",
        ["question", "figure"],
        rows,
        "These are generators asked for a label or a mask, not networks trained for it alone.",
    )


PARTS = {
    "few": lambda a: scans_few.run(a.data, a.work, a.minutes, a.seed, a.arms),
    "few-long": lambda a: scans_few_long.run(a.data, a.work, a.minutes, a.seed, a.device),
    "few-xray": lambda a: scans_few_xray.run(a.data, a.work, a.minutes, a.seed),
    "few-xray-long": lambda a: scans_few_xray_long.run(a.data, a.work, a.minutes, a.seed, a.device),
    "kspace": lambda a: scans_kspace.run(a.data, a.count, a.draws, a.minutes, a.seed),
    "kspace-masks": lambda a: scans_kspace_masks.run(a.data, a.work, a.minutes, a.count, a.draws, a.seed),
    "kspace-learned": lambda a: scans_kspace_learned.run(a.data, a.work, a.minutes, a.count, a.draws, a.seed, a.device),
    "translate": lambda a: scans_translate.run(a.data, a.work, a.minutes, a.draws, a.seed),
    "translate-pairs": lambda a: scans_translate_pairs.run(
        a.data, a.work, a.minutes, a.draws, a.seed, a.device, a.arms
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "line",
        choices=("round-trip", "anomaly", "labels", "large", "volumes", *PARTS),
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=32, help="samples of one answer (translate, kspace)")
    parser.add_argument("--count", type=int, default=60, help="test pictures (kspace)")
    parser.add_argument(
        "--device", default="cpu", help="of the -long, -learned and -pairs parts; cuda: minutes are of wall time"
    )
    parser.add_argument(
        "--arms",
        nargs="+",
        help="of few (5,plain) and translate-pairs (ct): run no others; all that has been run is reported",
    )
    parser.add_argument("--peers", help="the Python of an environment with MONAI (volumes)")
    parser.add_argument("--model", default="hippocampus", help="of large: a zoo name or folder")
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 180), help="of large")
    a = parser.parse_args()
    torch.set_num_threads(int(__import__("os").environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if a.line == "round-trip":
        round_trip(a.data)
    elif a.line == "labels":
        labels(a.data)
    elif a.line == "large":
        scans_large.run(a.model, tuple(a.size), 4, a.seed)
    elif a.line in PARTS:
        PARTS[a.line](a)
    elif a.line == "volumes":
        scans_volumes.run(a.data, a.work, a.minutes, a.peers, a.seed)
    else:
        anomaly(a.data, a.work, a.minutes, a.seed)


if __name__ == "__main__":
    main()
