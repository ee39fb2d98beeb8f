"""The table of what fits where, in docs/planning.md: python scripts/sizes.py writes it anew, by the planner."""

from pathlib import Path

from kubetune_api.job import FineTuneJobSpec
from kubetune_planner.catalogue import shape_of
from kubetune_planner.plan import AcceleratorSpec, TrainingPlan, plan

PAGE = Path(__file__).parents[1] / "docs" / "planning.md"
BEGIN, END = "<!-- sizes: python scripts/sizes.py -->\n", "<!-- /sizes -->"
MODELS = {
    "1B": "meta-llama/Llama-3.2-1B",
    "8B": "meta-llama/Llama-3.1-8B",
    "13B": "meta-llama/Llama-2-13b-hf",
    "32B": "Qwen/Qwen2.5-32B",
    "70B": "meta-llama/Llama-3.1-70B",
}
METHODS = {"all weights": {"type": "Full"}, "LoRA": {"type": "LoRA"}}
MEMORIES = (24, 40, 80, 141)
LENGTH, MOST = 4096, 64


def table() -> str:
    """In Markdown."""
    header = [
        f"| model | trained | {' | '.join(f'{gib} GiB' for gib in MEMORIES)} |",
        "|---" * (2 + len(MEMORIES)) + "|",
    ]
    rows = [
        f"| {size} | {said} | {' | '.join(fewest(name, method, gib) for gib in MEMORIES)} |"
        for size, name in MODELS.items()
        for said, method in METHODS.items()
    ]
    return "\n".join([*header, *rows]) + "\n"


def fewest(name: str, method: dict[str, str], gib: int) -> str:
    """Of 1, 2, 4, …, 64 accelerators the fewest on which it fits, and how."""
    spec = FineTuneJobSpec.model_validate(
        {
            "model": {"uri": f"hf://{name}", "revision": "0" * 40},
            "task": {"type": "CausalLM", "maxLength": LENGTH},
            "dataset": {"uri": "s3://data/rows.jsonl", "columns": {"prompt": "prompt", "completion": "completion"}},
            "output": {"uri": "s3://models"},
            "method": method,
            "training": {"globalBatchSize": MOST},
        }
    ).resolved
    shape = shape_of(spec.model.uri)
    assert shape is not None
    workers = 1
    while workers <= MOST:
        found = plan(spec, shape, AcceleratorSpec("one", gib << 30, has_bf16=True), workers)
        if isinstance(found, TrainingPlan):
            return f"{workers} (stage {found.stage}{', again' if found.activation_checkpointing == 'Full' else ''})"
        workers *= 2
    return "–"


def main() -> None:
    """Writes the table into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
