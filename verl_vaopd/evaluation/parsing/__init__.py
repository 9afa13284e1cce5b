"""From published files and free text to things that can be compared. Standard library only, except for parquet."""
