"""`python -m tf_learnprop`: the command line."""

import sys

from tf_learnprop import cli

if __name__ == "__main__":
    sys.exit(cli.main())
