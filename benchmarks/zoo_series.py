"""The time-series models that ship: their training files, and the folder made of a trained model.

python benchmarks/zoo_series.py prepare --data ../shared/data -o .work/zoo
python benchmarks/series.py beijing --minutes 5 --data ../shared/data --work .work/series
python benchmarks/series.py generation --only stocks --minutes 5 --data ../shared/data --work .work/series
python benchmarks/zoo_series.py finish air --model .work/series/beijing_none_white --data ../shared/data --command "..."
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from series_data import TEST_MONTHS, beijing

import suffuse
from suffuse.files import write_json, write_text

ZOO = Path(__file__).parent.parent / "src/suffuse/zoo"
NOTES = {
    "air": {
        "data": "Beijing Multi-Site Air Quality, PM2.5 of 12 stations, without March, June, September, December",
        "licence": "CC BY 4.0 (Song Chen, UCI Machine Learning Repository, 2017, doi 10.24432/C5RK5G)",
    },
    "stocks": {
        "data": "stock_data of the TimeGAN repository (Google, daily, 2004-2019)",
        "licence": "Apache-2.0 (repository jsyoon0823/TimeGAN)",
    },
}

SAMPLING = {"air": {"steps": 8}, "stocks": {"steps": 20, "stochasticity": 0.7}}
"""Fresh noise in each step keeps what is small beside the level of a price (power spectrum distance .95 without, .20 with)."""


def stocks(data: Path) -> pd.DataFrame:
    """Six daily columns, oldest first."""
    return pd.read_csv(data / "timeseries/stock_data.csv")


def prepare(args) -> None:
    """Write the training files."""
    out = Path(args.output)
    out.mkdir(parents=True, exist_ok=True)
    frame = beijing(args.data)
    frame[~frame.ds.dt.month.isin(TEST_MONTHS)].to_csv(out / "air.csv", index=False)
    stocks(args.data).to_csv(out / "stocks.csv", index=False)


def finish(args) -> None:
    """A trained model as a zoo folder: 16-bit weights, samples of real data, recipe, card."""
    model, folder = suffuse.load(args.model), ZOO / args.name
    model.notes |= NOTES[args.name]
    model.settings |= model.modality.defaults()["sampling"] | SAMPLING[args.name]
    if args.figures:
        model.notes["quality"] = json.loads(Path(args.figures).read_text())
    from suffuse.card import write_card

    own = "The real excerpt under samples/ is of the same source and licence"
    own += ", from a month the model did not see.\n" if args.name == "air" else "; its windows were part of training.\n"
    model.save(folder, half=True, card=write_card(model) + "\n## Samples\n\n" + own)
    recipe = model.notes["recipe"] | {"command": args.command, "data": NOTES[args.name]["data"]}
    write_json(recipe, folder / "recipe.json")
    (folder / "samples").mkdir(exist_ok=True)
    if args.name == "air":
        frame = beijing(args.data)
        part = frame[(frame.ds >= "2016-12-05") & (frame.ds < "2016-12-09")]
        part.to_csv(folder / "samples/december.csv", index=False)
    else:
        table = stocks(args.data)
        starts = np.linspace(0, len(table) - 24, 128).astype(int)
        pd.concat([table.iloc[s : s + 24] for s in starts]).round(4).to_csv(folder / "samples/windows.csv", index=False)
    write_text(f"{NOTES[args.name]['data']}. {NOTES[args.name]['licence']}.\n", folder / "samples/ATTRIBUTION.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first, last = verbs.add_parser("prepare"), verbs.add_parser("finish")
    for verb in (first, last):
        verb.add_argument("--data", type=Path, default=Path(__file__).parent.parent.parent / "shared/data")
    first.add_argument("-o", "--output", default=".work/zoo")
    last.add_argument("name", choices=NOTES)
    last.add_argument("--model", required=True)
    last.add_argument("--command", required=True, help="the command the model was trained with")
    last.add_argument("--figures", help="a JSON file {figure: value} for the card")
    args = parser.parse_args()
    {"prepare": prepare, "finish": finish}[args.verb](args)


if __name__ == "__main__":
    main()
