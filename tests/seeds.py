"""Small good files of every kind of data, for tests that spoil them."""

from __future__ import annotations

import json
import math
import struct
import wave
from pathlib import Path

import numpy as np

RANDOM = np.random.default_rng(0)


def images(folder: Path) -> list[Path]:
    from PIL import Image

    pixels = RANDOM.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.gif", "a.bmp", "a.webp"):
        Image.fromarray(pixels[0]).save(folder / name)
    np.savez(folder / "a.npz", images=pixels, labels=np.arange(12) % 3)
    np.save(folder / "a.npy", pixels)
    idx = struct.pack(">IIII", 0x803, 12, 16, 16) + pixels[..., 0].tobytes()
    (folder / "train-images-idx3-ubyte").write_bytes(idx)
    return sorted(folder.iterdir())


def series(folder: Path) -> list[Path]:
    import pandas as pd

    ds = pd.date_range("2024-01-01", periods=60, freq="h")
    rows = [(k, t, math.sin(i / 5) + ord(k)) for k in ("a", "b") for i, t in enumerate(ds)]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"])
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_parquet(folder / "a.parquet")
    return sorted(folder.iterdir())


def text(folder: Path) -> list[Path]:
    lines = ["the quick brown fox jumps over the lazy dog", "now is the time for all good men"] * 20
    (folder / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines), encoding="utf-8")
    return sorted(folder.iterdir())


def graphs(folder: Path) -> list[Path]:
    import networkx as nx

    nx.write_graphml(nx.path_graph(6), folder / "a.graphml")
    nx.write_gml(nx.cycle_graph(6), folder / "a.gml")
    edges = [{"n": 5, "edges": [[0, 1], [1, 2], [2, 3], [3, 4]]}, {"n": 4, "edges": [[0, 1], [1, 2], [2, 3], [3, 0]]}]
    (folder / "a.json").write_text(json.dumps(edges))
    return sorted(folder.iterdir())


def molecules(folder: Path) -> list[Path]:
    from rdkit import Chem

    smiles = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "C1CCCCC1O"] * 4
    (folder / "a.smi").write_text("\n".join(smiles))
    (folder / "a.csv").write_text("SMILES,logp\n" + "\n".join(f"{s},{len(s)}" for s in smiles))
    with Chem.SDWriter(str(folder / "a.sdf")) as writer:
        for s in smiles[:5]:
            writer.write(Chem.MolFromSmiles(s))
    return sorted(folder.iterdir())


def audio(folder: Path) -> list[Path]:
    import soundfile

    tone = 0.4 * np.sin(np.arange(8000) / 6) + 0.01 * RANDOM.standard_normal(8000)
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((tone * 30000).astype("<i2").tobytes())
    soundfile.write(folder / "a.flac", tone, 8000)
    return sorted(folder.iterdir())


def video(folder: Path) -> list[Path]:
    import av
    from PIL import Image

    frames = RANDOM.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    pictures = [Image.fromarray(f) for f in frames]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    with av.open(str(folder / "a.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for f in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(f, format="rgb24")))
        out.mux(stream.encode())
    np.savez(folder / "a.npz", video=frames[None])
    np.save(folder / "a.npy", frames[None])
    return sorted(folder.iterdir())


def shapes(folder: Path) -> list[Path]:
    import trimesh

    box = trimesh.creation.box()
    for name in ("a.ply", "a.obj", "a.stl", "a.off", "a.glb"):
        box.export(folder / name)
    np.savez(folder / "a.npz", voxels=RANDOM.integers(0, 2, (2, 12, 12, 12), dtype=np.uint8))
    return sorted(folder.iterdir())


def scans(folder: Path) -> list[Path]:
    import nibabel

    volume = RANDOM.integers(0, 255, (12, 14, 10)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "a.nii")
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "b.nii.gz")
    np.savez(folder / "a.npz", images=np.stack([volume, volume]).astype(np.uint8))
    return sorted(folder.iterdir())


MAKERS = {f.__name__: f for f in (images, series, text, graphs, molecules, audio, video, shapes, scans)}


def spoil(good: bytes, way: int, random: np.random.Generator) -> bytes:
    """One of six ways to spoil a file: cut short, bytes changed, a stretch zeroed, head gone, noise, nothing."""
    data = bytearray(good)
    if way == 0:
        return bytes(data[: random.integers(1, max(2, len(data)))])
    if way == 1:
        for k in random.integers(0, len(data), max(1, len(data) // 100)):
            data[k] = random.integers(256)
        return bytes(data)
    if way == 2:
        start = int(random.integers(len(data)))
        stop = start + max(4, len(data) // 8)
        data[start:stop] = bytes(len(data[start:stop]))
        return bytes(data)
    if way == 3:
        head = min(len(data), 64)
        for k in random.integers(0, head, 6):
            data[k] = random.choice([0, 1, 127, 255])
        return bytes(data)
    return random.bytes(int(random.integers(1, 400))) if way == 4 else b""
