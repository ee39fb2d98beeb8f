"""The operator: watches FineTuneJobs, plans what should exist, and makes it so. No torch, no Ray, no DeepSpeed."""
