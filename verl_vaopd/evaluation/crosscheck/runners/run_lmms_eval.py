"""lmms-eval: the functions that its tasks name for a document and a response, called as its evaluator calls them.

Nothing of the framework is changed but what would go out or is left to chance: its judges, and letters drawn at random.
"""

import json
import platform
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

_CRASHES = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)
# In the place of the module `random`: a letter that would be drawn is no letter.
_NO_CHOICE = SimpleNamespace(choice=lambda options: "")


def main(directory):
    """Score all benchmarks of the directory."""
    with (directory / "outcomes.jsonl").open("w") as out:
        versions = {"math-verify": metadata.version("math-verify"), "python": platform.python_version()}
        framework = f"lmms-eval {metadata.version('lmms-eval')}"
        print(json.dumps({"framework": framework, "versions": versions}), file=out)
        for path in sorted((directory / "responses").glob("*.jsonl")):
            score, metrics = _SCORERS[path.stem]()
            results = []
            for line in path.open():
                row = json.loads(line)
                outcome = {"case": row["case"], "input": row["input"], "hit": None}
                said = row["response"] if path.stem == "ai2d" else _answer(row["response"])
                try:
                    outcome["hit"], result = score(row["fields"], said, row["replies"])
                    results.append(result)
                except _CRASHES as error:
                    outcome["crash"] = type(error).__name__
                print(json.dumps({"benchmark": path.stem, **outcome}), file=out)
            if metrics:
                print(json.dumps({"benchmark": path.stem, "metrics": metrics(results)}), file=out)


def _answer(response):
    """What its evaluator leaves of a response, where --reasoning_tags is not set otherwise; after filters, if any."""
    tags = [["<think>", "</think>"], ["<analysis>", "</analysis>"]]
    return import_module("lmms_eval.api.reasoning").strip_reasoning_tags(response, tags)


def _task(name):
    return import_module(f"lmms_eval.tasks.{name}")


def _wemath():
    utils, counting = _task("wemath.reasoning.utils"), _task("wemath.wemath_utils")

    def score(doc, response, replies):
        found = utils.wemath_reasoning_process_results(doc, [response])
        return float(found["acc_score"]), found["wemath_loose"]

    def metrics(results):
        import pandas

        data = pandas.DataFrame(results)
        data["joker"] = data["acc_score"] == 1.0
        merged = [counting.process_steps_data(data[data["key"].str.contains(f"{n}steps")], n) for n in (2, 3)]
        counts, _ = counting.compute_final_scores(counting.calculate_metrics(*merged), total_count=525)
        names = {
            "IK": "InsufficientKnowledge",
            "IG": "InadequateGeneralization",
            "CM_strict": "CompleteMastery_strict",
            "RM_strict": "RoteMemorization_strict",
            "CM_loose": "CompleteMastery_loose",
            "RM_loose": "RoteMemorization_loose",
        }
        return {ours: 100.0 * counts[theirs] / data["ID"].nunique() for ours, theirs in names.items()}

    return score, metrics


def _mathvista():
    utils = _task("mathvista.utils")

    def score(doc, response, replies):
        utils.mathvista_evaluator.get_chat_response = lambda prompt, **settings: replies.get("extraction") or ""
        return float(utils.mathvista_process_results(doc, [response])["submission"]["true_false"]), None

    return score, None


def _mathverse():
    utils = _task("mathverse.utils")

    def score(doc, response, replies):
        reply = replies.get("comparison")
        answer = SimpleNamespace(content=reply or "", success=reply is not None, model_used="scripted")
        utils.mathverse_evaluator.server.evaluate = lambda request: answer
        return float(utils.mathverse_process_results(doc, [response])["gpt_eval_score"]), None

    return score, None


def _hallusionbench():
    task, utils = _task("hallusion_bench.evaluate_hb"), _task("hallusion_bench.utils")
    utils.time = SimpleNamespace(sleep=lambda seconds: None)

    def score(doc, response, replies):
        reply = replies.get("judgement")

        def post(url, **settings):
            if reply is None:
                raise ConnectionError("told to fail")
            message = {"choices": [{"message": {"content": reply}}]}
            return SimpleNamespace(raise_for_status=lambda: None, json=lambda: message)

        utils.requests = SimpleNamespace(post=post)
        sample = task.hb_process_results(doc, [response])["aAcc"]
        entries = {"output_entry": task.output_entry, "correctness_entry": task.correctness_entry}
        (judged,) = utils.evaluate_by_chatgpt([sample], **entries, save_json_path="judged.json")
        (judged,) = utils.assign_correctness([judged], correctness_entry=task.correctness_entry)
        return float(judged["correct"]), judged

    def metrics(results):
        found = {
            "aAcc": utils.get_eval_all(results, model_correctness_entry=task.correctness_entry),
            "fAcc": utils.get_eval_fig(results),
            "qAcc": utils.get_eval_pair_all(results, model_correctness_entry=task.correctness_entry),
        }
        return {name: 100.0 * counts["correct"] / counts["total"] for name, counts in found.items()}

    return score, metrics


def _ai2d():
    utils = _task("ai2d.utils")
    match = import_module("lmms_eval.api.metrics").exact_match_hf_evaluate
    # As in ai2d.yaml.
    loosely = {"ignore_case": True, "ignore_punctuation": True}
    extract = utils.MultiChoiceRegexFilter(group_select=0, regex_pattern="([A-Z])\\.", **loosely)

    def score(doc, response, replies):
        (found,) = extract.apply([[response]], [doc])
        target = utils.ai2d_doc_to_target(doc, "mcq")
        return float(match(predictions=[_answer(found)], references=[target], **loosely)["exact_match"]), None

    return score, None


def _mmmu():
    utils = _task("mmmu.utils")
    _task("_task_utils.mmmu_mcq_utils").random = _NO_CHOICE

    def score(doc, response, replies):
        sample = utils.mmmu_process_results(doc, [response])["mmmu_acc"]
        verdicts, _ = utils.evaluate_mmmu([sample])
        return float(verdicts[doc["id"]] == "Correct"), None

    return score, None


def _mmstar():
    utils = _task("mmstar.utils")

    def score(doc, response, replies):
        return float(utils.mmstar_process_results(doc, [response])["average"]["score"]), None

    return score, None


def _ocrbench():
    utils = _task("ocrbench.utils")

    def score(doc, response, replies):
        found = utils.ocrbench_process_results(doc, [response])["ocrbench_accuracy"]
        return float(found["score"]), found

    def metrics(results):
        right = 1000 * utils.ocrbench_aggregate_accuracy(results, SimpleNamespace(output_path="."))
        return {"final_score": 1000.0 * right / len(results)}

    return score, metrics


_SCORERS = {
    scorer.__name__[1:]: scorer
    for scorer in (_wemath, _mathvista, _mathverse, _hallusionbench, _ai2d, _mmmu, _mmstar, _ocrbench)
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
