"""The trainer: from a job to a verified model."""
