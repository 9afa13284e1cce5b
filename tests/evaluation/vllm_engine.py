"""A stand-in for vLLM's engine, and the source of responses around it."""

from __future__ import annotations

from types import SimpleNamespace

from omegaconf import OmegaConf

from verl_vaopd.config.paths import ASSETS_DIR
from verl_vaopd.evaluation.settings import Settings
from verl_vaopd.evaluation.sources.local_vllm import VllmSource
from verl_vaopd.evaluation.sources.occupancy import Occupancy


class Engine:
    """Ends one request in every step, the latest first; answers with the number of the request and of the sample."""

    def __init__(self) -> None:
        self.llm_engine = self.engine_core = self
        self.running: list[str] = []
        self.asked: list[tuple] = []
        self.most_running = self.num_forgotten = 0

    def get_tokenizer(self):
        return self

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert add_generation_prompt and not tokenize
        (message,) = messages
        return message["role"] + "".join(f"<{part.get('text', 'IMAGE')}>" for part in message["content"])

    def enqueue(self, prompts, params, use_tqdm):
        self.running.append(str(len(self.asked)))
        self.asked.append((*prompts, *params))
        self.most_running = max(self.most_running, len(self.running))
        return [f"{self.running[-1]}-0123abcd"]

    def step(self):
        number = self.running.pop()
        _, params = self.asked[int(number)]
        outputs = [
            SimpleNamespace(index=i, text=f"{number}/{i}", finish_reason="stop", token_ids=[1] * (i + 1))
            for i in reversed(range(params.n))
        ]
        return [SimpleNamespace(finished=True, request_id=number, outputs=outputs)]

    def get_num_unfinished_requests(self):
        return sum(self.asked[int(number)][1].n for number in self.running)

    def reset_prefix_cache(self):
        assert not self.running
        self.num_forgotten += 1

    def reset_mm_cache(self):
        assert not self.running

    def shutdown(self):
        assert not self.running


class ForgetfulEngine(Engine):
    """Keeps nothing of the images, as vLLM's does, which has processed them."""

    def enqueue(self, prompts, params, use_tqdm):
        return super().enqueue([{}], params, use_tqdm)


class StandInSource(VllmSource):
    """Without vLLM."""

    def __init__(self, engine: Engine, in_groups: bool, max_samples: int = 6) -> None:
        self._engine = engine
        self._settings = OmegaConf.structured(Settings(model="m"))
        self._model = str(ASSETS_DIR / "tinygeo" / "student")
        self._in_groups, self._max_samples = in_groups, max_samples
        self.num_gpus, self.occupancy = 0, Occupancy(max_samples)

    def _params(self, request):
        return SimpleNamespace(n=len(request.samples), seed=request.seed + request.samples[0])
