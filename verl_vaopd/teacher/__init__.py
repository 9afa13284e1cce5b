"""The Ray-hosted teacher: worker, engine, and what it returns."""
