"""Where lmms-eval scores otherwise."""

from __future__ import annotations

from verl_vaopd.evaluation.crosscheck.difference import Difference, right

_THOUGHTS = (
    "lmms-eval cuts think-blocks out before it scores. The benchmark's own scorer, which `official` reproduces, reads "
    "them like anything else; our `rule` cuts them out, too."
)

_CHOICE = (
    Difference(
        "lmms-eval",
        "wemath",
        "needs a tag",
        "lmms-eval has its task for WeMath for reasoning models only: nothing counts but an `<answer>` element, the "
        "last box, or a number at the end. `rule` also reads answers that are marked in words, or stand alone.",
        (
            *right("letter", "period", "brackets", "right bracket", "bold", "quoted", "letter and text"),
            *right("bold letter and text", "letter, colon, text", "option", "answer is", "answer is, brackets"),
            *right("answer is, reason", "reason after", "answer, colon", "answer, bold", "answer, bold letter"),
            *right("answer, brackets", "answer, newline", "answer, heading", "template", "thought, letter"),
            *right("thought, glued", "text", "text, capitals", "small letter", "small letter, brackets"),
            *right("second thoughts", "wide letter", "Chinese", "formula"),
        ),
    ),
    Difference(
        "lmms-eval",
        "ai2d",
        "nothing but the letter",
        "lmms-eval asks for the letter alone and wants the response to be it, but for case and punctuation, or to "
        "begin with it and a full stop. Both of our protocols look for it in the response.",
        (
            *right("bold letter and text", "letter, colon, text", "option", "answer is", "answer is, brackets"),
            *right("answer is, reason", "reason after", "answer, colon", "answer, bold", "answer, bold letter"),
            *right("answer, brackets", "answer, newline", "answer, heading", "answer element", "template", "box"),
            *right("box, text", "box in a formula", "box, letter and text", "thought, box"),
            *right("text", "text, capitals", "second thoughts", "wide letter", "Chinese", "formula"),
            *("number", "option None"),
        ),
    ),
    Difference(
        "lmms-eval",
        "mmstar",
        "any letter",
        "lmms-eval takes a capital A to D from anywhere: the first or last letter, one of two, an article, one inside "
        "a word. `rule` wants an answer that is marked, or stands alone, and names one option.",
        (
            *right("last word", "letters together", "letter, then a paragraph", "JSON", "answer, full stop"),
            *("either/wrong", "refusal, then a letter", "article", "article, then the answer", "word with a capital"),
            "option NA",
        ),
    ),
    Difference(
        "lmms-eval",
        "mmstar",
        "thoughts",
        "lmms-eval cuts out think-blocks that have an end, and reads one that has none. `rule` finds no answer in a "
        "response that was cut off while thinking.",
        ("unfinished thought/right",),
    ),
    Difference(
        "lmms-eval",
        "mmstar",
        "texts and other letters",
        "lmms-eval never takes the text of an option, a small letter or a wide one for an answer. `rule` does, where "
        "nothing else is said.",
        (
            *right("text", "text, capitals", "small letter", "small letter, brackets", "wide letter"),
            *("number", "option None"),
        ),
    ),
)
_OTHERS = (
    Difference(
        "lmms-eval",
        "mmmu",
        "ends of words",
        "lmms-eval takes a letter before a space or a full stop, also at the end of a word. MMMU's own parser, which "
        "`official` reproduces, wants a space on both sides.",
        (
            *right("letter and text", "bold letter and text", "answer, newline", "answer, heading", "Chinese"),
            *right("box, letter and text", "thought, glued", "letters together"),
            "option NA",
        ),
    ),
    Difference("lmms-eval", "mmmu", "thoughts", _THOUGHTS, ("thought, letter/right", "thought, letter/wrong")),
    Difference(
        "lmms-eval",
        "mmmu",
        "several golds",
        "The data set has several golds as the text of a list, which lmms-eval takes for one gold, brackets and all: "
        "such questions are never right. Here they are read, as in MMMU's own answer file.",
        (
            *("open 24/7 or 3.429/3.429", "open 24/7 or 3.429/The ratio is 3.43"),
            *("open 24/7 or 3.429/The ratio is 24/7", "open Tampa or Florida/The state is Florida"),
        ),
    ),
    Difference(
        "lmms-eval",
        "mathvista",
        "precision",
        "The data set has the precision as a float, 1.0, by which Python's round() fails: lmms-eval calls every answer "
        "of type float wrong. Here it is taken for the number of decimals that it means.",
        (
            *(
                "float/1.2 [1.2]",
                "float/1.2 m [1.2]",
                "float/1.20*",
                "float/1.24*",
                "float/1.25*",
                "float/\\boxed{1.2}*",
            ),
            *("two decimals/0.67*", "two decimals/.67*", "two decimals/0.6666*", "two decimals/2/3*"),
        ),
    ),
    Difference(
        "lmms-eval",
        "mathvista",
        "failed calls",
        "lmms-eval goes on with an empty extraction when its judge fails. Here such a response stays unscored, is "
        "counted, and is asked about again on resume.",
        ("choice/Who knows?*", "integer/Who knows?*"),
    ),
    Difference(
        "lmms-eval",
        "mathverse",
        "one call",
        "lmms-eval asks its judge once, about the whole response: a 1 anywhere in the reply means right, anything else "
        "wrong. MathVerse's own scorer, which `official` follows, takes nothing but 0 or 1.",
        (
            *("22.3 m/\\boxed{22.3} [yes]", "22.3 m/About 22.3 [The answer is 1]"),
            *("22.3 m/About twenty-two*", "22.3 m/Some metres*"),
        ),
    ),
    Difference(
        "lmms-eval",
        "hallusionbench",
        "failed calls",
        "lmms-eval takes a call that fails for the judgement 'unclear', which is wrong. Here such a response stays "
        "unscored, is counted, and is asked about again on resume.",
        ("Yes/Failed to obtain answer via API.", "No/Failed to obtain answer via API."),
    ),
    Difference(
        "lmms-eval",
        "ocrbench",
        "wide characters",
        "lmms-eval takes wide letters and digits for ordinary ones. OCRBench's own scorer, which `official` follows, "
        "does not; our `rule` does.",
        ("word/ＣＬＵＢ", "digits/００１２"),
    ),
    Difference("lmms-eval", "ocrbench", "thoughts", _THOUGHTS, ("word/<think>CLUB?</think> PUB",)),
)

DIFFERENCES = (*_CHOICE, *_OTHERS)
