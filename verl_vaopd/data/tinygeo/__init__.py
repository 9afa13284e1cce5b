"""tinygeo: a generated geometry world in which every answer hangs on two-digit numbers read off an image.

It exists so that the whole system runs without downloads and without a GPU: `figures` draws, `questions` words,
`dataset` generates splits and parquet files, `build` trains the shipped teacher and student.
"""
