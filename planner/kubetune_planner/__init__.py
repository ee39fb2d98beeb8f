"""The planner: how much memory a training needs on each accelerator, and how it is best spread. Arithmetic only."""
