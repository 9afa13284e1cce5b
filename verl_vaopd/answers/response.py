"""Where the final answer stands in a response: after the thinking, in the last box or after the last answer mark.

Everything here takes time linear in the length of the response, whatever it holds.
"""

import re

from verl_vaopd.answers.closing import strip_courtesies, strip_end_tokens
from verl_vaopd.answers.rewards import extract_boxed

_THINK_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<(/?)answer>(?!\s?:)", re.IGNORECASE)  # with a colon it is a mark
# "answer:", "ans:", "the answer to the question is", "**Answer**:", "<Answer>: <<", "correct option is (", "### Answer"
_MARK = re.compile(
    r"(?:\banswers?(?: (?:to|that|which) [^.:\n]{1,50}?| here| choice)?|\bans(?=\s?[.:])\.?"
    r"|\b(?:correct|best) (?:option|choice|answer)(?: letter)?|\boption letter|答案|选项)[\s*_>\]\"')]{0,6}"
    r"(?:(?<![A-Za-z])(?:is|are|would be|should be|must be)\b[\s:]{0,4}|[:：=是为])"
    r"(?:[\s*_:：]|>(?=[\s*_:：>]{0,6}[\w(<\\$])){0,6}"  # "The answer is >." keeps its sign
    r"|\bans\.\s"
    r"|^[#*_ ]{0,6}(?:final )?answer[*_: ]{0,6}\n"
    r"|(?:[故应以此]|^|[，,。;；])选(?:择)?[:：]?(?=\W{0,3}[A-JＡ-Ｊ])",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?。](?=\s|$)|[,;] (?=because|since|as|so|which)")
_BARE_NUMBER = re.compile(r"^\s{0,9}-?[\d.,]{1,20}\s{0,9}$", re.ASCII)
_MAX_LAST_LINE = 60  # characters


def strip_thinking(text: str) -> str:
    """The text without its think-blocks.

    Blocks may be nested. What precedes an end tag without a beginning was thought too (the beginning may have been part
    of the prompt). A beginning without an end: what follows was thought, up to the last end tag if there is any, else
    to the end of the text: the response was cut off while thinking.
    """
    tags = [(match.start(), match.end(), bool(match[1])) for match in _THINK_TAG.finditer(text)]
    last_end = max((end for _, end, closes in tags if closes), default=0)
    thoughts: list[tuple[int, int]] = []
    open_tags: list[int] = []
    for start, end, closes in tags:
        if not closes:
            open_tags.append(start)
        elif open_tags:
            thoughts.append((open_tags.pop(), end))
        else:
            thoughts.append((0, end))
    thoughts += [(start, last_end if start < last_end else len(text)) for start in open_tags]
    kept, position = [], 0
    for start, end in sorted(thoughts):
        kept.append(text[position : max(start, position)])
        position = max(position, end)
    return "".join([*kept, text[position:]])


def final_text(response: str) -> str:
    """What a response says: without thinking, without end tokens, without the courtesies that it closes with."""
    return strip_courtesies(strip_end_tokens(strip_thinking(response)))


def marked_answers(text: str) -> list[list[str]]:
    """The final answer where a text without thinking marks it, most binding mark first, in one or two readings each.

    The last box; the last <answer> element; what stands after the last answer mark, to the end of its line and to the
    end of its sentence. Which of them is an answer, those have to say who know what to expect.
    """
    box = extract_boxed(text)
    found = [[] if box is None else [box]]
    tags = [match for match in _ANSWER_TAG.finditer(text) if not match[1]]
    if tags:
        found.append([text[tags[-1].end() :].partition("</")[0]])
    marks = list(_MARK.finditer(text))
    if marks:
        line = text[marks[-1].end() :].lstrip().partition("\n")[0]
        found.append([line, _SENTENCE_END.split(line, maxsplit=1)[0]])
    stripped = [[reading.strip() for reading in readings if reading.strip()] for readings in found]
    return [readings for readings in stripped if readings]


def last_line(text: str) -> str:
    """The last line of a text if it can be an answer by itself, else an empty one: too long, or the end of a list."""
    before, _, line = text.rstrip().rpartition("\n")
    if len(line) > _MAX_LAST_LINE or all(map(_BARE_NUMBER.match, (line, before.rstrip().rpartition("\n")[2]))):
        return ""
    return line.strip()


def answer_candidates(text: str) -> list[str]:
    """Everything that may be the final answer, the most binding first."""
    return [reading for readings in [*marked_answers(text), [last_line(text)]] for reading in readings if reading]
