"""speedup: a training script that costs less at the same result: patches, each verified by running both."""
