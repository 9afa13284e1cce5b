"""Rows of training that are also in validation, test or a benchmark: found by picture and by question.

Two rows match in one of KINDS. A picture is the same if its pixels are, or nearly the same by a perceptual hash
(pictures.py); one of a single colour says nothing and is not compared. A question is the same if nothing but layout
differs, or nearly the same if it has the same numbers and almost the same words (questions.py). Hundreds of problems
ask "Find x.", so a question without its picture counts only if it is specific, or if neither row has a picture.
"""

KINDS = ("image+question", "image", "question")
"""What two rows have in common, the strongest first."""
