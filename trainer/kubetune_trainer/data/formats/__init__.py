"""Readers of data files, one format each."""
