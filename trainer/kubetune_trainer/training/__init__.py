"""The training itself: batches, DeepSpeed engine, loop, evaluation."""
