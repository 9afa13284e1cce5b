"""One file per kind of file that questions and responses are published in, and what an image is in all of them.

Each yields Entries; published.py chooses by the file's name. Whatever the kind, an empty cell is a missing value, and
texts like "None" or "NA" are texts.
"""
