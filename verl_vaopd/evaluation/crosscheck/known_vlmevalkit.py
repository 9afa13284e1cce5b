"""Where VLMEvalKit scores otherwise."""

from __future__ import annotations

from verl_vaopd.evaluation.crosscheck.difference import Difference, right

_MISSING_CELLS = (
    "Its spreadsheets give cells that say None or NA back as missing values: such an option is lost, and in MMMU the "
    "question is taken for an open one. Here a text is a text."
)
_FAILED_CALLS = (
    "When the judge fails or its reply says nothing, VLMEvalKit guesses or calls the response wrong. Here it stays "
    "unscored, is counted, and is asked about again on resume."
)

_CHOICE = tuple(
    difference
    for benchmark in ("ai2d", "mmstar")
    for difference in (
        Difference("vlmevalkit", benchmark, "missing cells", _MISSING_CELLS, ("option None, letter",)),
        Difference("vlmevalkit", benchmark, "failed calls", _FAILED_CALLS, ("judge rambles", "judge fails")),
    )
)
_MMMU = (
    Difference(
        "vlmevalkit",
        "mmmu",
        "letters beside punctuation",
        "VLMEvalKit scores MMMU with the parser that it has for all multiple choice. `official` is MMMU's own, which "
        "knows a letter in round brackets and one between two spaces, and nothing else.",
        (
            *right("right bracket", "bold", "letter and text", "bold letter and text", "letter, colon, text"),
            *right("answer is, reason", "answer, bold letter", "answer, newline", "answer, heading", "formula"),
            *right("box", "box, text", "box in a formula", "box, letter and text"),
        ),
    ),
    Difference(
        "vlmevalkit",
        "mmmu",
        "several letters",
        "VLMEvalKit wants one letter in all, among the last four words, or the first after 'answer is'. MMMU's own "
        "parser takes the last letter, wherever it stands, also a guess or an article.",
        (
            *right("reason after", "either", "second thoughts"),
            *("second thoughts/wrong", "thought, letter/wrong", "refusal, then a letter", "article"),
        ),
    ),
    Difference(
        "vlmevalkit",
        "mmmu",
        "texts of options",
        "VLMEvalKit takes the text of exactly one option from a response of up to twice the length of all of them. "
        "MMMU's own parser takes the last text, in more than five words.",
        (
            *right("text", "text in a sentence", "text, capitals", "paragraph, then text"),
            *("option in another number", "number", "number in a sentence"),
        ),
    ),
    Difference("vlmevalkit", "mmmu", "missing cells", _MISSING_CELLS, ("option None", "option NA")),
    Difference(
        "vlmevalkit",
        "mmmu",
        "open questions",
        "VLMEvalKit turns an open question into the choice between the published answer and 'Other Answers', and looks "
        "for that text or for the letter A. MMMU's own parser looks for numbers and texts.",
        (
            *("open 24/7 or 3.429/3.429", "open 24/7 or 3.429/The ratio is 3.43"),
            *("open 24/7 or 3.429/The ratio is 24/7", "open 1234.5/*", "open 2000/so x = 2e3", "open 4/It is 40"),
            *("open Tampa or Florida/The state is Florida", "open B/b", "open mitochondria/A", "open x = 5/*"),
        ),
    ),
)
_MATHVISTA = (
    Difference(
        "vlmevalkit",
        "mathvista",
        "nearest choice",
        "MathVista's own scorer takes the choice nearest to the extraction, and a small letter in brackets. VLMEvalKit "
        "wants a capital letter or the text of a choice.",
        (
            *("choice/So b [(b)]", "choice/Fourteen tens and five [145]", "choice/A hundred and forty-five*"),
            "choice/About as much as 145 degrees*",
        ),
    ),
    Difference(
        "vlmevalkit",
        "mathvista",
        "refusals",
        "VLMEvalKit takes some refusals, word for word, for the answer 'none', and asks no judge. MathVista's own "
        "scorer asks one about every response that is not a choice itself.",
        ("choice/Cannot determine the answer*",),
    ),
    Difference(
        "vlmevalkit",
        "mathvista",
        "empty responses",
        "VLMEvalKit asks its judge what an empty response says. MathVista's own scorer takes it for an empty "
        "extraction, to which the shortest choice is the nearest.",
        ("choice/ [B]", "shortest choice/ [B]", "integer/ [14]"),
    ),
    Difference(
        "vlmevalkit",
        "mathvista",
        "rounding",
        "MathVista's own scorer takes int(float()) of an integer and rounds a float to the published precision. "
        "VLMEvalKit takes int() and compares floats as they are.",
        (
            *("integer/14.0*", "integer/14.7*", "thousands/1.4e3*"),
            *("float/1.24*", "float/1.25*", "two decimals/0.6666*"),
        ),
    ),
    Difference(
        "vlmevalkit",
        "mathvista",
        "lists",
        "VLMEvalKit compares a list with the text 'None', so that none is ever right. MathVista's own scorer compares "
        "the extraction with the published text.",
        ("list/[2014, 2016]*", "list/2014 and 2016 [[*"),
    ),
    Difference(
        "vlmevalkit",
        "mathvista",
        "failed calls",
        _FAILED_CALLS,
        ("choice/Who knows?*", "integer/Who knows?*"),
    ),
)
_OTHERS = (
    Difference(
        "vlmevalkit",
        "mathverse",
        "failed calls",
        _FAILED_CALLS,
        (
            *("22.3 m/\\boxed{22.3} [yes]", "22.3 m/About 22.3 [The answer is 1]"),
            *("22.3 m/About twenty-two*", "22.3 m/Some metres*"),
        ),
    ),
    Difference(
        "vlmevalkit",
        "hallusionbench",
        "words yes and no",
        "HallusionBench's own scorer needs a judge; without one VLMEvalKit wants one of the words yes and no, free of "
        "asterisks and quotes, and not the other. `rule` also takes a first word with a pause after it.",
        (
            *("Yes/Yes, there is no doubt.", "Yes/**Yes**"),
            "No/It says 'no', which yesterday meant something else",
        ),
    ),
)

DIFFERENCES = (*_CHOICE, *_MMMU, *_MATHVISTA, *_OTHERS)
