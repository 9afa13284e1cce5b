"""The prompt with a reference solution, and images of other prompts."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image

from verl_vaopd.platform import activate

activate()
from verl_vaopd.data.tinygeo import models  # noqa: E402
from verl_vaopd.rollout.other_images import OtherImages  # noqa: E402
from verl_vaopd.rollout.privilege import privileged_prompt  # noqa: E402

OPTIONS = OmegaConf.create({"reference": "extra_info.response", "template": " Answer: {reference}."})


@pytest.fixture(scope="module")
def tokenizer():
    return models.build_tokenizer()


@pytest.fixture(scope="module")
def prompt_ids(tokenizer):
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "find AB"}], add_generation_prompt=True, tokenize=False
    )
    return tokenizer.encode(text, add_special_tokens=False)


def sample(response):
    return {"index": 3, "extra_info": {"response": response}}


def test_the_reference_ends_the_question(tokenizer, prompt_ids):
    ids = privileged_prompt(prompt_ids, sample("AB is 5"), OPTIONS, tokenizer, 100)
    text = tokenizer.decode(ids)
    assert text == tokenizer.decode(prompt_ids).replace("find AB", "find AB Answer: AB is 5.")
    assert (
        ids[-len(prompt_ids[prompt_ids.index(tokenizer.eos_token_id) :]) :]
        == prompt_ids[prompt_ids.index(tokenizer.eos_token_id) :]
    )


@pytest.mark.parametrize("row", [sample(None), sample(" "), {"index": 3, "extra_info": {}}, {"index": 3}])
def test_a_row_without_reference(tokenizer, prompt_ids, row):
    with pytest.raises(ValueError, match=r"extra_info.response: no reference solution: got"):
        privileged_prompt(prompt_ids, row, OPTIONS, tokenizer, 100)


def test_a_reference_that_is_too_long(tokenizer, prompt_ids):
    with pytest.raises(ValueError, match="expected at most 12"):
        privileged_prompt(prompt_ids, sample("AB is 5"), OPTIONS, tokenizer, 12)


def test_a_prompt_whose_messages_do_not_end(tokenizer):
    with pytest.raises(ValueError, match="no message of the prompt ends"):
        privileged_prompt([5, 6], sample("AB is 5"), OPTIONS, tokenizer, 12)


def image_bytes(colour):
    file = io.BytesIO()
    Image.new("RGB", (2, 2), colour).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def files(tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": "<image>Why?" if colour else "Why?"}],
            "images": [{"bytes": image_bytes(colour), "path": None}] if colour else [],
            "data_source": "exact_match",
            "reward_model": {"ground_truth": "7"},
            "extra_info": {"index": index},
        }
        for index, colour in enumerate(["red", "lime", None, "blue", "lime"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return {"train": str(tmp_path / "train.parquet"), "val": []}


def test_another_image_is_never_the_own_one_and_repeats_with_the_seed(files):
    """Though it is another question's too, and larger by now."""
    others, own = OtherImages(files), [Image.new("RGB", (4, 4), "lime")]
    picked = [others.pick("train", "1", seed, own).getpixel((0, 0)) for seed in range(12)]
    assert set(picked) == {(255, 0, 0), (0, 0, 255)}
    assert picked == [others.pick("train", "1", seed, own).getpixel((0, 0)) for seed in range(12)]


def test_there_may_be_no_other_image(files):
    with pytest.raises(ValueError, match="no other prompt than 1 has another image"):
        OtherImages(files).pick("val", "1", 0, [])
