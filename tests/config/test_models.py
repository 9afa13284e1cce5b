"""Do student and teacher read the same tokens and image patches?"""

import pytest

from tests.config.conftest import CPU, PAPER, TOKENS, write_model
from verl_vaopd.config import ConfigError, check_tokenizers


@pytest.fixture
def student(tmp_path):
    return write_model(tmp_path / "student")


def difference(student, teacher) -> str:
    with pytest.raises(ConfigError) as caught:
        check_tokenizers(student, teacher)
    return str(caught.value)


def test_equal_models_and_differently_padded_heads_fit(student, tmp_path):
    check_tokenizers(student, student)
    check_tokenizers(student, write_model(tmp_path / "teacher", vocab_size=4))


def test_merges_may_be_written_in_either_form(student, tmp_path):
    check_tokenizers(student, write_model(tmp_path / "teacher", merges=(["b", "c"],)))


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
    assert "cannot be read" in difference(student, teacher)


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
