"""One file per benchmark; BENCHMARKS has them all by name."""
