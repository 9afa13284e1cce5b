"""Student and teacher must read the same tokens and the same image patches; local paths must exist.

Compared are two small files, config.json and tokenizer.json; checks/agreement.py compares more. Those of a hub id are
downloaded into the Hugging Face cache if they are not there and the hub answers; otherwise the trainer compares the
loaded tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd import hub
from verl_vaopd.config.checks.weights import get_the_file, is_pointer
from verl_vaopd.config.errors import ConfigError, Findings, Problem, listing
from verl_vaopd.config.following import longest_rollout
from verl_vaopd.config.paths import ASSETS_DIR
from verl_vaopd.data.generated import EMBEDDED

TOKEN_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
COMPARED = ("config.json", "tokenizer.json")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
"""Where the settings of the image processor are: the newer place first."""
ALSO_COMPARED = (
    *("generation_config.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"),
    *PROCESSOR_FILES,
)
"""By checks/agreement.py, where a model has them."""
HUB_TIMEOUT_S = 3
PATCHES = ("in_channels", "patch_size", "temporal_patch_size", "spatial_merge_size")
"""Of config.json's vision_config: the teacher is given the student's pixel values."""


def check_models(cfg: DictConfig, findings: Findings) -> None:
    """Both model paths, and whether the two models fit together."""
    paths = {key: Path(cfg[key].path).expanduser() for key in ("student", "teacher")}
    student, teacher = (_directory(key, cfg[key].path, path, findings) for key, path in paths.items())
    tiny = [key for key, path in paths.items() if path.is_relative_to(ASSETS_DIR)]
    hub = [key for key, path in paths.items() if not path.exists() and key not in tiny]
    fit = findings.require(
        not (tiny and hub),
        "student and teacher do not read the same tokens",
        got=f"student.path={cfg.student.path}, teacher.path={cfg.teacher.path}",
        expected="both or neither of the tiny models, which have a tokenizer of their own",
        fix=f"e.g. student=2b teacher=8b, or student=tiny teacher=tiny dataset={EMBEDDED}",
    )
    if fit and student is not None and teacher is not None:
        findings.problems += compatibility_problems(student, teacher)
        _check_positions(cfg, {"student": student, "teacher": teacher}, findings)


def compatibility_problems(student: Path, teacher: Path) -> list[Problem]:
    """What keeps the teacher from scoring the student's tokens and images.

    Compared: vocabulary, merges and added tokens of tokenizer.json; ids of the image tokens, and the patch geometry,
    of config.json. Heads may be padded differently.
    """
    return [
        Problem(
            "student and teacher do not read the same tokens and image patches",
            got=difference,
            expected="one tokenizer and one image geometry for both: the KL compares them token by token",
            fix=f"choose a teacher of the student's family (student {student}, teacher {teacher})",
        )
        for difference in _differences(student, teacher)
    ]


def _check_positions(cfg: DictConfig, paths: dict[str, Path], findings: Findings) -> None:
    positions: dict[str, int | None] = {}
    for role, path in paths.items():
        config = _read(path / "config.json")
        positions[role] = config.get("text_config", config).get("max_position_embeddings")
    longest = longest_rollout(cfg)
    least = min((number for number in positions.values() if number is not None), default=longest)
    response = min(cfg.data.max_response_length, least // 2)
    shorter = f"data.max_prompt_length={least - response} data.max_response_length={response}"
    for role, number in positions.items():
        findings.require(
            number is None or number >= longest,
            f"the longest rollout does not fit into the {role}",
            got=f"{paths[role]}: max_position_embeddings={number}",
            expected=f"at least data.max_prompt_length + data.max_response_length = {longest}",
            fix=f"{shorter}, or a model for longer texts",
        )


def _directory(key: str, given: str, path: Path, findings: Findings) -> Path | None:
    """Where a model's two files are on this machine; None for a hub id while the hub is out of reach: no problem."""
    if not path.exists() and hub.ID.fullmatch(given):
        return _cached(given) or _downloaded(key, given, findings)
    shipped = path.is_relative_to(ASSETS_DIR)
    there = findings.require(
        (path / "config.json").is_file(),
        f"the {key} is not there",
        got=f"{key}.path={given}" + ("" if path.exists() else " (no such directory)"),
        expected="a directory with config.json and tokenizer.json, or a Hugging Face id",
        fix=f"`vaopd {EMBEDDED} build` makes the tiny models" if shipped else f"correct {key}.path",
    )
    return path if there else None


def known_directory(model: str) -> Path | None:
    """Where a model's small files are on this machine, without asking the hub; None where they are not."""
    path = Path(model).expanduser()
    if path.exists():
        return path if (path / "config.json").is_file() else None
    return _cached(model) if hub.ID.fullmatch(model) else None


def token_ids(path: Path) -> dict[str, int]:
    """Token -> id of the tokenizer in a directory; {} without one."""
    file = path / "tokenizer.json"
    return _ids(_read(file)) if file.is_file() else {}


