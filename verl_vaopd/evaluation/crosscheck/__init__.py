"""Our scores beside those of other evaluation frameworks, for the same responses.

- cases.py            what is scored: invented questions and responses (cases.yaml, *_cases.py), or a user's responses
- backends.py         the frameworks: what they have to be installed, what of ours they are compared with
- layouts.py          the files that they read, and the columns that these must have (columns.yaml)
- runners/            scripts for the interpreter of another environment; they import nothing of this package
- outcomes.py         runs such a script; what it wrote, or an earlier run of it did
- comparison.py       where we differ, on responses and on group metrics
- known.yaml          the differences that are known, and why we keep them
- report.py           the page docs/crosscheck.md, and a summary
"""
