"""The rules of one model as weights and plain values, and the files that hold them."""
