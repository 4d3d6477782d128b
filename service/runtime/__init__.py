"""Models found on disk, held in memory, and run."""
