"""Time series: one command a claim of the issue, each writing a table to benchmarks/results/.

    python benchmarks/series.py beijing --data ../shared/data --minutes 10

Models are kept under --work, where a killed run resumes. Seconds are process seconds of this run on the machine named in
the table; peers and published figures are marked as such.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from series_forecast import run_doublewell, run_exchange, run_los, run_m4
from series_generate import run_generation
from series_impute import run_beijing, run_italian
from series_long import run_ett
from series_physionet import run_physionet
from series_space import run_graph, run_positions

HERE = Path(__file__).parent

CLAIMS = {
    "exchange": run_exchange,
    "generation": run_generation,
    "beijing": run_beijing,
    "italian": run_italian,
    "positions": run_positions,
    "graph": run_graph,
    "doublewell": run_doublewell,
    "m4": run_m4,
    "los": run_los,
    "physionet": run_physionet,
    "ett": run_ett,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared/data", help="folder of the data sets")
    parser.add_argument("--out", default=HERE / "results")
    parser.add_argument("--work", default=".work/series", help="models and raw figures")
    parser.add_argument(
        "--model", default=None, help="a trained model (a zoo name or a folder) in place of training one"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="training time of each model")
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--calls", type=int, nargs="+", default=[5, 10, 50])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stochasticity", type=float, help="of the sampler (default: the model's own)")
    parser.add_argument("--repeats", type=int, default=5, help="of each score of generated windows")
    parser.add_argument("--batch", type=int, help="windows a training step, where it is not the claim's own")
    parser.add_argument("--only", help="one data set of a claim that has several")
    parser.add_argument("--validation", action="store_true", help="ett: score the months between training and test")
    parser.add_argument(
        "--arms",
        nargs="+",
        default=["attention"],
        help="of ett: attention, rnn or both, with +apart, +instance, +dropout",
    )
    parser.add_argument("--twin", action="store_true", help="beside the point-plus-Gaussian twin of the same network")
    parser.add_argument("--peers", help="a Python that has PyPOTS 1.5 (see series_peers.py)")
    parser.add_argument("--peer-n", type=int, default=25, help="samples of CSDI")
    parser.add_argument("--transform", default="none")
    parser.add_argument("--noise", default="white")
    args = parser.parse_args()
    Path(args.work).mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    CLAIMS[args.claim](args)


if __name__ == "__main__":
    main()
