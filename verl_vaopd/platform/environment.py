"""Environment variables of every process: the driver, Ray's workers, vLLM's servers and engine cores.

Processes of this machine inherit them. The workers of a Ray cluster that was there before inherit their node's: they
get `worker_environment` by runtime_env, which Ray writes into its logs, and `forwarded_environment`, where secrets are,
by a way that it does not (trainer/session.py).
"""

import os
import re
import sysconfig

_PLATFORM_VARIABLE = "VERL_PLATFORM"  # read by verl/plugin/platform/platform_manager.py:113


def is_cpu() -> bool:
    """Whether this process was told to run verl on the CPU (``VERL_PLATFORM=cpu``)."""
    return os.environ.get(_PLATFORM_VARIABLE, "").strip().lower() == "cpu"


def prepare_environment() -> None:
    """Have this process and those it starts find the programs of this environment; before vLLM is imported."""
    scripts = sysconfig.get_path("scripts")
    path = os.environ.get("PATH", os.defpath)
    if scripts not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([scripts, path])
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def worker_environment() -> dict[str, str]:
    """The same for the `env_vars` of Ray's runtime_env; Ray puts the node's own PATH in the place of `${PATH}`."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), "${PATH}"])
    settings = {name: os.environ.get(name, value) for name, value in _SETTINGS.items()}
    return {"PATH": path, **settings, **(cpu_environment() if is_cpu() else {})}


def forwarded_environment() -> dict[str, str]:
    """Variables of this process by which its person reaches the network, the Hugging Face hub and wandb: tokens too.

    Never print, log or store the values.
    """
    return {name: value for name, value in os.environ.items() if _FORWARDED.fullmatch(name)}


def is_secret(name: str, value: str) -> bool:
    """Whether such a variable holds a token or, in the URL of a proxy, a password."""
    return bool(_SECRET.search(name) or _PASSWORD.search(value))


_FORWARDED = re.compile(
    r"(?i:https?_proxy|all_proxy|no_proxy)|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|HF_\w+|HUGGING_FACE_HUB_TOKEN|WANDB_\w+"
)
"""Names; docs/cluster.md lists them."""
_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
_PASSWORD = re.compile(r"://[^/@]*@")


_SETTINGS = {
    # vLLM's default on CUDA is FlashInfer's sampler, which is compiled when it is first used: with nvcc and `ninja`.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
"""A person's own value wins."""


def use_cpu(wanted: bool) -> None:
    """Have this process and those it starts run on the CPU, if wanted; before torch, ray, vllm or verl is imported.

    The one place that sets `cpu_environment`.
    """
    if wanted:
        os.environ.update(cpu_environment())
        # It is in GiB, at least 1, and would win over the few MB that the tiny models need.
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)


def cpu_environment() -> dict[str, str]:
    """Environment variables for every process of the CPU stack.

    Set them before torch, ray, vllm or transformers is imported; unset ``VLLM_CPU_KVCACHE_SPACE``, which is in whole
    GiB and overrules ``engine_kwargs.vllm.kv_cache_memory_bytes`` (vllm/platforms/cpu.py:166). Processes of a local Ray
    cluster inherit the driver's; a cluster that is already running needs them as ``runtime_env.env_vars``.
    """
    return {
        _PLATFORM_VARIABLE: "cpu",
        # On the CPU vLLM 0.28 asks whether the language part of a multimodal model uses MLA, and that part names no
        # architecture: IndexError at vllm/config/model.py:986. This answers no first.
        "VLLM_MLA_DISABLE": "1",
        # Together with engine_kwargs.vllm.distributed_executor_backend=uni: the model runs in the engine core's own
        # process. One process less to start, and it is OMP_NUM_THREADS that decides on threads.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        # Many small processes share few cores: more threads than one each only wait for each other.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray lowers the priority of its workers by 15: beside any other work they would hardly get a turn.
        "RAY_worker_niceness": "0",
        # Workers that Ray starts in advance have no verl environment and are never used.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Empty is off. A dozen processes import the same 8000 modules: without bytecode files each compiles them again,
        # which doubles the processor time of a start.
        "PYTHONDONTWRITEBYTECODE": "",
    }
