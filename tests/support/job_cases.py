"""Manifests that are right and manifests that are wrong, for whoever judges them: the models and the API server."""

import copy
import re
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
MISSING: Any = object()
"""As the value of an edit: the field is taken out."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
JOB: Object = {
    "apiVersion": "kubetune.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "reviews"},
    "spec": {
        "model": {"uri": "file:///models/minilm"},
        "task": {"type": "SequenceClassification"},
        "dataset": {"uri": "file:///data/reviews.csv", "columns": {"text": "body", "label": "verdict"}},
        "output": {"uri": "file:///results"},
    },
}
PROFILE: Object = {
    "apiVersion": "kubetune.dev/v1alpha1",
    "kind": "FineTuneProfile",
    "metadata": {"name": "laptop"},
    "spec": {},
}
CAUSAL = {"spec.task.type": "CausalLM", "spec.dataset.columns": {"prompt": "question", "completion": "answer"}}
"""The edits that make a right CausalLM job of `JOB`."""
WORDS = {"spec.task.type": "TokenClassification", "spec.dataset.columns": {"tokens": "words", "tags": "ner"}}
"""The edits that make a tagger of words."""
LABEL_SETS = {"spec.task.type": "MultiLabelClassification", "spec.dataset.columns": {"text": "a", "labels": "b"}}
"""The edits that make a classification of several labels."""
NUMBERS = {"spec.task.type": "SequenceRegression", "spec.dataset.columns": {"text": "body", "value": "stars"}}
"""The edits that make a regression."""
PREFERENCES = {
    "spec.task.type": "Preference",
    "spec.dataset.columns": {"prompt": "question", "chosen": "better", "rejected": "worse"},
}
"""The edits that make one of preferences."""
SCORES = {
    "spec.task.type": "Embedding",
    "spec.dataset.columns": {"sentence1": "first", "sentence2": "second", "score": "alike"},
}
"""The edits that make one of pairs with a score."""
PAIRS = {"spec.task.type": "Embedding", "spec.dataset.columns": {"anchor": "question", "positive": "answer"}}
"""The edits that make one of pairs of texts."""
CONVERSATIONS = {"spec.task.type": "CausalLM", "spec.dataset.columns": {"messages": "turns"}}
"""The edits that make one of conversations."""
_WRITES = "spec.task.seq2Seq"
_FEWEST = "spec.resources.minWorkers"
DOCUMENTS = {"spec.task.type": "CausalLM", "spec.dataset.columns": {"text": "body"}}
"""The edits that make one of plain texts."""
SEQ2SEQ = {"spec.task.type": "Seq2Seq", "spec.dataset.columns": {"source": "article", "target": "summary"}}
"""The edits that make one of sources and targets."""


@dataclass(frozen=True)
class Case:
    """A manifest, as edits of `JOB`, and where it is wrong."""

    what: str
    edits: Object
    """Dotted path to new value."""
    field: str = ""
    """The field at error; nothing for a right manifest."""

    @property
    def manifest(self) -> Object:
        """The manifest."""
        return edited(self.edits)


@dataclass(frozen=True)
class ProfileCase(Case):
    """The same, as edits of `PROFILE`."""

    @property
    def manifest(self) -> Object:
        """The manifest."""
        return edited(self.edits, PROFILE)


def yaml_blocks(page: str) -> list[str]:
    """The manifests of a page."""
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def edited(edits: Object, of: Object = JOB) -> Object:
    """`of` with the edits, in their order; groups of fields that are not there are made, whatever stands there."""
    manifest = copy.deepcopy(of)
    for path, value in edits.items():
        *groups, name = path.split(".")
        place = manifest
        for group in groups:
            if not isinstance(place.get(group), dict):
                place[group] = {}
            place = place[group]
        if value is MISSING:
            place.pop(name, None)
        else:
            place[name] = copy.deepcopy(value)
    return manifest


RIGHT = (
    Case("the fewest fields", {}),
    Case(
        "fewer workers of rows that are not compared, with checkpoints",
        {**SCORES, "spec.resources": {"workers": 4, "minWorkers": 2}, "spec.training.checkpoints": {}},
    ),
    Case("fewer workers of compared rows", {**PAIRS, "spec.resources": {"workers": 4, "minWorkers": 2}}),
    Case(
        "metrics of one's own, of a slice too",
        {
            "spec.evaluation.metrics": ["cost", "top_3"],
            "spec.evaluation.slices": [{"name": "german", "column": "lang", "values": ["de"]}],
            "spec.evaluation.require": [
                {"metric": "test/custom.cost", "max": 0.5},
                {"metric": "validation/german/custom.top_3", "min": 0.5},
            ],
        },
    ),
    Case(
        "metrics of one's own, of answers",
        {**CAUSAL, "spec.evaluation.metrics": ["cost"], "spec.evaluation.generation": {}},
    ),
    Case("the fewest fields of CausalLM", CAUSAL),
    Case("the fewest fields of conversations", CONVERSATIONS),
    Case("the fewest fields of plain texts", DOCUMENTS),
    Case("the fewest fields of tagged words", WORDS),
    Case(
        "texts with spans",
        {
            **WORDS,
            "spec.dataset.columns": {"text": "body", "spans": "entities"},
            "spec.task.labels": ["PER", "LOC"],
            "spec.dataset.cleaning.dropOtherLabels": True,
            "spec.evaluation.require": [{"metric": "test/entity_f1", "min": 0.9}],
        },
    ),
    Case("the fewest fields of several labels", LABEL_SETS),
    Case(
        "every field of several labels",
        {
            **LABEL_SETS,
            "spec.task.labels": ["fee", "term"],
            "spec.task.multiLabelClassification": {"separator": "; ", "threshold": 0.4},
            "spec.dataset.columns": {"text": "a", "textPair": "c", "labels": "b"},
            "spec.evaluation.require": [{"metric": "test/f1_micro", "min": 0.5}],
        },
    ),
    Case("the fewest fields of a regression", NUMBERS),
    Case(
        "every field of a regression",
        {
            **NUMBERS,
            "spec.task.sequenceRegression": {"loss": "Huber", "huberDelta": 0.5},
            "spec.dataset.columns": {"text": "body", "textPair": "other", "value": "stars"},
            "spec.evaluation": {
                "primaryMetric": "test/spearman",
                "require": [{"metric": "test/r2", "min": -0.5}, {"metric": "test/rmse", "max": 1}],
            },
        },
    ),
    Case(
        "weights of labels and a focal loss",
        {
            "spec.task.sequenceClassification": {
                "loss": "Focal",
                "focalGamma": 1.5,
                "classWeights": "None",
                "weights": [{"label": "fresh", "weight": 2}, {"label": "rotten", "weight": 0.5}],
            },
        },
    ),
    Case(
        "balanced labels, smoothed",
        {"spec.task.sequenceClassification": {"classWeights": "Balanced"}, "spec.training.labelSmoothing": 0.1},
    ),
    Case("smoothed words", {**WORDS, "spec.training.labelSmoothing": 0.1}),
    Case("smoothed tokens", {**CAUSAL, "spec.training.labelSmoothing": 0.1}),
    Case("the fewest fields of Seq2Seq", SEQ2SEQ),
    Case(
        "every field of generation",
        {
            **CAUSAL,
            "spec.evaluation": {
                "generation": {"maxRows": 50, "maxNewTokens": 64},
                "primaryMetric": "test/rouge_l",
                "require": [{"metric": "validation/exact_match", "min": 0.1}],
            },
        },
    ),
    Case("the longest target", {**SEQ2SEQ, "spec.task.seq2Seq": {"maxTargetLength": 16}}),
    Case(
        "a translation",
        {**SEQ2SEQ, "spec.task.seq2Seq": {"sourceLanguage": "en_XX", "targetLanguage": "eng_Latn"}},
    ),
    Case("a name of 37 characters", {"metadata.name": "a" * 37}),
    Case("16 bits with a scaled loss", {"spec.training.precision": "FP16"}),
    Case("a schedule to a minimum", {"spec.training.schedule": {"type": "CosineWithMinimum", "minimumRatio": 0.05}}),
    Case("a schedule with a decay", {"spec.training.schedule": {"type": "WSD", "decayRatio": 0.2, "minimumRatio": 0}}),
    Case("a schedule by the root", {"spec.training.schedule": {"type": "InverseSqrt", "warmupSteps": 10}}),
    Case("a momentum of Muon", {"spec.training.optimizer": {"type": "Muon", "momentum": 0.9, "beta1": 0.8}}),
    Case("whole matrices at stage 0", {"spec.training.optimizer": {"type": "Adafactor"}, "spec.zero.stage": 0}),
    Case(
        "every field",
        {
            "spec.model": {"uri": "hf://owner/name", "revision": COMMIT},
            "spec.task": {"type": "SequenceClassification", "labels": ["fresh", "rotten"], "maxLength": 128},
            "spec.dataset": {
                "uri": "hf://datasets/owner/name/*.parquet",
                "revision": COMMIT,
                "columns": {"text": "premise", "textPair": "hypothesis", "label": "verdict"},
                "cleaning": {
                    "unicodeNormalization": "NFKC",
                    "dropEmpty": False,
                    "dropDuplicates": False,
                    "minCharacters": 3,
                    "dropOtherLabels": True,
                },
                "validationFraction": 0.2,
                "test": {"uri": "s3://bucket/test.jsonl.gz"},
                "stratify": False,
                "splitSeed": 7,
            },
            "spec.method": {"type": "Full", "freeze": {"embeddings": True, "bottomLayers": 3}},
            "spec.training": {
                "epochs": 2,
                "maxSteps": 100,
                "globalBatchSize": 64,
                "microBatchSize": 4,
                "learningRate": 3e-5,
                "schedule": {"type": "Cosine", "warmupRatio": 0.1},
                "optimizer": {
                    "type": "AdamW",
                    "beta1": 0.8,
                    "beta2": 0.99,
                    "epsilon": 1e-6,
                    "weightDecay": 0.01,
                },
                "l1": 0.01,
                "dropout": 0.2,
                "layerwiseDecay": 0.9,
                "neftuneAlpha": 5,
                "earlyStopping": {"patience": 3, "minDelta": 0.01},
                "keep": "Best",
                "checkpoints": {"everySteps": 200, "everySeconds": 900, "retain": 3},
                "watchdog": {"hangSeconds": 90, "onSpike": "Fail", "spikeFactor": 20},
                "maxGradientNorm": 0.5,
                "precision": "BF16",
                "seed": 11,
            },
            "spec.profileRef": {"name": "laptop"},
            "spec.resources": {"workers": 2},
            "spec.zero": {"stage": 3},
            "spec.evaluation": {
                "everySteps": 50,
                "primaryMetric": "validation/f1_macro",
                "require": [{"metric": "test/accuracy", "min": 0.8, "max": 1.0}],
            },
            "spec.output": {"uri": "s3://models/team-a"},
            "spec.credentials": [{"prefix": "s3://models/", "secretName": "s3-credentials"}],
            "spec.inheritedMetadata": {
                "labels": {"cost-center": "nlp"},
                "annotations": {"example.com/by": "A person."},
            },
            "spec.queueName": "team-a",
            "spec.priorityClassName": "high",
            "spec.retry": {"maxAttempts": 5, "backoffSeconds": 0},
            "spec.suspend": True,
            "spec.activeDeadlineSeconds": 3600,
            "spec.ttlSecondsAfterFinished": 0,
        },
    ),
    Case(
        "nothing where a default may stand", {"spec.training": None, "spec.zero.stage": None, "spec.task.labels": None}
    ),
    Case("a whole number written as a fraction", {"spec.training.epochs": 3.0}),
    Case("a whole number where a fraction may stand", {"spec.training.learningRate": 1}),
    Case(
        "every field of LoRA",
        {
            "spec.method": {
                "type": "LoRA",
                "lora": {
                    "rank": 8,
                    "alpha": 16,
                    "dropout": 0.05,
                    "targetModules": ["q_proj", "layers.0.mlp.down_proj"],
                    "variant": "DoRA",
                    "publish": "Merged",
                },
            }
        },
    ),
    Case("an offloaded optimizer at stage 1", {"spec.zero": {"stage": 1, "offload": {"optimizer": "CPU"}}}),
    Case(
        "all offloaded, at a stage that is left open",
        {"spec.zero": {"offload": {"optimizer": "CPU", "weights": "CPU"}}},
    ),
    Case(
        "an optimizer offloaded beside quantized weights",
        {"spec.method": {"type": "LoRA", "quantization": {"type": "NF4"}}, "spec.zero.offload.optimizer": "CPU"},
    ),
    Case("layers computed a second time", {"spec.training.activationCheckpointing": "Full"}),
    Case("DoRA at stage 2", {"spec.method": {"type": "LoRA", "lora": {"variant": "DoRA"}}, "spec.zero.stage": 2}),
    Case("LoRA with its defaults", {"spec.method": {"type": "LoRA"}}),
    Case(
        "every field of quantization",
        {
            "spec.method": {
                "type": "LoRA",
                "lora": {"variant": "RsLoRA", "publish": "Merged"},
                "quantization": {"type": "NF4", "doubleQuantization": True},
            },
            "spec.zero.stage": 2,
        },
    ),
    Case("weights of 8 bits", {"spec.method": {"type": "LoRA", "quantization": {"type": "Int8"}}}),
    Case("LoRA that freezes nothing", {"spec.method": {"type": "LoRA", "freeze": {"bottomLayers": 0}}}),
    Case(
        "the bounds themselves",
        {"spec.training.optimizer.beta1": 0, "spec.training.seed": 4294967295, "spec.zero.stage": 0},
    ),
    Case(
        "dots that climb nowhere, and a slash at the end",
        {"spec.dataset.uri": "s3://bucket/.a/..b/.../c.d./*.csv", "spec.output.uri": "gs://bucket/a/"},
    ),
    Case("a relative path of this machine", {"spec.dataset.uri": "file://../data//x:y@z.csv"}),
    Case("a pattern for all files of a folder", {"spec.dataset.uri": "s3://bucket/data/*"}),
    Case("a pattern for all parts of a dataset", {"spec.dataset.uri": "s3://bucket/data/part-*"}),
    Case("a bucket alone", {"spec.output.uri": "s3://bucket"}),
    Case("a thousand labels of 65 bytes", {"spec.task.labels": [f"{number:065}" for number in range(1000)]}),
    Case("labels in any script", {"spec.task.labels": ["好", "плохо", "😀"]}),
    Case(
        "perplexity required of CausalLM",
        {**CAUSAL, "spec.evaluation.require": [{"metric": "test/perplexity", "max": 9}]},
    ),
    Case(
        "preferences",
        {
            **PREFERENCES,
            "spec.task.preference": {"loss": "IPO", "beta": 0.2},
            "spec.evaluation.require": [{"metric": "test/reward_accuracy", "min": 0.6}],
        },
    ),
    Case(
        "preferences by a margin, some of them doubted",
        {**PREFERENCES, "spec.task.preference": {"loss": "SimPO", "beta": 2.5, "gamma": 1, "labelSmoothing": 0.1}},
    ),
    Case("preferences by their odds", {**PREFERENCES, "spec.task.preference": {"loss": "ORPO"}}),
    Case(
        "vectors of triplets",
        {
            **PAIRS,
            "spec.dataset.columns.negative": "other",
            "spec.task.embedding": {"pooling": "CLS", "temperature": 0.1},
            "spec.training.microBatchSize": 2,
            "spec.evaluation.require": [{"metric": "test/recall_at_10", "min": 0.5}],
        },
    ),
    Case(
        "vectors of pairs with a score, one at a time",
        {
            **SCORES,
            "spec.task.embedding": {"loss": "CosineSimilarity", "pooling": "CLS"},
            "spec.training.microBatchSize": 1,
            "spec.evaluation.require": [{"metric": "test/spearman", "min": 0.5}],
            "spec.evaluation.primaryMetric": "validation/pearson",
        },
    ),
    Case("vectors of pairs by their loss's name", {**PAIRS, "spec.task.embedding": {"loss": "MultipleNegatives"}}),
    Case(
        "slices, and requirements of them",
        {
            "spec.evaluation.slices": [
                {"name": "german", "column": "lang", "values": ["de", "de-AT"]},
                {"name": "long-ones", "column": "words", "values": ["1"]},
            ],
            "spec.evaluation.require": [
                {"metric": "test/german/accuracy", "min": 0.5},
                {"metric": "validation/long-ones/loss", "max": 2},
                {"metric": "test/accuracy", "min": 0.5},
            ],
        },
    ),
    Case("a loss required of a classification", {"spec.evaluation.require": [{"metric": "validation/loss", "max": 1}]}),
    Case("nearly all rows held out", {"spec.dataset.validationFraction": 0.9, "spec.dataset.testFraction": 0.04}),
    Case("no rows held out", {"spec.dataset.validationFraction": 0, "spec.dataset.testFraction": 0.0}),
    Case(
        "rows of their own to judge by",
        {
            "spec.dataset.validation": {"uri": "file:///data/validation.csv"},
            "spec.dataset.test": {"uri": "hf://datasets/owner/name/test.csv", "revision": COMMIT},
            "spec.evaluation.require": [
                {"metric": "test/accuracy", "min": 0.5},
                {"metric": "validation/loss", "max": 1},
            ],
        },
    ),
)

_URIS = (
    "spec.model.uri",
    "spec.dataset.uri",
    "spec.dataset.validation.uri",
    "spec.dataset.test.uri",
    "spec.output.uri",
)
_URIS_WRONG = {
    "credentials": "s3://key:secret@bucket/x",
    "a password with a slash": "s3://key:sec/ret@bucket/x",
    "no bucket": "s3:///x",
    "a climb": "s3://bucket/../x",
    "a climb at the end": "gs://bucket/x/..",
    "a climb in place of a bucket": "az://../x",
    "a dot": "s3://bucket/./x",
    "an empty part": "s3://bucket/a//x",
    "an empty part at the end": "s3://bucket/a//",
}
_HUB_DATA = "hf://datasets/owner/name/data.csv"

RULES_BROKEN = (
    Case("a way back to no checkpoint", {"spec.training.watchdog": {"onSpike": "RollBack"}}, "spec.training.watchdog"),
    Case("more workers at least than at most", {"spec.resources": {"workers": 2, "minWorkers": 3}}, _FEWEST),
    Case("the fewest workers of nobody knows how many", {"spec.resources": {"minWorkers": 1}}, _FEWEST),
    Case(
        "fewer workers of compared rows, with checkpoints",
        {**PAIRS, "spec.resources": {"workers": 4, "minWorkers": 2}, "spec.training.checkpoints": {}},
        _FEWEST,
    ),
    Case(
        "a label of Kueue to be passed on",
        {"spec.inheritedMetadata.labels": {"kueue.x-k8s.io/queue-name": "a"}},
        "spec.inheritedMetadata.labels",
    ),
    Case(
        "an annotation of Kubernetes to be passed on",
        {"spec.inheritedMetadata.annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}},
        "spec.inheritedMetadata.annotations",
    ),
    Case(
        "a primary metric of another task",
        {"spec.evaluation.primaryMetric": "test/perplexity"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a primary metric of another task than CausalLM",
        {**CAUSAL, "spec.evaluation.primaryMetric": "validation/accuracy"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a primary metric of a test split that is not there",
        {"spec.dataset.testFraction": 0, "spec.evaluation.primaryMetric": "test/loss"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a primary metric of a validation split that is not there",
        {"spec.dataset.validationFraction": 0, "spec.evaluation.primaryMetric": "validation/loss"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a minimum of a schedule that falls to 0",
        {"spec.training.schedule": {"type": "Linear", "minimumRatio": 0.1}},
        "spec.training.schedule.minimumRatio",
    ),
    Case(
        "a decay of a schedule without one",
        {"spec.training.schedule": {"type": "Cosine", "decayRatio": 0.1}},
        "spec.training.schedule.decayRatio",
    ),
    Case(
        "a beta2 of Adafactor",
        {"spec.training.optimizer": {"type": "Adafactor", "beta2": 0.9}},
        "spec.training.optimizer.beta2",
    ),
    Case(
        "a loss of scores without scores",
        {**PAIRS, "spec.task.embedding": {"loss": "CosineSimilarity"}},
        "spec.task.embedding.loss",
    ),
    Case(
        "a loss of negatives with scores",
        {**SCORES, "spec.task.embedding": {"loss": "MultipleNegatives"}},
        "spec.task.embedding.loss",
    ),
    Case(
        "a temperature of scores",
        {**SCORES, "spec.task.embedding": {"temperature": 0.05}},
        "spec.task.embedding.temperature",
    ),
    Case(
        "a recall required of scores",
        {**SCORES, "spec.evaluation.require": [{"metric": "test/recall_at_10", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "a recall that stands for scores",
        {**SCORES, "spec.evaluation.primaryMetric": "test/mrr"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a correlation required of a search",
        {**PAIRS, "spec.evaluation.require": [{"metric": "test/spearman", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "a correlation that stands for a search",
        {**PAIRS, "spec.evaluation.primaryMetric": "test/spearman"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "scores beside anchors",
        {**PAIRS, "spec.dataset.columns.score": "alike"},
        "spec.dataset.columns",
    ),
    Case("smoothed embeddings", {**PAIRS, "spec.training.labelSmoothing": 0.1}, "spec.training.labelSmoothing"),
    Case("embeddings without what is near", {**PAIRS, "spec.dataset.columns": {"anchor": "q"}}, "spec.dataset.columns"),
    Case("labels of embeddings", {**PAIRS, "spec.dataset.columns.label": "verdict"}, "spec.dataset.columns"),
    Case("labels of tagged words", {**WORDS, "spec.dataset.columns.label": "verdict"}, "spec.dataset.columns"),
    Case(
        "an accuracy that stands for embeddings",
        {**PAIRS, "spec.evaluation.primaryMetric": "test/accuracy"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "an accuracy that stands for numbers",
        {**NUMBERS, "spec.evaluation.primaryMetric": "test/accuracy"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a perplexity that stands for tagged words",
        {**WORDS, "spec.evaluation.primaryMetric": "test/perplexity"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "an accuracy required of embeddings",
        {**PAIRS, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "a margin of DPO",
        {**PREFERENCES, "spec.task.preference": {"loss": "Sigmoid", "gamma": 0.5}},
        "spec.task.preference.gamma",
    ),
    Case(
        "doubted odds",
        {**PREFERENCES, "spec.task.preference": {"loss": "ORPO", "labelSmoothing": 0.1}},
        "spec.task.preference.labelSmoothing",
    ),
    Case("smoothed preferences", {**PREFERENCES, "spec.training.labelSmoothing": 0.1}, "spec.training.labelSmoothing"),
    Case(
        "smoothed sets of labels", {**LABEL_SETS, "spec.training.labelSmoothing": 0.1}, "spec.training.labelSmoothing"
    ),
    Case(
        "preferences without what is rejected",
        {**PREFERENCES, "spec.dataset.columns": {"prompt": "p", "chosen": "c"}},
        "spec.dataset.columns",
    ),
    Case("labels of preferences", {**PREFERENCES, "spec.dataset.columns.label": "verdict"}, "spec.dataset.columns"),
    Case(
        "an accuracy that stands for preferences",
        {**PREFERENCES, "spec.evaluation.primaryMetric": "test/accuracy"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "an accuracy that stands for sets of labels",
        {**LABEL_SETS, "spec.evaluation.primaryMetric": "test/accuracy"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "an accuracy required of preferences",
        {**PREFERENCES, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "two slices of one name",
        {"spec.evaluation.slices": [{"name": "german", "column": "lang", "values": ["de"]}] * 2},
        "spec.evaluation.slices",
    ),
    Case(
        "a requirement of a slice that is not there",
        {"spec.evaluation.require": [{"metric": "test/german/accuracy", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "slices without held-out rows",
        {
            "spec.dataset.testFraction": 0,
            "spec.dataset.validationFraction": 0,
            "spec.evaluation.slices": [{"name": "german", "column": "lang", "values": ["de"]}],
        },
        "spec.evaluation.slices",
    ),
    Case("a momentum of AdamW", {"spec.training.optimizer": {"momentum": 0.9}}, "spec.training.optimizer.momentum"),
    Case("a beta of SGD", {"spec.training.optimizer": {"type": "SGD", "beta1": 0.9}}, "spec.training.optimizer.beta1"),
    Case(
        "an epsilon of Lion",
        {"spec.training.optimizer": {"type": "Lion", "epsilon": 1e-8}},
        "spec.training.optimizer.epsilon",
    ),
    Case(
        "whole matrices in pieces",
        {"spec.training.optimizer": {"type": "Muon"}, "spec.zero.stage": 2},
        "spec.zero.stage",
    ),
    Case(
        "whole matrices of 16 bits",
        {"spec.training.optimizer": {"type": "Adafactor"}, "spec.training.precision": "BF16"},
        "spec.training.precision",
    ),
    Case(
        "a test metric that decides when to stop",
        {"spec.training.earlyStopping": {"patience": 2}, "spec.evaluation.primaryMetric": "test/loss"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a test metric that decides what is published",
        {"spec.training.keep": "Best", "spec.evaluation.primaryMetric": "test/loss"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "early stopping without a validation split",
        {"spec.dataset.validationFraction": 0, "spec.training.earlyStopping": {"patience": 2}},
        "spec.training.earlyStopping",
    ),
    Case(
        "the best weights without a validation split",
        {"spec.dataset.validationFraction": 0, "spec.training.keep": "Best"},
        "spec.training.keep",
    ),
    Case(
        "evaluations by steps without a validation split",
        {"spec.dataset.validationFraction": 0, "spec.evaluation.everySteps": 10},
        "spec.evaluation.everySteps",
    ),
    *(Case(f"{error} in {field}", {field: uri}, field) for field in _URIS for error, uri in _URIS_WRONG.items()),
    Case("a model of the hub without its commit", {"spec.model.uri": "hf://owner/name"}, "spec.model.revision"),
    Case("a commit of a model that is in no hub", {"spec.model.revision": COMMIT}, "spec.model.revision"),
    Case(
        "DoRA where ZeRO cuts the weights",
        {"spec.method": {"type": "LoRA", "lora": {"variant": "DoRA"}}, "spec.zero.stage": 3},
        "spec.zero.stage",
    ),
    Case(
        "an optimizer offloaded at stage 0",
        {"spec.zero": {"stage": 0, "offload": {"optimizer": "CPU"}}},
        "spec.zero.offload.optimizer",
    ),
    Case(
        "weights offloaded below stage 3",
        {"spec.zero": {"stage": 2, "offload": {"weights": "CPU"}}},
        "spec.zero.offload.weights",
    ),
    *(
        Case(
            f"offloaded {what} of an optimizer that works on whole matrices",
            {"spec.training.optimizer": {"type": "Muon"}, "spec.zero": {"offload": {what: "CPU"}}},
            "spec.zero.offload",
        )
        for what in ("optimizer", "weights")
    ),
    Case(
        "offloaded weights beside DoRA",
        {"spec.method": {"type": "LoRA", "lora": {"variant": "DoRA"}}, "spec.zero": {"offload": {"weights": "CPU"}}},
        "spec.zero.offload.weights",
    ),
    Case(
        "offloaded weights that are quantized",
        {"spec.method": {"type": "LoRA", "quantization": {"type": "NF4"}}, "spec.zero.offload.weights": "CPU"},
        "spec.zero.offload.weights",
    ),
    Case(
        "quantized weights where ZeRO cuts them",
        {"spec.method": {"type": "LoRA", "quantization": {"type": "NF4"}}, "spec.zero.stage": 3},
        "spec.zero.stage",
    ),
    Case(
        "quantized weights that are trained",
        {"spec.method": {"quantization": {"type": "NF4"}}},
        "spec.method.quantization",
    ),
    Case(
        "DoRA beside quantized weights",
        {"spec.method": {"type": "LoRA", "lora": {"variant": "DoRA"}, "quantization": {"type": "NF4"}}},
        "spec.method.lora.variant",
    ),
    Case(
        "constants of 8 bits quantized again",
        {"spec.method": {"type": "LoRA", "quantization": {"type": "Int8", "doubleQuantization": True}}},
        "spec.method.quantization.doubleQuantization",
    ),
    Case("settings of LoRA beside Full", {"spec.method": {"lora": {"rank": 8}}}, "spec.method.lora"),
    Case(
        "frozen layers beside LoRA",
        {"spec.method": {"type": "LoRA", "freeze": {"bottomLayers": 2}}},
        "spec.method.freeze",
    ),
    Case(
        "frozen embeddings beside LoRA",
        {"spec.method": {"type": "LoRA", "freeze": {"embeddings": True}}},
        "spec.method.freeze",
    ),
    Case(
        "adapted layers chosen twice",
        {"spec.method": {"type": "LoRA", "lora": {"targets": "Attention", "targetModules": ["q_proj"]}}},
        "spec.method.lora.targetModules",
    ),
    Case("a priority outside of a queue", {"spec.priorityClassName": "high"}, "spec.priorityClassName"),
    Case(
        "rows that are compared, one at a time",
        {**PAIRS, "spec.training.microBatchSize": 1},
        "spec.training.microBatchSize",
    ),
    Case(
        "rows that are compared, in steps of one",
        {**PAIRS, "spec.training.globalBatchSize": 1},
        "spec.training.globalBatchSize",
    ),
    Case("a beta beside labels", {"spec.task.preference": {"beta": 0.1}}, "spec.task.preference"),
    Case("settings of vectors beside labels", {"spec.task.embedding": {"pooling": "CLS"}}, "spec.task.embedding"),
    Case(
        "answers of a model that goes on with texts",
        {**DOCUMENTS, "spec.evaluation.generation": {"maxRows": 5}},
        "spec.evaluation.generation",
    ),
    Case("answers of a classifier", {"spec.evaluation.generation": {"maxRows": 5}}, "spec.evaluation.generation"),
    Case(
        "a metric of answers that nobody writes",
        {**CAUSAL, "spec.evaluation.require": [{"metric": "test/rouge_l", "min": 0.1}]},
        "spec.evaluation.require",
    ),
    Case(
        "answers that nobody writes as what stands for the model",
        {**CAUSAL, "spec.evaluation.primaryMetric": "test/rouge_l"},
        "spec.evaluation.primaryMetric",
    ),
    Case("a metric of one's own twice", {"spec.evaluation.metrics": ["cost", "cost"]}, "spec.evaluation.metrics"),
    Case(
        "a required metric of one's own that is not named",
        {
            "spec.evaluation.metrics": ["cost"],
            "spec.evaluation.require": [{"metric": "test/custom.price", "max": 0.5}],
        },
        "spec.evaluation.require",
    ),
    Case(
        "a metric of one's own that stands for the model",
        {"spec.evaluation.metrics": ["cost"], "spec.evaluation.primaryMetric": "test/custom.cost"},
        "spec.evaluation.primaryMetric",
    ),
    Case(
        "a metric of one's own of what is not compared",
        {**PAIRS, "spec.evaluation.metrics": ["cost"]},
        "spec.evaluation.metrics",
    ),
    Case(
        "a metric of one's own of answers that nobody writes",
        {**CAUSAL, "spec.evaluation.metrics": ["cost"]},
        "spec.evaluation.metrics",
    ),
    Case(
        "a metric of a slice that stands for the model",
        {
            "spec.evaluation.slices": [{"name": "german", "column": "lang", "values": ["de"]}],
            "spec.evaluation.primaryMetric": "test/german/accuracy",
        },
        "spec.evaluation.primaryMetric",
    ),
    Case("no target", {**SEQ2SEQ, "spec.dataset.columns": {"source": "article"}}, "spec.dataset.columns"),
    Case(
        "a required metric that a Seq2Seq does not have",
        {**SEQ2SEQ, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 0.8}]},
        "spec.evaluation.require",
    ),
    Case(
        "a metric for Seq2Seq that it does not have",
        {**SEQ2SEQ, "spec.evaluation.primaryMetric": "test/accuracy"},
        "spec.evaluation.primaryMetric",
    ),
    Case("a Seq2Seq with a label", {**SEQ2SEQ, "spec.dataset.columns.label": "mood"}, "spec.dataset.columns"),
    Case(
        "settings of Seq2Seq for a CausalLM",
        {**CAUSAL, "spec.task.seq2Seq": {"maxTargetLength": 16}},
        _WRITES,
    ),
    Case("a source alone with a language", {**SEQ2SEQ, "spec.task.seq2Seq": {"sourceLanguage": "en_XX"}}, _WRITES),
    Case("a target alone with a language", {**SEQ2SEQ, "spec.task.seq2Seq": {"targetLanguage": "en_XX"}}, _WRITES),
    Case("labels of a CausalLM", {**CAUSAL, "spec.task.labels": ["a", "b"]}, "spec.task.labels"),
    Case("data of the hub without its commit", {"spec.dataset.uri": _HUB_DATA}, "spec.dataset.revision"),
    Case("folders within a name", {"spec.dataset.uri": "s3://data/reviews/**.csv"}, "spec.dataset.uri"),
    Case(
        "folders within the name of validation data",
        {"spec.dataset.validation": {"uri": "s3://data/**a.csv"}},
        "spec.dataset.validation.uri",
    ),
    Case(
        "folders within the name of a test's folder",
        {"spec.dataset.test": {"uri": "s3://data/re**views/a.csv"}},
        "spec.dataset.test.uri",
    ),
    Case(
        "a model's address in place of a dataset's",
        {"spec.dataset.uri": "hf://owner/name/data.csv", "spec.dataset.revision": COMMIT},
        "spec.dataset.uri",
    ),
    *(
        Case(f"a dataset that ends in {end}", {"spec.dataset.uri": f"s3://bucket/data{end}"}, "spec.dataset.uri")
        for end in (".txt", ".tsv", ".json", ".csv.zip", "/*.tsv", "", "/")
    ),
    *(
        Case(
            f"a model of the hub as {split} data",
            {f"spec.dataset.{split}": {"uri": "hf://owner/name/data.csv", "revision": COMMIT}},
            f"spec.dataset.{split}.uri",
        )
        for split in ("validation", "test")
    ),
    Case("a test set of another format", {"spec.dataset.test.uri": "s3://bucket/test.json"}, "spec.dataset.test.uri"),
    Case("a commit of data that is in no hub", {"spec.dataset.revision": COMMIT}, "spec.dataset.revision"),
    Case(
        "validation rows from two places",
        {"spec.dataset.validation": {"uri": "file:///data/v.csv"}, "spec.dataset.validationFraction": 0.1},
        "spec.dataset.validationFraction",
    ),
    Case(
        "test rows from two places",
        {"spec.dataset.test": {"uri": "file:///data/t.csv"}, "spec.dataset.testFraction": 0.1},
        "spec.dataset.testFraction",
    ),
    Case("nothing left to train on", {"spec.dataset.validationFraction": 0.9}, "spec.dataset.testFraction"),
    Case(
        "validation data of the hub without its commit",
        {"spec.dataset.validation.uri": _HUB_DATA},
        "spec.dataset.validation.revision",
    ),
    Case("test data of the hub without its commit", {"spec.dataset.test.uri": _HUB_DATA}, "spec.dataset.test.revision"),
    Case(
        "a warm-up in steps and as a ratio",
        {"spec.training.schedule": {"warmupSteps": 5, "warmupRatio": 0.1}},
        "spec.training.schedule.warmupRatio",
    ),
    Case(
        "a requirement without a bound",
        {"spec.evaluation.require": [{"metric": "test/accuracy"}]},
        "spec.evaluation.require[0].min",
    ),
    Case(
        "a requirement that nothing can meet",
        {"spec.evaluation.require": [{"metric": "test/loss", "max": 1}, {"metric": "test/loss", "min": 2, "max": 1}]},
        "spec.evaluation.require[1].min",
    ),
    Case("a classification without labels", {"spec.dataset.columns": {"text": "body"}}, "spec.dataset.columns"),
    Case("a classification with prompts", {"spec.dataset.columns.prompt": "question"}, "spec.dataset.columns"),
    Case(
        "a CausalLM without completions",
        {**CAUSAL, "spec.dataset.columns": {"prompt": "question"}},
        "spec.dataset.columns",
    ),
    Case("a CausalLM with a label", {**CAUSAL, "spec.dataset.columns.label": "mood"}, "spec.dataset.columns"),
    Case("a CausalLM with a text", {**CAUSAL, "spec.dataset.columns.text": "body"}, "spec.dataset.columns"),
    Case(
        "messages beside a prompt and its completion",
        {**CAUSAL, "spec.dataset.columns.messages": "turns"},
        "spec.dataset.columns",
    ),
    Case(
        "messages beside a text",
        {**CONVERSATIONS, "spec.dataset.columns.text": "body"},
        "spec.dataset.columns",
    ),
    Case(
        "messages beside a completion",
        {**CAUSAL, "spec.dataset.columns": {"completion": "answer", "messages": "turns"}},
        "spec.dataset.columns",
    ),
    Case(
        "a regression with smoothed labels",
        {**NUMBERS, "spec.training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
    ),
    Case(
        "a gamma without a focal loss",
        {"spec.task.sequenceClassification": {"focalGamma": 2}},
        "spec.task.sequenceClassification.focalGamma",
    ),
    Case(
        "weights given and worked out",
        {
            "spec.task.sequenceClassification": {
                "classWeights": "Balanced",
                "weights": [{"label": "fresh", "weight": 2}],
            }
        },
        "spec.task.sequenceClassification.weights",
    ),
    Case(
        "weights of labels beside another task",
        {**WORDS, "spec.task.sequenceClassification": {"classWeights": "Balanced"}},
        "spec.task.sequenceClassification",
    ),
    Case(
        "smoothed labels of a focal loss",
        {"spec.task.sequenceClassification": {"loss": "Focal"}, "spec.training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
    ),
    Case("words without tags", {**WORDS, "spec.dataset.columns": {"tokens": "words"}}, "spec.dataset.columns"),
    Case(
        "tags beside spans",
        {**WORDS, "spec.dataset.columns": {"tokens": "words", "tags": "ner", "spans": "entities"}},
        "spec.dataset.columns",
    ),
    Case(
        "macro F1 required of tagged words",
        {**WORDS, "spec.evaluation.require": [{"metric": "test/f1_macro", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "several labels in the column of one",
        {**LABEL_SETS, "spec.dataset.columns": {"text": "a", "label": "b"}},
        "spec.dataset.columns",
    ),
    Case(
        "a threshold beside a classification of one label",
        {"spec.task.multiLabelClassification": {"threshold": 0.5}},
        "spec.task.multiLabelClassification",
    ),
    Case(
        "accuracy required of several labels",
        {**LABEL_SETS, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case("a regression with a label", {**NUMBERS, "spec.dataset.columns.label": "verdict"}, "spec.dataset.columns"),
    Case("a regression without values", {**NUMBERS, "spec.dataset.columns": {"text": "a"}}, "spec.dataset.columns"),
    Case("a regression with labels", {**NUMBERS, "spec.task.labels": ["1", "2"]}, "spec.task.labels"),
    Case(
        "the settings of a regression beside a classification",
        {"spec.task.sequenceRegression": {"loss": "MAE"}},
        "spec.task.sequenceRegression",
    ),
    Case(
        "Huber's delta without Huber's loss",
        {**NUMBERS, "spec.task.sequenceRegression": {"huberDelta": 2}},
        "spec.task.sequenceRegression.huberDelta",
    ),
    Case(
        "accuracy required of a regression",
        {**NUMBERS, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case("a classification of messages", {"spec.dataset.columns.messages": "turns"}, "spec.dataset.columns"),
    Case(
        "other labels to drop, and none to keep",
        {"spec.dataset.cleaning.dropOtherLabels": True},
        "spec.dataset.cleaning.dropOtherLabels",
    ),
    Case(
        "accuracy required of CausalLM",
        {**CAUSAL, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 0.5}]},
        "spec.evaluation.require",
    ),
    Case(
        "perplexity required of a classification",
        {"spec.evaluation.require": [{"metric": "test/perplexity", "max": 9}]},
        "spec.evaluation.require",
    ),
    Case(
        "a test metric without test rows",
        {"spec.dataset.testFraction": 0, "spec.evaluation.require": [{"metric": "test/loss", "max": 1}]},
        "spec.evaluation.require",
    ),
    Case(
        "a validation metric without validation rows",
        {"spec.dataset.validationFraction": 0, "spec.evaluation.require": [{"metric": "validation/loss", "max": 1}]},
        "spec.evaluation.require",
    ),
)

WRONG = (
    Case(
        "a doubt as great as the belief",
        {**PREFERENCES, "spec.task.preference": {"labelSmoothing": 0.5}},
        "spec.task.preference.labelSmoothing",
    ),
    Case(
        "a margin below nothing",
        {**PREFERENCES, "spec.task.preference": {"loss": "SimPO", "gamma": -1}},
        "spec.task.preference.gamma",
    ),
    Case(
        "a loss of preferences that is none",
        {**PREFERENCES, "spec.task.preference": {"loss": "KTO"}},
        "spec.task.preference.loss",
    ),
    Case("a metric of one's own by another name", {"spec.evaluation.metrics": ["Cost"]}, "spec.evaluation.metrics[0]"),
    Case("a beta of nothing", {**PREFERENCES, "spec.task.preference": {"beta": 0}}, "spec.task.preference.beta"),
    Case(
        "a patience of no evaluation",
        {"spec.training.earlyStopping": {"patience": 0}},
        "spec.training.earlyStopping.patience",
    ),
    Case(
        "checkpoints of which none is kept",
        {"spec.training.checkpoints": {"everySteps": 1, "retain": 0}},
        "spec.training.checkpoints.retain",
    ),
    Case(
        "checkpoints all the time",
        {"spec.training.checkpoints": {"everySeconds": 0}},
        "spec.training.checkpoints.everySeconds",
    ),
    Case("a spike in every step", {"spec.training.watchdog": {"spikeFactor": 1}}, "spec.training.watchdog.spikeFactor"),
    Case("a spike that is forgotten", {"spec.training.watchdog": {"onSpike": "Off"}}, "spec.training.watchdog.onSpike"),
    Case(
        "a hang before anything could move",
        {"spec.training.watchdog": {"hangSeconds": 9}},
        "spec.training.watchdog.hangSeconds",
    ),
    Case(
        "early stopping without its patience",
        {"spec.training.earlyStopping": {"minDelta": 0.1}},
        "spec.training.earlyStopping.patience",
    ),
    Case(
        "an improvement of less than none",
        {"spec.training.earlyStopping": {"patience": 1, "minDelta": -1}},
        "spec.training.earlyStopping.minDelta",
    ),
    Case("a misspelt field", {"spec.training.epoch": 3}, "spec.training.epoch"),
    Case("a field of the wrong spelling of words", {"spec.training.learning_rate": 0.1}, "spec.training.learning_rate"),
    Case("a field in the wrong group", {"spec.epochs": 3}, "spec.epochs"),
    Case("no spec", {"spec": MISSING}, "spec"),
    Case("no model", {"spec.model": MISSING}, "spec.model"),
    Case("nothing for the model", {"spec.model": None}, "spec.model"),
    Case("nothing for a label", {"spec.task.labels": ["fresh", None]}, "spec.task.labels[1]"),
    Case("a line break in a URI", {"spec.model.uri": "file:///models\n"}, "spec.model.uri"),
    Case("no URI of the model", {"spec.model": {}}, "spec.model.uri"),
    Case("no columns", {"spec.dataset.columns": MISSING}, "spec.dataset.columns"),
    Case("no place for the result", {"spec.output": MISSING}, "spec.output"),
    Case(
        "a decay over no step",
        {"spec.training.schedule": {"type": "WSD", "decayRatio": 0}},
        "spec.training.schedule.decayRatio",
    ),
    Case("a schedule that nobody knows", {"spec.training.schedule": {"type": "Square"}}, "spec.training.schedule.type"),
    Case("a dropout of everything", {"spec.training.dropout": 1.0}, "spec.training.dropout"),
    Case("layers below that do not learn", {"spec.training.layerwiseDecay": 0}, "spec.training.layerwiseDecay"),
    Case("a penalty below none", {"spec.training.l1": -0.1}, "spec.training.l1"),
    Case("noise below none", {"spec.training.neftuneAlpha": -1}, "spec.training.neftuneAlpha"),
    Case(
        "answers of no row",
        {**CAUSAL, "spec.evaluation.generation": {"maxRows": 0}},
        "spec.evaluation.generation.maxRows",
    ),
    Case(
        "a target of one token",
        {**SEQ2SEQ, "spec.task.seq2Seq": {"maxTargetLength": 1}},
        "spec.task.seq2Seq.maxTargetLength",
    ),
    Case(
        "a language in a sentence",
        {**SEQ2SEQ, "spec.task.seq2Seq": {"sourceLanguage": "from English", "targetLanguage": "de_DE"}},
        "spec.task.seq2Seq.sourceLanguage",
    ),
    Case(
        "a temperature of nothing",
        {**PAIRS, "spec.task.embedding": {"temperature": 0}},
        "spec.task.embedding.temperature",
    ),
    Case(
        "a slice without values",
        {"spec.evaluation.slices": [{"name": "german", "column": "lang", "values": []}]},
        "spec.evaluation.slices[0].values",
    ),
    Case(
        "a slice whose name is no name",
        {"spec.evaluation.slices": [{"name": "German/de", "column": "lang", "values": ["de"]}]},
        "spec.evaluation.slices[0].name",
    ),
    Case("no metric in a requirement", {"spec.evaluation.require": [{"min": 1}]}, "spec.evaluation.require[0].metric"),
    Case("a word for a count", {"spec.training.epochs": "three"}, "spec.training.epochs"),
    Case("a number in quotes", {"spec.training.epochs": "3"}, "spec.training.epochs"),
    Case("a fraction for a count", {"spec.training.epochs": 2.5}, "spec.training.epochs"),
    Case("a number in quotes for a fraction", {"spec.training.learningRate": "2e-5"}, "spec.training.learningRate"),
    Case("a number for a word", {"spec.dataset.columns.label": 3}, "spec.dataset.columns.label"),
    Case("a number for a switch", {"spec.dataset.stratify": 1}, "spec.dataset.stratify"),
    Case("a word for a switch", {"spec.dataset.stratify": "true"}, "spec.dataset.stratify"),
    Case("a switch for a label", {"spec.task.labels": [True, False]}, "spec.task.labels[0]"),
    Case("a word for a list", {"spec.task.labels": "fresh"}, "spec.task.labels"),
    Case("a list for a group", {"spec.training": []}, "spec.training"),
    Case("a word for a group", {"spec.model": "minilm"}, "spec.model"),
    Case("no epochs", {"spec.training.epochs": 0}, "spec.training.epochs"),
    Case("a negative seed", {"spec.training.seed": -1}, "spec.training.seed"),
    Case("a seed beyond 32 bits", {"spec.training.seed": 4294967296}, "spec.training.seed"),
    Case("a count beyond 64 bits", {"spec.training.maxSteps": 10**20}, "spec.training.maxSteps"),
    Case("a learning rate of nothing", {"spec.training.learningRate": 0}, "spec.training.learningRate"),
    Case("a learning rate above 1", {"spec.training.learningRate": 1.5}, "spec.training.learningRate"),
    Case("a decay of the mean of 1", {"spec.training.optimizer.beta1": 1.0}, "spec.training.optimizer.beta1"),
    Case("too large a share", {"spec.dataset.validationFraction": 0.91}, "spec.dataset.validationFraction"),
    Case("too short a length", {"spec.task.maxLength": 7}, "spec.task.maxLength"),
    Case(
        "labels of too many bytes together, though not of too many characters (S1)",
        {"spec.task.labels": [f"{number:03}{'ж' * 120}" for number in range(300)]},
        "spec.task.labels",
    ),
    Case("labels smoothed to nothing", {"spec.training.labelSmoothing": 1.0}, "spec.training.labelSmoothing"),
    Case(
        "two weights of a label",
        {"spec.task.sequenceClassification": {"weights": [{"label": "a", "weight": 1}, {"label": "a", "weight": 2}]}},
        "spec.task.sequenceClassification.weights",
    ),
    Case(
        "a weight of nothing",
        {"spec.task.sequenceClassification": {"weights": [{"label": "a", "weight": 0}]}},
        "spec.task.sequenceClassification.weights[0].weight",
    ),
    Case("a single label", {"spec.task.labels": ["fresh"]}, "spec.task.labels"),
    Case("a label twice", {"spec.task.labels": ["a", "b", "a"]}, "spec.task.labels"),
    Case("an empty label", {"spec.task.labels": ["fresh", ""]}, "spec.task.labels[1]"),
    Case("an empty column", {"spec.dataset.columns.text": ""}, "spec.dataset.columns.text"),
    Case("too long a URI", {"spec.output.uri": "file:///" + "a" * 1017}, "spec.output.uri"),
    Case(
        "too many requirements",
        {"spec.evaluation.require": [{"metric": "test/loss", "max": 1}] * 17},
        "spec.evaluation.require",
    ),
    Case(
        "a threshold of 1",
        {**LABEL_SETS, "spec.task.multiLabelClassification": {"threshold": 1}},
        "spec.task.multiLabelClassification.threshold",
    ),
    Case(
        "no separator",
        {**LABEL_SETS, "spec.task.multiLabelClassification": {"separator": ""}},
        "spec.task.multiLabelClassification.separator",
    ),
    Case(
        "a loss that is not there",
        {**NUMBERS, "spec.task.sequenceRegression": {"loss": "LogCosh"}},
        "spec.task.sequenceRegression.loss",
    ),
    Case(
        "Huber's delta of nothing",
        {**NUMBERS, "spec.task.sequenceRegression": {"loss": "Huber", "huberDelta": 0}},
        "spec.task.sequenceRegression.huberDelta",
    ),
    Case("a task that is not there", {"spec.task.type": "Regression"}, "spec.task.type"),
    Case("a task in small letters", {"spec.task.type": "causallm"}, "spec.task.type"),
    Case("a schedule that is not there", {"spec.training.schedule.type": "Step"}, "spec.training.schedule.type"),
    Case("a precision that is not there", {"spec.training.precision": "FP8"}, "spec.training.precision"),
    Case("a ZeRO stage that is not there", {"spec.zero.stage": 4}, "spec.zero.stage"),
    Case("an optimizer on disks", {"spec.zero.offload.optimizer": "NVMe"}, "spec.zero.offload.optimizer"),
    Case(
        "layers of which some are computed a second time",
        {"spec.training.activationCheckpointing": "Selective"},
        "spec.training.activationCheckpointing",
    ),
    Case("a store that is not there", {"spec.model.uri": "ftp://host/model"}, "spec.model.uri"),
    Case("a path that is no URI", {"spec.dataset.uri": "/data/reviews.csv"}, "spec.dataset.uri"),
    Case("a result in the hub", {"spec.output.uri": "hf://owner/name"}, "spec.output.uri"),
    Case("a profile's name with capitals", {"spec.profileRef.name": "Big_One"}, "spec.profileRef.name"),
    Case("a profile's name that ends in a hyphen", {"spec.profileRef.name": "big-"}, "spec.profileRef.name"),
    Case("a branch for a commit", {"spec.model.revision": "main"}, "spec.model.revision"),
    Case("a commit cut short", {"spec.model.revision": COMMIT[:8]}, "spec.model.revision"),
    Case(
        "a metric that is not there",
        {"spec.evaluation.require": [{"metric": "test/f1", "min": 0.5}]},
        "spec.evaluation.require[0].metric",
    ),
)

NAMES_WRONG = (
    Case("a name of 38 characters", {"metadata.name": "a" * 38}, "metadata.name"),
    Case("a name with a dot", {"metadata.name": "film.reviews"}, "metadata.name"),
    Case("a name that begins with a digit", {"metadata.name": "2nd-reviews"}, "metadata.name"),
)

PROFILES_RIGHT = (
    ProfileCase("the fewest fields of a profile", {}),
    ProfileCase("the least shared memory", {"spec.sharedMemorySize": "100Mi"}),
    ProfileCase("the least shared memory in bytes", {"spec.sharedMemorySize": "104857600"}),
    ProfileCase("a fraction of a GiB of shared memory", {"spec.sharedMemorySize": "0.1Gi"}),
    *(
        ProfileCase(f"{amount!r} of memory", {"spec.worker.memory": amount})
        for amount in (
            80 * 2**30,
            "8e9",
            "8E9",
            "+8e+9",
            "1Pi",
            "1P",
            "1E",
            "8589934592000m",
            "9000000000000000u",
            "9000000000000000000n",
            "8.Gi",
            "1.5Gi",
        )
    ),
    *(ProfileCase(f"{cores!r} cores", {"spec.worker.cpu": cores}) for cores in (2, "0.5", ".5", "1m", "1e-3", "1000u")),
    ProfileCase(
        "every pod with its place",
        {
            "spec.architecture": "arm64",
            "spec.nodeSelector": {"kubernetes.io/arch": "amd64", "gpu": "a100"},
            "spec.tolerations": [{"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoExecute"}],
            "spec.head": {
                "memory": "4Gi",
                "nodeSelector": {"pool": "cpu"},
                "tolerations": [{"operator": "Exists"}, {"key": "a.example/b", "value": ""}],
            },
            "spec.submitter": {"cpu": 1, "nodeSelector": {}, "tolerations": [{"key": "pool", "operator": "Exists"}]},
        },
    ),
    ProfileCase(
        "a fast network between nodes",
        {
            "spec.accelerator": {"memory": "80Gi"},
            "spec.worker": {
                "extraResources": {"vpc.amazonaws.com/efa": 4, "rdma/ib": "1", "hugepages-2Mi": "640Mi"},
                "env": [{"name": "NCCL_IB_HCA", "value": "mlx5"}, {"name": "FI_PROVIDER", "value": "efa"}],
                "podAnnotations": {"k8s.v1.cni.cncf.io/networks": "rail-0,rail-1"},
                "affinity": {"topologyKey": "topology.kubernetes.io/zone"},
                "lockMemoryAsRoot": True,
            },
        },
    ),
    ProfileCase(
        "nodes near each other, if it can be",
        {"spec.worker.affinity": {"topologyKey": "example.com/rack", "required": False}},
    ),
    ProfileCase("the longest names", {"spec.nodeSelector": {"d" * 189 + "/" + "n" * 63: "v" * 63}}),
    ProfileCase(
        "a resource of a long domain", {"spec.accelerator": {"resourceName": "d" * 240 + "/gpu", "memory": "1Gi"}}
    ),
    ProfileCase(
        "a key that signs",
        {
            "spec.credentials": [{"prefix": "s3://", "secretName": "s3"}],
            "spec.signing": {"secretName": "model-signing"},
        },
    ),
    ProfileCase("priorities", {"spec.allowedPriorityClassNames": ["low", "high"]}),
    ProfileCase(
        "ranges of addresses",
        {
            "spec.egress": [
                {"cidr": cidr, "ports": [443]}
                for cidr in ("0.0.0.0/0", "::/0", "10.0.0.0/8", "FD00:10::/32", "10.1.2.3/32", "64:ff9b::1.2.3.4/128")
            ]
        },
    ),
    ProfileCase(
        "workload identity that asks a metadata server",
        {"spec.serviceAccountName": "trainer", "spec.egress": [{"cidr": "169.254.169.254/32", "ports": [80]}]},
    ),
    ProfileCase("labels of nodes", {"spec.nodeSelector": {"nvidia.com/gpu.product": "A100", "zone": ""}}),
    ProfileCase(
        "each kind of selector",
        {
            "spec.namespaceSelector": {
                "matchLabels": {"example.com/team": "a"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["research"]},
                    {"key": "tier", "operator": "NotIn", "values": ["demo", ""]},
                    {"key": "example.com/gpus", "operator": "Exists"},
                    {"key": "closed", "operator": "DoesNotExist"},
                ],
            }
        },
    ),
)

KEYS_WRONG = (
    ProfileCase("a label's key with a space", {"spec.nodeSelector": {"gpu product": "A100"}}, "spec.nodeSelector"),
    *(
        ProfileCase(
            f"a label's key of the domain {domain}",
            {"spec.nodeSelector": {f"{domain}/gpu": "A100"}},
            "spec.nodeSelector",
        )
        for domain in ("a..b", "a.-b", "a-.b", "-a", "a.", ".a", "A", "d" * 250)
    ),
    ProfileCase("a label's key that ends in a dot", {"spec.nodeSelector": {"gpu.": "A100"}}, "spec.nodeSelector"),
    ProfileCase("a label's key of two slashes", {"spec.nodeSelector": {"a/b/c": "A100"}}, "spec.nodeSelector"),
    ProfileCase("a label's key that is too long", {"spec.nodeSelector": {"k" * 64: "A100"}}, "spec.nodeSelector"),
    ProfileCase(
        "a label without a key", {"spec.namespaceSelector.matchLabels": {"": "x"}}, "spec.namespaceSelector.matchLabels"
    ),
)
"""The API server names the map, the models name the key in it as well."""
_SELECTOR = "spec.namespaceSelector.matchExpressions"
_PLACED = ("spec", "spec.head", "spec.submitter")
"""What has tolerations."""
_NO_MEMORY = "spec.accelerator.memory"
_EXTRA = "spec.worker.extraResources"
PROFILE_RULES_BROKEN = (
    ProfileCase(
        "the accelerator once more",
        {
            "spec.accelerator": {"memory": "80Gi", "resourceName": "example.com/gpu"},
            "spec.worker.extraResources": {"example.com/gpu": 4},
        },
        "spec.worker",
    ),
    ProfileCase(
        "a label of Ray to be passed on",
        {"spec.inheritedMetadata.labels": {"ray.io/cluster": "a"}},
        "spec.inheritedMetadata.labels",
    ),
    ProfileCase(
        "an annotation of kubetune to be passed on",
        {"spec.inheritedMetadata.annotations": {"kubetune.dev/job": "a"}},
        "spec.inheritedMetadata.annotations",
    ),
    ProfileCase("In without values", {_SELECTOR: [{"key": "tier", "operator": "In"}]}, f"{_SELECTOR}[0].values"),
    ProfileCase(
        "Exists with values",
        {_SELECTOR: [{"key": "a", "operator": "Exists", "values": ["b"]}]},
        f"{_SELECTOR}[0].values",
    ),
    ProfileCase("too little shared memory", {"spec.sharedMemorySize": "99Mi"}, "spec.sharedMemorySize"),
    ProfileCase("shared memory of 100 million bytes", {"spec.sharedMemorySize": "100M"}, "spec.sharedMemorySize"),
    ProfileCase("shared memory without a unit", {"spec.sharedMemorySize": "100"}, "spec.sharedMemorySize"),
    ProfileCase("more shared memory than the head has", {"spec.sharedMemorySize": "4Gi"}, "spec.head.memory"),
    ProfileCase(
        "more shared memory than a worker has",
        {"spec.head.memory": "9Gi", "spec.sharedMemorySize": "8589934592"},
        "spec.worker.memory",
    ),
    *(
        ProfileCase(
            f"{memory!r} for the {pod}",
            {"spec.sharedMemorySize": "100Mi", f"spec.{pod}.memory": memory},
            f"spec.{pod}.memory",
        )
        for pod, memory in (("worker", "511Mi"), ("head", "400M"), ("submitter", "256Mi"), ("submitter", 64))
    ),
    *(
        ProfileCase(f"{cores!r} cores for the {pod}", {f"spec.{pod}.cpu": cores}, f"spec.{pod}.cpu")
        for pod, cores in (("worker", 0), ("head", "0.5m"), ("submitter", "1u"))
    ),
    *(
        ProfileCase(
            f"the variable {name}", {"spec.worker.env": [{"name": name, "value": "1"}]}, "spec.worker.env[0].name"
        )
        for name in ("LD_PRELOAD", "NCCL", "OMP_NUM_THREADS", "RAY_ADDRESS")
    ),
    ProfileCase(
        "a variable twice",
        {"spec.worker.env": [{"name": "NCCL_DEBUG", "value": value} for value in "ab"]},
        "spec.worker.env",
    ),
    *(
        ProfileCase(f"{name} beside the accelerator", {"spec.worker.extraResources": {name: 1}}, _EXTRA)
        for name in (
            "nvidia.com/gpu",
            "nvidia.com/mig-1g.5gb",
            "amd.com/gpu",
            "requests.a/b",
            "kubernetes.io/a",
            "x.kubernetes.io/a",
        )
    ),
    *(
        ProfileCase(f"{value!r} of {name}", {"spec.worker.extraResources": {name: value}}, _EXTRA)
        for name, value in (
            ("rdma/ib", "1Gi"),
            ("hugepages-2Mi", "3Mi"),
            ("hugepages-2Mi", "4"),
            ("hugepages-1Gi", "512Mi"),
        )
    ),
    *(
        ProfileCase(f"the annotation {key}", {"spec.worker.podAnnotations": {key: "a"}}, "spec.worker.podAnnotations")
        for key in ("kubetune.dev/job", "a.ray.io/b", "karpenter.sh/do-not-disrupt")
    ),
    ProfileCase(
        "all pods on one node",
        {"spec.worker.affinity": {"topologyKey": "kubernetes.io/hostname"}},
        "spec.worker.affinity.topologyKey",
    ),
    ProfileCase("an accelerator's memory without a unit", {"spec.accelerator": {"memory": 80}}, _NO_MEMORY),
    ProfileCase("as much memory as shared memory by default", {"spec.head.memory": "1Gi"}, "spec.head.memory"),
    ProfileCase("scratch without a unit", {"spec.scratchSize": 50}, "spec.scratchSize"),
    *(
        ProfileCase(
            f"a resource named {name}",
            {"spec.accelerator": {"resourceName": name, "memory": "80Gi"}},
            "spec.accelerator.resourceName",
        )
        for name in ("requests.nvidia.com/gpu", "kubernetes.io/gpu", "gpu.kubernetes.io/a100", "amd.com/gpu")
    ),
    *(
        ProfileCase(
            f"several workers to a pod, each with {name}",
            {"spec.accelerator": {"resourceName": name, "memory": "9Gi"}, "spec.workersPerPod": 2},
            "spec.workersPerPod",
        )
        for name in ("nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared")
    ),
    *(
        ProfileCase(
            f"a toleration of {where} without a key",
            {f"{where}.tolerations": [{"key": "a"}, {"effect": "NoSchedule"}]},
            f"{where}.tolerations[1].operator",
        )
        for where in _PLACED
    ),
    *(
        ProfileCase(
            f"a toleration of {where} with a value that is not looked at",
            {f"{where}.tolerations": [{"key": "gpu", "operator": "Exists", "value": "a100"}]},
            f"{where}.tolerations[0].value",
        )
        for where in _PLACED
    ),
    *(
        ProfileCase(f"the range {cidr}", {"spec.egress": [{"cidr": cidr, "ports": [443]}]}, "spec.egress[0].cidr")
        for cidr in (
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0/8",
            "256.0.0.0/8",
            "010.0.0.0/8",
            "fd00::/129",
            "fd00:::/16",
            ":/0",
            "::ffff:10.0.0.0/104",
        )
    ),
    ProfileCase("DNS to anybody", {"spec.egress": [{"cidr": "0.0.0.0/0", "ports": [443, 53]}]}, "spec.egress[0].ports"),
    *(
        ProfileCase(
            f"the metadata server {cidr}",
            {"spec.egress": [{"cidr": one, "ports": [443]} for one in ("10.0.0.0/8", cidr)]},
            "spec.egress",
        )
        for cidr in ("169.254.169.254/32", "fd00:ec2::254/128", "FD00:EC2:0::254/128", "168.63.129.16/32")
    ),
    ProfileCase(
        "the key that signs as a store's credentials",
        {
            "spec.credentials": [{"prefix": f"{name}://", "secretName": name} for name in ("s3", "gs")],
            "spec.signing": {"secretName": "gs"},
        },
        "spec.credentials",
    ),
)
PROFILES_WRONG = (
    ProfileCase(
        "a variable without a value", {"spec.worker.env": [{"name": "NCCL_DEBUG"}]}, "spec.worker.env[0].value"
    ),
    ProfileCase(
        "a variable in small letters",
        {"spec.worker.env": [{"name": "nccl_debug", "value": "INFO"}]},
        "spec.worker.env[0].name",
    ),
    ProfileCase(
        "a RuntimeClass of no object's name", {"spec.worker.runtimeClassName": "a..b"}, "spec.worker.runtimeClassName"
    ),
    ProfileCase("nothing to be near by", {"spec.worker.affinity": {}}, "spec.worker.affinity.topologyKey"),
    *(
        ProfileCase(f"{amount!r} of memory", {"spec.worker.memory": amount}, "spec.worker.memory")
        for amount in (
            "",
            "-1Gi",
            "8GB",
            "8gi",
            "8 Gi",
            "8G\n",
            "1e",
            "1e1.5",
            "0x10",
            "Gi",
            ".",
            0.5,
            True,
            [],
            "1" * 33,
        )
    ),
    ProfileCase("a key that climbs", {"spec.signing": {"secretName": "s", "key": "../k"}}, "spec.signing.key"),
    ProfileCase("a key without a Secret", {"spec.signing": {"key": "k"}}, "spec.signing.secretName"),
    ProfileCase("half a core without quotes", {"spec.head.cpu": 0.5}, "spec.head.cpu"),
    ProfileCase(
        "a resource without a domain",
        {"spec.accelerator": {"resourceName": "gpu", "memory": "1Gi"}},
        "spec.accelerator.resourceName",
    ),
    ProfileCase(
        "a resource of no domain's name",
        {"spec.accelerator": {"resourceName": "a..b/gpu", "memory": "1Gi"}},
        "spec.accelerator.resourceName",
    ),
    ProfileCase(
        "a resource that ends in a dot",
        {"spec.accelerator": {"resourceName": "nvidia.com/gpu.", "memory": "1Gi"}},
        "spec.accelerator.resourceName",
    ),
    ProfileCase(
        "a taint's key with a space",
        {"spec.tolerations": [{"key": "a b", "operator": "Exists"}]},
        "spec.tolerations[0].key",
    ),
    ProfileCase(
        "a taint's key of no domain's name", {"spec.tolerations": [{"key": "a..b/c"}]}, "spec.tolerations[0].key"
    ),
    ProfileCase(
        "a taint's value that is too long",
        {"spec.tolerations": [{"key": "a", "value": "v" * 64}]},
        "spec.tolerations[0].value",
    ),
    ProfileCase(
        "an effect that is not there",
        {"spec.tolerations": [{"key": "a", "effect": "Evict"}]},
        "spec.tolerations[0].effect",
    ),
    ProfileCase("an architecture that is not there", {"spec.architecture": "x86_64"}, "spec.architecture"),
    ProfileCase("a pull secret of no object's name", {"spec.imagePullSecrets": ["a..b"]}, "spec.imagePullSecrets[0]"),
    ProfileCase("a ServiceAccount of no object's name", {"spec.serviceAccountName": "a."}, "spec.serviceAccountName"),
    ProfileCase("an image with letters of another script", {"spec.image": "треner:1"}, "spec.image"),
    ProfileCase(
        "an endpoint with a space that is none in ASCII",
        {"spec.endpoints": [{"scheme": "s3", "url": "https://a\u00a0b"}]},
        "spec.endpoints[0].url",
    ),
    *(
        ProfileCase(f"the range {cidr!r}", {"spec.egress": [{"cidr": cidr, "ports": [443]}]}, "spec.egress[0].cidr")
        for cidr in ("10.0.0.0", "10.0.0.0/08", "10.0.0.0/255.0.0.0", "fe80::%eth0/64", "any")
    ),
    ProfileCase("a range without ports", {"spec.egress": [{"cidr": "10.0.0.0/8"}]}, "spec.egress[0].ports"),
    ProfileCase("a range with no port", {"spec.egress": [{"cidr": "10.0.0.0/8", "ports": []}]}, "spec.egress[0].ports"),
)
"""A field of a profile that the schema itself refuses."""
