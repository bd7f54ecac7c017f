"""The start of the command line: `tf-learnprop`, or `python -m tf_learnprop`."""

import sys


def main() -> int:
    """Runs the command; see `tf_learnprop.cli.main`."""
    try:
        from tf_learnprop import cli

        return cli.main()
    except KeyboardInterrupt:  # before the command has begun
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
