"""Texts for property tests: any characters, and the pieces that answers are made of in any order."""

from hypothesis import strategies as st

PIECES = [
    "\\boxed{", "}", "{", "(", ")", "[", "]", "\\frac", "\\sqrt", "^", "_", "\\text{", "$", "**", "<", ">", "<think>",
    "</think>", "<answer>", "</answer>", "Answer: ", "The answer is ", "answer", "A", "(B)", "C.", "yes", "no", "1,234",
    "-", "−", "1/2", "0.5", "%", "°", " cm", "=", "x", "to", " and ", ":", ",", "\n", " ", "9", "1e999", "π", "½", "²",
    "\\left(", "\\right]", "\\pm", "\\", "'", '"', "٣", "\x00", "\ud800", "是", "Z", "nan", "inf",
]  # fmt: skip
responses = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
thoughts = responses.filter(lambda text: "<" not in text)
