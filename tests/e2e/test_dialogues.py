"""SmolLM2 on the real node: a causal language model learns for some steps, and what comes out speaks."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cluster.install import Administrator
from support.e2e_jobs import RealJob, example, metrics_of


def test_smollm2_learns_dialogues_and_its_model_speaks(
    admin: Administrator, assets: str, new_job: Callable[..., RealJob], tmp_path: Path
) -> None:
    # 135 million parameters: the workers hold gradients and Adam's two moments; the head, too, converts the GGUF file.
    admin.make_profile("roomy", worker={"cpu": "200m", "memory": "6Gi"}, head={"cpu": "200m", "memory": "5Gi"})
    spec = example("dialogues")
    spec["training"]["maxSteps"] = 8
    spec["profileRef"] = {"name": "roomy"}
    job = new_job("dialogues", **spec).apply()
    status = job.end()
    assert status["phase"] == "Succeeded", job.evidence()
    assert metrics_of(status)["test/perplexity"] > 1
    folder = job.fetch_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = tokenizer("My screen is black.", return_tensors="pt")
    with torch.no_grad():
        answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert answer.shape[1] > prompt["input_ids"].shape[1]
