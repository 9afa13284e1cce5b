"""`vaopd export` on checkpoints that the student's own engine wrote."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.engine import harness, write_checkpoints
from tests.engine.conftest import run_python
from verl_vaopd.runs.checkpoints import checkpoint_path, link_best, mark_complete
from verl_vaopd.runs.export import PROVENANCE, export


@pytest.fixture(scope="session")
def checkpoints(workspace: Path) -> Path:
    run_python("-m", "tests.engine.write_checkpoints", str(workspace))
    return workspace


@pytest.fixture
def make_run(checkpoints: Path, tmp_path: Path):
    """A run directory whose only checkpoint, step 10, was written by `world_size` ranks."""

    def make(world_size: int, name: str = "student", complete: bool = True) -> Path:
        source = checkpoints / f"checkpoints_{world_size}" / name / "actor"
        step_dir = checkpoint_path(tmp_path / "run" / "checkpoints", 10)
        shutil.copytree(source, step_dir / "actor")
        (tmp_path / "run" / "versions.json").write_text('{"seed": 3}')
        if complete:
            mark_complete(step_dir)
            link_best(step_dir.parent, [{"step": 10, "accuracy": 0.5}])
        return tmp_path / "run"

    return make


def reference(checkpoints: Path, world_size: int, name: str) -> dict[str, torch.Tensor]:
    return torch.load(checkpoints / f"checkpoints_{world_size}" / name / "reference.pt")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", harness.STUDENTS)
@pytest.mark.parametrize("world_size", write_checkpoints.WORLD_SIZES)
def test_every_weight_of_the_loaded_model_is_the_trainers(checkpoints, make_run, world_size, name, dtype):
    from transformers import AutoModelForImageTextToText  # after verl, which activates the CPU stack

    out = export(make_run(world_size, name), dtype=str(dtype).removeprefix("torch."))
    model = AutoModelForImageTextToText.from_pretrained(out, dtype="auto")
    expected = reference(checkpoints, world_size, name)
    assert model.dtype == dtype
    assert model.state_dict().keys() == expected.keys()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[key].to(dtype), rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", harness.STUDENTS)
def test_only_an_untied_head_is_written_beside_the_embedding(make_run, name):
    weights = load_file(export(make_run(1, name)) / "model.safetensors")
    assert ("lm_head.weight" in weights) == (name == "untied_student")


def test_the_directory_has_all_that_a_prompt_with_an_image_needs(make_run, workspace):
    from transformers import GenerationConfig

    out = export(make_run(2))
    # In a process without verl, which patches the model's class.
    run_python("-c", GENERATE, str(out), str(workspace / "figure0.png"))
    original = GenerationConfig.from_pretrained(workspace / "student")
    assert GenerationConfig.from_pretrained(out).eos_token_id == original.eos_token_id


GENERATE = """
import sys, torch
from PIL import Image
from verl_vaopd.platform import activate
activate()
from transformers import AutoModelForImageTextToText, AutoProcessor
path, image = sys.argv[1:]
processor = AutoProcessor.from_pretrained(path)
model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
content = [{"type": "image"}, {"type": "text", "text": "How long is AB?"}]
text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
inputs = processor(text=[text], images=[Image.open(image)], return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=3, do_sample=False)
assert tokens.shape[1] > inputs["input_ids"].shape[1]
"""


def test_the_export_says_where_it_is_from_and_leaves_nothing_else(make_run):
    run = make_run(1)
    out = export(run, checkpoint="last")
    assert out == run / "export" / "global_step_10"
    assert list(out.parent.iterdir()) == [out]
    provenance = json.loads((out / PROVENANCE).read_text())
    assert (provenance["run"], provenance["step"], provenance["launch"]["seed"]) == ("run", 10, 3)


def test_shards_that_lack_a_weight_are_not_exported(make_run, checkpoints):
    run = make_run(1, complete=False)
    path = checkpoint_path(run / "checkpoints", 10)
    shard = path / "actor" / "model_world_size_1_rank_0.pt"
    weights = torch.load(shard, weights_only=False)
    del weights["model.language_model.norm.weight"]
    torch.save(weights, shard)
    mark_complete(path)
    with pytest.raises(RuntimeError, match=r"model\.language_model\.norm\.weight"):
        export(run, checkpoint="10")
    assert not list((run / "export").iterdir())
