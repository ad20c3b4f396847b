"""`make fuzz`: a million inputs for everything that reads bytes from outside, or as many as are asked for."""

import argparse
import sys
import time

from tests.fuzz.run import Finding, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="over all targets (default: a million)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    options = parser.parse_args()
    names = [options.target] if options.target else list(TARGETS)
    found = False
    for name in names:
        began = time.monotonic()
        try:
            outcome = fuzz(name, TARGETS[name], cases=-(-options.cases // len(names)), seed=options.seed)
        except Finding as finding:
            found = True
            print(f"FOUND {finding}", file=sys.stderr)  # noqa: T201  # the result
            continue
        line = f"{name:20} {outcome.cases:>9,} inputs, {outcome.refused:>9,} refused, {time.monotonic() - began:6.1f} s"
        print(f"{line}, slowest {outcome.slowest_s * 1000:.1f} ms", flush=True)  # noqa: T201  # the result
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