def vocabulary(cfg: DictConfig) -> str:
    """How many ids the tokenizer has, and how many more rows the heads: padding, which no distribution has."""
    told = []
    for role in ("student", "teacher"):
        path = known_directory(cfg[role].path)
        if path is None:
            told.append(f"{role} not on this machine")
            continue
        config = _read(path / "config.json")
        rows = config.get("text_config", config).get("vocab_size")
        num_ids = max(token_ids(path).values(), default=-1) + 1
        told.append(f"{role} {num_ids} ids, {rows} rows of the head" + (f", {rows - num_ids} left out" if rows else ""))
    return "; ".join(told)


def _cached(hub_id: str) -> Path | None:
    """The model's directory in the Hugging Face cache, if both files that are compared are in it."""
    from huggingface_hub import try_to_load_from_cache  # imported for hub ids alone

    found = [Path(file) for name in COMPARED if isinstance(file := try_to_load_from_cache(hub_id, name), str)]
    # Of one revision, hence in one directory.
    return found[0].parent if len(found) == len(COMPARED) else None


def _downloaded(key: str, hub_id: str, findings: Findings) -> Path | None:
    """The same from the hub, if it answers soon; a model that it does not have is a problem."""
    from httpx import HTTPError
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        # Asked once: hf_hub_download by itself would retry for half a minute.
        there = {file.rfilename for file in HfApi().model_info(hub_id, timeout=HUB_TIMEOUT_S).siblings or ()}
        if not there.issuperset(COMPARED):
            return None
        config, *_ = [Path(hf_hub_download(hub_id, name)) for name in (*COMPARED, *ALSO_COMPARED) if name in there]
        return config.parent
    except RepositoryNotFoundError:
        findings.require(
            False,
            f"the {key} is not on the hub",
            got=f"{key}.path={hub_id}",
            expected="a model that is there and that this machine's token may read, or a directory",
            fix=f"correct {key}.path; for a model with restricted access, `hf auth login`",
        )
    except (HTTPError, OSError):
        pass  # offline, or the hub is out of reach
    return None


def _differences(student: Path, teacher: Path) -> Iterator[str]:
    configs = [_read(path / "config.json") for path in (student, teacher)]
    for name in TOKEN_IDS:
        ids = [config.get(name) for config in configs]
        if ids[0] != ids[1]:
            yield f"{name} in config.json: student {ids[0]}, teacher {ids[1]}"
    for name in PATCHES:
        sizes = [config.get("vision_config", {}).get(name) for config in configs]
        if sizes[0] != sizes[1]:
            yield f"vision_config.{name} in config.json: student {sizes[0]}, teacher {sizes[1]}"
    files = [path / "tokenizer.json" for path in (student, teacher)]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        yield f"no {listing(absent)}"
        return
    tokenizers = [_read(file) for file in files]
    yield from _tokenizer_differences(*tokenizers)
    for role, config, tokenizer in zip(("student", "teacher"), configs, tokenizers, strict=True):
        rows = config.get("text_config", config).get("vocab_size")
        needed = max(_ids(tokenizer).values(), default=-1) + 1
        if rows is not None and rows < needed:
            yield f"the {role}'s head has {rows} rows (vocab_size), its tokenizer {needed} ids"


def _tokenizer_differences(student: dict[str, Any], teacher: dict[str, Any]) -> Iterator[str]:
    ours, theirs = _ids(student), _ids(teacher)
    different = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    if different:
        token = different[0]
        yield (
            f"{len(different)} tokens differ (student {len(ours)}, teacher {len(theirs)} in all), "
            f"e.g. {token!r}: id {ours.get(token, 'none')} in the student, {theirs.get(token, 'none')} in the teacher"
            f"; {first_different_ids(ours, theirs)}"
        )
    merges = [[_merge(pair) for pair in tokenizer["model"].get("merges", [])] for tokenizer in (student, teacher)]
    if not different and merges[0] != merges[1]:
        yield "the same tokens, but other merges in tokenizer.json: text is split differently"


def first_different_ids(ours: dict[str, int], theirs: dict[str, int], count: int = 3) -> str:
    """The first ids that stand for different tokens."""
    student, teacher = ({number: token for token, number in ids.items()} for ids in (ours, theirs))
    first = [n for n in sorted(student.keys() | teacher.keys()) if student.get(n) != teacher.get(n)][:count]
    told = listing(f"{n} ({student.get(n, 'none')!r}, {teacher.get(n, 'none')!r})" for n in first)
    return f"the first ids that differ (student, teacher): {told}"


def _ids(tokenizer: dict[str, Any]) -> dict[str, int]:
    """Token -> id, added tokens included."""
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    return {**tokenizer["model"]["vocab"], **added}


def _merge(pair: str | list[str]) -> str:
    """Older files write a merge as one string, newer ones as two."""
    return pair if isinstance(pair, str) else " ".join(pair)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        if is_pointer(path):
            raise ConfigError(
                Problem("a model's file is missing", f"{path}: a pointer of Git LFS", "the file", get_the_file(path))
            ) from error
        raise ConfigError(
            Problem("a model's file cannot be read", f"{path}: {error}", "JSON", "download or write the model again")
        ) from error
