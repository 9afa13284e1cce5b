"""Do student and teacher read the same tokens and image patches?"""

from pathlib import Path
from types import SimpleNamespace

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from tests.config.conftest import CPU, PAPER, TOKENS, write_model
from verl_vaopd.config import ConfigError
from verl_vaopd.config.checks.models import compatibility_problems

LONG = {"vocab_size": 16, "max_position_embeddings": 12_288}


@pytest.fixture
def student(tmp_path):
    return write_model(tmp_path / "student")


def cache(hub_id: str, workplace: Path, **options) -> Path:
    """A model of the hub in this machine's cache, for prompts and responses as long as the paper's."""
    repository = workplace / "hub" / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("revision")
    return write_model(repository / "snapshots" / "revision", text_config=LONG, **options)


def difference(student, teacher) -> str:
    return "\n".join(problem.got for problem in compatibility_problems(student, teacher))


def test_equal_models_and_differently_padded_heads_fit(student, tmp_path):
    assert compatibility_problems(student, student) == []
    assert compatibility_problems(student, write_model(tmp_path / "teacher", vocab_size=4)) == []


def test_merges_may_be_written_in_either_form(student, tmp_path):
    assert compatibility_problems(student, write_model(tmp_path / "teacher", merges=(["b", "c"],))) == []


def test_another_id(student, tmp_path):
    text = difference(student, write_model(tmp_path / "teacher", tokens=["<a>", "c", "b", "bc"]))
    assert "2 tokens differ (student 4, teacher 4 in all), e.g. 'b': id 1 in the student, 2 in the teacher" in text


def test_an_additional_token(student, tmp_path):
    text = difference(student, write_model(tmp_path / "teacher", tokens=[*TOKENS, "d"]))
    assert "1 tokens differ (student 4, teacher 5 in all), e.g. 'd': id none in the student, 4 in the teacher" in text


def test_another_added_token(student, tmp_path):
    assert "2 tokens differ" in difference(student, write_model(tmp_path / "teacher", tokens=["<z>", *TOKENS[1:]]))


def test_other_merges(student, tmp_path):
    assert "other merges" in difference(student, write_model(tmp_path / "teacher", merges=("c b",)))


def test_another_image_token(student, tmp_path):
    text = difference(student, write_model(tmp_path / "teacher", image_token_id=3))
    assert "image_token_id in config.json: student 0, teacher 3" in text


def test_other_patches(student, tmp_path):
    text = difference(student, write_model(tmp_path / "teacher", vision_config={"patch_size": 16}))
    assert "vision_config.patch_size in config.json: student 8, teacher 16" in text


def test_a_head_smaller_than_the_tokenizer(student, tmp_path):
    text = difference(student, write_model(tmp_path / "teacher", vocab_size=3))
    assert "the teacher's head has 3 rows (vocab_size), its tokenizer 4 ids" in text


def test_no_tokenizer_and_a_broken_file(student, tmp_path):
    teacher = write_model(tmp_path / "teacher")
    (teacher / "tokenizer.json").unlink()
    assert f"no {teacher}/tokenizer.json" in difference(student, teacher)
    (teacher / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        difference(student, teacher)


class TestInAConfiguration:
    def test_a_mismatch_is_found_before_anything_starts(self, tmp_path, student, problems):
        teacher = write_model(tmp_path / "teacher", tokens=[*TOKENS, "d"])
        (problem,) = problems(CPU, {"student.path": str(student), "teacher.path": str(teacher)})
        assert problem.startswith("student and teacher do not read the same tokens")
        assert str(teacher) in problem

    def test_hub_ids_are_left_to_the_trainer(self, problems, student):
        assert problems(PAPER, {}) == []
        assert (
            problems(
                PAPER, {"data.max_prompt_length": 100, "data.max_response_length": 9, "student.path": str(student)}
            )
            == []
        )

    def test_hub_ids_are_compared_where_they_are_cached(self, problems, workplace):
        cache("Qwen/Qwen3-VL-2B-Instruct", workplace)
        assert problems(PAPER, {}) == []
        cache("Qwen/Qwen3-VL-8B-Instruct", workplace)
        assert problems(PAPER, {}) == []
        cache("another/model", workplace, tokens=[*TOKENS, "d"])
        (problem,) = problems(PAPER, {"teacher.path": "another/model"})
        assert problem.startswith("student and teacher do not read the same tokens") and "1 tokens differ" in problem

    def test_hub_ids_that_are_not_cached_are_asked_for(self, problems, workplace, monkeypatch):
        """Only the two files, and the answer is that of a directory."""
        there = {
            "Qwen/Qwen3-VL-2B-Instruct": write_model(workplace / "2b", text_config=LONG),
            "another/model": write_model(workplace / "other", tokens=[*TOKENS, "d"], text_config=LONG),
        }
        asked = []

        def model_info(self, hub_id, timeout):
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file.name) for file in there[hub_id].iterdir()])

        def download(hub_id, name):
            asked.append(name)
            return str(there[hub_id] / name)

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        (problem,) = problems(PAPER, {"teacher.path": "another/model"})
        assert "1 tokens differ" in problem
        assert set(asked) == {"config.json", "tokenizer.json"}

    def test_a_model_that_the_hub_has_not(self, problems, monkeypatch):
        def model_info(self, hub_id, timeout):
            raise RepositoryNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", "http://h")))

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        found = problems(PAPER, {})
        assert [problem.splitlines()[0] for problem in found] == [
            "the student is not on the hub",
            "the teacher is not on the hub",
        ]

    def test_half_of_a_model_in_the_cache_is_left_to_the_trainer(self, problems, workplace):
        cache("Qwen/Qwen3-VL-2B-Instruct", workplace)
        (cache("another/model", workplace, tokens=[*TOKENS, "d"]) / "tokenizer.json").unlink()
        assert problems(PAPER, {"teacher.path": "another/model"}) == []

    @pytest.mark.parametrize("path", ["./there", "/a/b", "~/models/x", "a/b/c", "org/na me"])
    def test_a_path_that_cannot_be_a_hub_id_must_exist(self, problems, path):
        assert problems(PAPER, {"teacher.path": path})[0].startswith("the teacher is not there")

    def test_a_directory_without_a_model(self, problems, tmp_path):
        (tmp_path / "empty").mkdir()
        (problem,) = problems(PAPER, {"teacher.path": str(tmp_path / "empty")})
        assert "expected: a directory with config.json" in problem

    def test_tiny_models_that_were_not_built(self, problems, workplace):
        (workplace / "assets/tinygeo/student/config.json").unlink()
        (problem,) = problems(CPU, {})
        assert "`vaopd tinygeo build`" in problem

    def test_a_tiny_student_trained_further_keeps_its_teacher(self, problems, workplace):
        exported = write_model(workplace / "runs/x/export")
        assert problems(CPU, {"student.path": str(exported)}) == []

    def test_a_tiny_model_and_one_from_the_hub(self, problems):
        (problem,) = problems(CPU, {"teacher.path": "Qwen/Qwen3-VL-8B-Instruct"})
        assert "both or neither of the tiny models" in problem

    def test_too_few_positions(self, problems):
        found = problems(CPU, {"data.max_response_length": 900})
        assert [problem.splitlines()[0] for problem in found] == [
            "the longest rollout does not fit into the student",
            "the longest rollout does not fit into the teacher",
        ]
