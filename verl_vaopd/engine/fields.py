"""Every field of a rollout in TransferQueue that the code names: verl's own and those of this project.

docs/data_flow.md shows the table, as `python -m verl_vaopd.engine.fields` prints it. Imports no torch.

Axes: P prompt tokens, T response tokens, S = P + T, d hidden size of the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """What a field holds for one rollout, and between whom it travels; several readers with commas between them."""

    meaning: str
    written_by: str
    read_by: str
    shape: str = "(T)"
    dtype: str = "float32"


FIELDS: dict[str, Field] = {}
"""Every field by its name."""


def _field(name: str, *facts: str) -> str:
    FIELDS[name] = Field(*facts)
    return name


PROMPTS = _field("prompts", "token ids of the prompt", "agent loop", "driver", "(P)", "int64")
RESPONSES = _field("responses", "token ids of the response", "agent loop", "driver", "(T)", "int64")
INPUT_IDS = _field("input_ids", "prompt and response", "agent loop", "teacher, student", "(S)", "int64")
POSITION_IDS = _field("position_ids", "text, time, height, width", "agent loop", "teacher, student", "(4, S)", "int64")
RESPONSE_MASK = _field("response_mask", "1; padding 0", "agent loop", "teacher, student, driver", "(T)", "int64")
LOSS_MASK = _field("loss_mask", "the same", "agent loop", "teacher, student", "(T)", "int64")
IMAGES = _field("multi_modal_inputs", "clean images", "agent loop", "teacher, student", "patches", "dict")
RM_SCORES = _field("rm_scores", "verified score, at the last token", "agent loop", "driver")
INDEX = _field("index", "question in the data set", "agent loop", "driver", "()", "any")
ROLLOUT_LOG_PROBS = _field("rollout_log_probs", "by vLLM; not of stored responses", "agent loop", "driver")

# Other views, which the agent loop adds; {} for a prompt without images.
_VIEW = ("patches, `position_ids` (4, S)", "dict")
DEGRADED_INPUTS = _field("degraded_multi_modal_inputs", "degraded images", "agent loop", "teacher", *_VIEW)
MASKED_INPUTS = _field("masked_multi_modal_inputs", "masked images, for PAPO", "agent loop", "student", *_VIEW)
PRIVILEGED_INPUTS = _field(
    "privileged_inputs",
    "the prompt with the reference solution, for self-distillation",
    "agent loop",
    "teacher",
    "`input_ids` (S'), `position_ids` (4, S')",
    "dict",
)

# Hidden states are in the queue only where the teacher has a pool of its own.
_HIDDEN = ("teacher", "student", "(T, d)", "the teacher's")
TEACHER_LOG_PROBS = _field("teacher_log_probs", "clean images", "teacher", "driver, student")
DEGRADED_TEACHER_LOG_PROBS = _field("degraded_teacher_log_probs", "degraded images", "teacher", "driver")
TEACHER_HIDDEN_STATES = _field("teacher_hidden_states", "clean images; with a pool", *_HIDDEN)
DEGRADED_HIDDEN_STATES = _field("degraded_hidden_states", "degraded images; with a pool", *_HIDDEN)

TOKEN_WEIGHTS = _field("token_weights", "weights in the loss", "driver", "student")
ADVANTAGES = _field("advantages", "of the rewards", "driver", "student")
REF_LOG_PROB = _field("ref_log_prob", "by the initial policy", "initial policy", "student")

STUDENT_LOG_PROBS = _field("student_log_probs", "at temperature 1", "student", "driver")
STUDENT_ENTROPY = _field("student_entropy", "at temperature 1", "student", "driver")
REVERSE_KL = _field("reverse_kl", "KL(student || teacher), clean images", "student", "driver")
DEGRADED_REVERSE_KL = _field("degraded_reverse_kl", "the same, degraded images", "student", "driver")
TEACHER_ENTROPY = _field("teacher_entropy", "clean images", "student", "driver")
DIVERGENCE = _field("divergence", "what the token weights weigh", "student", "driver")
POLICY_LOG_PROBS = _field("policy_log_probs", "at the sampling temperature", "student", "student")

# Only beside the others in a batch of the student.
MASKED_LOG_PROBS = _field("masked_log_probs", "masked images; stays in the process", "student", "student")
ROW_INDEX = _field("row_index", "row of the rank; stays in the process", "student", "student", "()", "int64")

FORWARD = (INPUT_IDS, POSITION_IDS, RESPONSE_MASK, LOSS_MASK)
"""What every pass of a model reads; images too, unless the process still has them."""
STUDENT_OUTPUTS = (STUDENT_LOG_PROBS, STUDENT_ENTROPY)
"""What every pass of the student yields."""
TEACHER_OUTPUTS = (REVERSE_KL, TEACHER_ENTROPY)
"""What it yields too where the teacher's hidden states are."""


def as_markdown() -> str:
    """The table of docs/data_flow.md."""
    head = "| field | shape | dtype | meaning | written by | read by |"
    rows = [
        f"| `{name}` | {field.shape} | {field.dtype} | {field.meaning} | {field.written_by} | {field.read_by} |"
        for name, field in FIELDS.items()
    ]
    return "\n".join([head, "|---|---|---|---|---|---|", *(row.replace("||", "&#124;&#124;") for row in rows)])


if __name__ == "__main__":
    print(as_markdown())
