"""What student and teacher agree on besides their tokens: chat template, ends of a response, image processor.

The teacher is given the student's token ids and pixel values, and scores them whatever it was trained on itself. Read
are the small files beside config.json; one that is not there is told and not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.config.checks.models import PROCESSOR_FILES, known_directory, token_ids
from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.config.preflight import NotMeasured

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
"""Where a chat template is: transformers takes the first."""
IMAGE_SETTINGS = (
    *("patch_size", "merge_size", "temporal_patch_size", "size", "min_pixels", "max_pixels"),
    *("do_resize", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "resample"),
)
"""Of an image processor: which grid an image becomes, and which numbers its pixels."""
_OTHER = "a teacher of the student's family, or a student directory with the teacher's file"


def chat_template(cfg: DictConfig, findings: Findings) -> str:
    """Both were taught the same form of a conversation."""
    found = _of_both(cfg, _template)
    if None in found:
        return _not_compared(found, "chat template")
    student, teacher = (text.splitlines() for text in found)
    line = next((n for n, (a, b) in enumerate(zip(student, teacher, strict=False), 1) if a != b), None)
    if line is None and len(student) != len(teacher):
        line = min(len(student), len(teacher)) + 1
    if line is not None:
        ours, theirs = (text[line - 1] if line <= len(text) else "nothing" for text in (student, teacher))
        findings.require(
            False,
            "student and teacher have different chat templates",
            got=f"line {line}: {ours.strip()[:80]!r} in the student, {theirs.strip()[:80]!r} in the teacher",
            expected="one template: the teacher scores prompts in the student's",
            fix=_OTHER,
        )
    return f"the same chat template, {len(student)} lines"


def end_tokens(cfg: DictConfig, findings: Findings) -> str:
    """Both end a response with the same ids, and pad with the same."""
    found = _of_both(cfg, _ends)
    if None in found:
        return _not_compared(found, "generation_config.json")
    student, teacher = found
    for name in ("eos", "pad"):
        ours, theirs = student[name], teacher[name]
        findings.require(
            ours == theirs,
            f"student and teacher have different {name} tokens",
            got=f"ids {ours or 'none'} in the student, {theirs or 'none'} in the teacher",
            expected="the same in generation_config.json and tokenizer_config.json: else the teacher goes on where the "
            "student ends",
            fix=_OTHER,
        )
    return f"responses end at ids {student['eos']}, padding is {student['pad']}"


def image_grid(cfg: DictConfig, findings: Findings) -> str:
    """Both make the same patches of an image."""
    found = _of_both(cfg, _image_processor)
    if None in found:
        return _not_compared(found, "image processor")
    student, teacher = found
    for name in IMAGE_SETTINGS:
        ours, theirs = student.get(name), teacher.get(name)
        findings.require(
            ours == theirs,
            f"student and teacher prepare images differently ({name})",
            got=f"{ours} in the student, {theirs} in the teacher",
            expected="the same: the teacher is given what the student's processor makes of an image",
            fix=_OTHER,
        )
    told = {name: student[name] for name in IMAGE_SETTINGS[:6] if student.get(name) is not None}
    return listing(f"{name} {value}" for name, value in told.items())


def _of_both(cfg: DictConfig, read: Any) -> list[Any]:
    paths = (known_directory(cfg[role].path) for role in ("student", "teacher"))
    return [None if path is None else read(path) for path in paths]


def _not_compared(found: list[Any], what: str) -> NotMeasured:
    roles = [role for role, value in zip(("student", "teacher"), found, strict=True) if value is None]
    return NotMeasured(f"no {what} on this machine of the {' and the '.join(roles)}")


def _template(path: Path) -> str | None:
    for name in TEMPLATE_FILES:
        if (path / name).is_file():
            text = (path / name).read_text(encoding="utf-8")
            template = text if name.endswith(".jinja") else json.loads(text).get("chat_template")
            if isinstance(template, str):
                return template
    return None


def _ends(path: Path) -> dict[str, list[int]] | None:
    given = [_json(path / name) for name in ("generation_config.json", "tokenizer_config.json")]
    if given == [None, None]:
        return None
    generation, tokenizer = (content or {} for content in given)
    ids = token_ids(path)
    return {
        name: sorted({*_ids_of(generation.get(f"{name}_token_id"), ids), *_ids_of(tokenizer.get(f"{name}_token"), ids)})
        for name in ("eos", "pad")
    }


def _ids_of(value: Any, ids: dict[str, int]) -> Iterator[int]:
    """Ids of a token that a file gives as an id, several ids, a text, or a text with settings."""
    for each in value if isinstance(value, list) else [value]:
        token = each.get("content") if isinstance(each, dict) else each
        if isinstance(token, int):
            yield token
        elif token in ids:
            yield ids[token]


def _image_processor(path: Path) -> dict[str, Any] | None:
    found = (_json(path / name) for name in PROCESSOR_FILES)
    return next((content.get("image_processor", content) for content in found if content is not None), None)


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
