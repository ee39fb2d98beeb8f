"""`FineTuneJob`: what is seen of it, what should be there, and why."""
