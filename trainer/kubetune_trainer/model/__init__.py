"""Pretrained models: loading, heads, freezing."""
