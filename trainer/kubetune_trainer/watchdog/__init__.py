"""What each rank does, told by beats; and what a rank that does nothing any more means for the run."""
