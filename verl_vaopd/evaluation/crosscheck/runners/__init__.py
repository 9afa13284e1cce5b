"""Scripts for other interpreters: each runs one framework's scorers on files that layouts.py wrote.

They import the standard library and the framework. A directory is their only argument; in it they read responses/ and
write outcomes.jsonl: a header about the framework, one row per case, and one row of group metrics per benchmark that
has them, under our names and as percentages.
"""
