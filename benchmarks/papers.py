"""Do the source papers' claims show at the size of the embedded data? One experiment per paper, with intervals.

    python benchmarks/papers.py [--out runs/papers] [--seeds 5] [--only sparse-channels,filters] [--scale quick]

Every trial is kept in --out as soon as it has finished, so that an interrupted run goes on where it stopped. A claim is
"shown" where the 95 % interval of the (paired) difference lies on its side of zero, "opposite" on the other side, and
"not shown" where the interval holds zero: at this size, with this data. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import experiments
import torch
from experiments.common import EXPERIMENTS, Claim, Lab, text_of
from tabulate import tabulate

from advisor.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/papers"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="names, joined by commas")
    parser.add_argument("--scale", choices=["quick", "full"], default="full")
    options = parser.parse_args()
    for module in pkgutil.iter_modules(experiments.__path__):
        importlib.import_module(f"experiments.{module.name}")
    names = [name for name in options.only.split(",") if name] or sorted(EXPERIMENTS)
    wrong = [name for name in names if name not in EXPERIMENTS]
    if wrong or options.seeds < 1:
        what = f"no experiment {wrong[0]!r}; there are {', '.join(sorted(EXPERIMENTS))}" if wrong else "--seeds below 1"
        sys.exit(what)
    torch.set_num_threads(1)
    summary: list[list[object]] = []
    for name in names:
        entry, began = EXPERIMENTS[name], time.perf_counter()
        lab = Lab(name, options.out, scale=options.scale, seeds=range(options.seeds))
        try:
            claims: list[Claim] = list(entry.run(lab))
        finally:
            lab.close()
        write_json(options.out / f"{name}-{options.scale}.json", [asdict(claim) for claim in claims])
        print(text_of(name, entry.paper, claims), flush=True)
        print(f"\n{time.perf_counter() - began:.0f} s\n", flush=True)
        summary += [[entry.paper, claim.text, claim.shown] for claim in claims]
    print(tabulate(summary, headers=["paper", "claim", "at this size"], maxcolwidths=[24, 80, None]))
    if options.scale == "quick":
        print("quick: a proof that the experiments run, no evidence")
    print(json.dumps({"torch": torch.__version__, "threads": 1, "seeds": options.seeds, "scale": options.scale}))


if __name__ == "__main__":
    main()
