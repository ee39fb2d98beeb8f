"""The result of a run: published so that no reader ever sees half of it, and judged before it counts."""
