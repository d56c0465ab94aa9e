"""Training and recommending for many users and tracks: CPU seconds on one thread and peak memory, beside `implicit`.

Each step runs in a process of its own. The interactions are random, with popularity falling off as 1 / (rank + 100).

python benchmarks/recommendation.py [--users 100000] [--tracks 50000] [--per-user 30] [--factors 64] [--sweeps 3]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import resource
import subprocess
import sys
import time

STEPS = ("als", "implicit-als", "hybrid", "recommend")


def step(name: str, args: argparse.Namespace) -> None:
    """Run one step; prints its CPU seconds and the peak of the whole process in MiB."""
    import numpy as np
    import scipy.sparse as sp

    from stemfeatures.recommendation.factorization import Settings
    from stemfeatures.recommendation.fit import fit_recommender
    from stemfeatures.recommendation.models import Recommender
    from stemfeatures.recommendation.ranking import recommend

    rng = np.random.default_rng(0)
    n = args.users * args.per_user
    odds = 1 / (np.arange(args.tracks) + 100)
    track = rng.choice(args.tracks, n, p=odds / odds.sum())
    user = np.repeat(np.arange(args.users), args.per_user)
    matrix = sp.coo_matrix((np.ones(n, np.float32), (user, track)), shape=(args.users, args.tracks)).tocsr()
    ids = np.arange(args.tracks).astype(str)
    settings = Settings(args.factors, args.sweeps, regularization=0.01)
    if name == "recommend":
        vectors = rng.standard_normal((args.tracks, args.factors)).astype(np.float32)
        model = Recommender(
            "als",
            ids,
            vectors,
            np.ones(args.tracks, np.float32),
            settings,
            gram=vectors.T @ vectors,
            n_gram=args.tracks,
        )
    features = rng.standard_normal((args.tracks, args.features)).astype(np.float32) if name == "hybrid" else None
    start = time.process_time()
    if name == "recommend":
        assert sum(len(r.tracks) for r in recommend(model, matrix, k=10)) == args.users
    else:
        fit_recommender(name, matrix, ids, settings=settings, features=features)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.process_time() - start:.1f} {peak:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tracks", type=int, default=50_000)
    parser.add_argument("--per-user", type=int, default=30)
    parser.add_argument("--features", type=int, default=300)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--sweeps", type=int, default=3)
    parser.add_argument("--one", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        step(args.one, args)
        return
    dense = args.users * args.tracks * 4 / 2**20
    print(f"{args.users:,} users, {args.tracks:,} tracks; their dense matrix would be {dense:,.0f} MiB")
    print("step           CPU s  peak MiB")
    for name in STEPS:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", name], check=True, capture_output=True, text=True
        )
        cpu, peak = done.stdout.split()
        print(f"{name:<13}{cpu:>7}{peak:>10}", flush=True)


if __name__ == "__main__":
    main()
