"""python -m suffuse: the command line where the `suffuse` script is not on the path."""

from suffuse.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
