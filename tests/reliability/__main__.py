"""``python -m tests.reliability training --kills 50``: the long version of the kill tests."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.reliability.kill import kill_preparing, kill_saving, kill_training
from tests.reliability.ranks import kill_ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("training", "saving", "preparing", "ranks"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "training":
            n = kill_training(options.kills, Path(folder), options.seed)
            print(f"{options.kills} kills during {n} trainings: all {n} ended bitwise equal to the uninterrupted run")
        elif options.what == "ranks":
            longest = kill_ranks(options.kills, Path(folder), options.seed)
            print(f"{options.kills} kills of one rank of two: all runs ended bitwise equal to the uninterrupted run")
            print(f"the other rank ended at most {longest:.0f} s later")
        elif options.what == "preparing":
            n = kill_preparing(options.kills, Path(folder), options.seed)
            print(f"{options.kills} kills during {n} preparations of 600 images: all {n} ended with the same shards")
        else:
            n = kill_saving(options.kills, Path(folder), options.seed)
            print(f"{options.kills} kills while {n} checkpoints were written: the newest always loaded")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
