"""`python -m loadtests.peers`: install other servers and clients. Exit code 1: one of them could not be had."""

import sys

from loadtests.peers import NAMES, NotInstalled, install, versions


def main() -> int:
    failed = 0
    for name in NAMES:
        print(f"{name} {versions(name)} ...", flush=True)
        try:
            install(name)
        except (NotInstalled, OSError) as error:
            failed = 1
            print(f"not installed: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
