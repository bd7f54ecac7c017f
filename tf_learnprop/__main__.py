"""`python -m tf_learnprop`: the command line."""

import sys

import tf_learnprop_command

if __name__ == "__main__":
    sys.exit(tf_learnprop_command.main())
