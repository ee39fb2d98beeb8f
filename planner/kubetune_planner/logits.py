"""The scores over a vocabulary that are in memory at a time."""

AT_A_TIME = 1 << 27
"""Of a micro-batch with more of them, the loss is worked out in chunks: 1,046 tokens of a vocabulary of 128,256."""
