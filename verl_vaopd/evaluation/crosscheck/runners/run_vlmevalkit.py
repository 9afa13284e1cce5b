"""VLMEvalKit: build_dataset(NAME).evaluate(FILE) with exact matching, or with a judge that says what it is told.

Nothing of the framework is changed but what would go out: the checksums of its own data files, and its judges.
"""

import json
import platform
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

_FAILED = "Failed to obtain answer via API."
_JUDGED = "scripted"
# Where a judge is asked: module and function, and the role.
_ASKS = {
    ("mathvista", "MathVista_auxeval"): "extraction",
    ("mathverse", "MathVerse_auxeval_extract"): "extraction",
    ("mathverse", "MathVerse_auxeval_score"): "comparison",
    ("multiple_choice", "eval_vanilla"): "choice",
}
_TOLD: dict[str, dict[str, str | None]] = {}  # replies by index, of the benchmark that is being scored
_RESULTS = {
    "mathverse": (f"_{_JUDGED}_score", "score"),
    "hallusionbench": ("_auxmatch", "score"),
    "ai2d": ("_exact_matching_result", "hit"),
    "mmmu": ("_exact_matching_result", "hit"),
    "mmstar": ("_exact_matching_result", "hit"),
}
# In the place of the module `random`: a letter that would be drawn is no letter.
_NO_CHOICE = SimpleNamespace(choice=lambda options: "")


def judge(reply=None):
    """One that says what it is told; without anything to say its calls fail."""
    said = _FAILED if reply is None else reply
    return SimpleNamespace(working=lambda: True, generate=lambda prompt, **sampling: said)


def main(directory):
    """Score all benchmarks of the directory."""
    import pandas

    datasets = import_module("vlmeval.dataset")
    _tell_judges()
    names = json.loads((directory / "datasets.json").read_text())
    with (directory / "outcomes.jsonl").open("w") as out:
        versions = {"pandas": pandas.__version__, "python": platform.python_version()}
        print(json.dumps({"framework": _framework(), "versions": versions}), file=out)
        for benchmark, name in names.items():
            rows = [json.loads(line) for line in (directory / "responses" / f"{benchmark}.jsonl").open()]
            for row in _score(datasets, directory, benchmark, name, rows):
                print(json.dumps({"benchmark": benchmark, **row}), file=out)


def _framework():
    """The release, or the commit of a checkout."""
    root = Path(str(import_module("vlmeval").__file__)).parents[1]
    if (root / ".git").exists():
        commit = subprocess.check_output(["git", "-C", str(root), "rev-parse", "HEAD"], text=True)
        return f"VLMEvalKit, commit {commit[:7]}"
    return f"VLMEvalKit, ms-vlmeval {metadata.version('ms-vlmeval')}"


def _score(datasets, directory, benchmark, name, rows):
    smp = import_module("vlmeval.smp")
    for kind in datasets.DATASET_CLASSES:
        if name in kind.supported_datasets():
            kind.DATASET_MD5 = {}
    dataset = datasets.build_dataset(name)
    data = dataset.data.copy()
    # A spreadsheet gives an empty or "nan" cell back as a missing value, on which WeMath's scorer stops; it strips.
    space = " " if benchmark == "wemath" else ""
    said = {row["index"]: row["response"] + space for row in rows}
    data["prediction"] = [said[str(index)] for index in data["index"]]
    data.pop("image")
    path = str(directory / f"pass0_{name}.xlsx")
    smp.dump(data, path)
    _TOLD.clear()
    _TOLD.update({row["index"]: row["replies"] for row in rows})
    if benchmark == "ocrbench":
        hits, found = _one_by_one(smp, dataset, directory, data), dataset.evaluate(path)
    else:
        model = _JUDGED if benchmark in ("mathvista", "mathverse") else "exact_matching"
        found = dataset.evaluate(path, model=model, nproc=1)
        hits = _hits(smp, benchmark, path)
    for row in rows:
        yield {"case": row["case"], "input": row["input"], "hit": hits[row["index"]]}
    metrics = _metrics(benchmark, found, data)
    if metrics:
        yield {"metrics": metrics}


def _tell_judges():
    """Put judges that are told what to say in the place of the framework's."""
    for (name, function), role in _ASKS.items():
        module = vars(import_module(f"vlmeval.dataset.utils.{name}"))
        module[function] = _told(module[function], role)
    vars(import_module("vlmeval.dataset.utils.multiple_choice"))["rd"] = _NO_CHOICE
    vars(import_module("vlmeval.dataset.image_vqa"))["build_judge"] = lambda **settings: judge()


def _told(original, role):
    def scored(model, line=None, item=None, **settings):
        row = item if line is None else line
        told = _TOLD[str(row["index"])]
        return original(judge(told.get(role)) if told else model, row, **settings)

    return scored


def _hits(smp, benchmark, path):
    """Of every index, 1.0 or 0.0."""
    if benchmark == "wemath":
        data = import_module("vlmeval.dataset.utils.wemath").load_and_process_data(path)
        return {str(index): float(hit) for index, hit in zip(data["index"], data["joker"], strict=True)}
    if benchmark == "mathvista":
        data = smp.load(path.replace(".xlsx", f"_{_JUDGED}.xlsx"))
        right = import_module("vlmeval.dataset.utils.mathvista").post_check
        return {str(data.iloc[n]["index"]): float(right(data.iloc[n], prefetch=False)) for n in range(len(data))}
    suffix, column = _RESULTS[benchmark]
    data = smp.load(path.replace(".xlsx", f"{suffix}.xlsx"))
    return {str(index): float(hit) for index, hit in zip(data["index"], data[column], strict=True)}


def _one_by_one(smp, dataset, directory, data):
    """OCRBench tells totals only.

    Beside a text that no answer is part of: a spreadsheet gives a column of nothing but digits back as numbers.
    """
    hits = {}
    path = str(directory / "one_response.xlsx")
    for n in range(len(data)):
        pair = data.iloc[[n, n]].copy()
        pair["prediction"] = [data["prediction"].iloc[n], "\N{SNOWMAN}"]
        smp.dump(pair, path)
        hits[str(data.iloc[n]["index"])] = float(dataset.evaluate(path)["Final Score"])
    return hits


def _metrics(benchmark, found, data):
    if benchmark == "ocrbench":
        return {"final_score": 1000.0 * found["Final Score"] / len(data)}
    if benchmark == "hallusionbench":
        overall = found[found["split"] == "Overall"].iloc[0]
        return {name: float(overall[name]) for name in ("aAcc", "fAcc", "qAcc")}
    if benchmark != "wemath":
        return {}
    # It reports shares of 525 problems, whatever the file has, and the counts beside them.
    cell = {column: str(found[column].iloc[0]) for column in found}
    counts = {column: int(text.rpartition("(")[2][:-1]) for column, text in cell.items() if text.endswith(")")}
    names = {
        "IK": "InsufficientKnowledge (Strict)",
        "IG": "InadequateGeneralization (Strict)",
        "CM_strict": "CompleteMastery (Strict)",
        "RM_strict": "RoteMemorization (Strict)",
        "CM_loose": "CompleteMastery (Loose)",
        "RM_loose": "RoteMemorization (Loose)",
    }
    num_problems = data["ID"].nunique()
    shares = {ours: 100.0 * counts[theirs] / num_problems for ours, theirs in names.items()}
    steps = {"one_step": "One-step(S1)", "two_step": "Two-step(S2)", "three_step": "Three-step(S3)"}
    return {**shares, **{ours: float(cell[theirs].rstrip("%")) for ours, theirs in steps.items()}}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
