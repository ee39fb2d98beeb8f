"""What a model can learn to do: one row for each task.

The CRD's enumeration and rules, the documentation's tables, the words of the command line and the titles of the report
follow from the rows. How a task encodes, learns and is judged is in the trainer's `tasks/`, a file for each; a test
holds the keys of both against each other.
"""

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, Self

from kubetune_api.metrics import LOSS


@dataclass(frozen=True)
class ScoredRows:
    """A shape of rows that are judged by a score of their own, each by itself, where the task's others are not."""

    column: str
    """The attribute of `dataset.columns` that tells them: what the score is."""
    metrics: tuple[str, ...]
    """In the place of the task's."""
    headline: tuple[str, ...]
    """In the place of the task's."""


@dataclass(frozen=True)
class TaskRow:
    """One task."""

    does: str
    """The task in a sentence, for the API's page."""
    noun: str
    """What the trained model is, as the report and the card call it: "a classifier of texts"."""
    columns: tuple[str, ...]
    """The attributes of `dataset.columns` that the task needs: the first of the shapes that its rows may have."""
    metrics: tuple[str, ...]
    """What it is judged by, the loss among them; each may be required."""
    headline: tuple[str, ...]
    """The metrics at the top of a report and in `kubectl get`; the first is what the model is judged by."""
    model: Literal["Any", "Decoder", "Encoder", "EncoderDecoder"]
    """Which architectures can learn it; `Any`: an encoder or a decoder."""
    max_length: int
    """The longest sequence in tokens, where the manifest does not say."""
    pipeline: tuple[str, str]
    """The Hugging Face hub's name of the task, and the same for people."""
    also: tuple[str, ...] = ()
    """What other trainers call the task; whoever types such a name is told ours."""
    also_losses: tuple[str, ...] = ()
    """What they call one of the losses of its settings, where the name stands for the task."""
    optional_columns: tuple[str, ...] = ()
    """Those that it may use as well."""
    other_shapes: tuple[tuple[str, ...], ...] = ()
    """What a row may have in the place of `columns`: the columns of each other shape."""
    scored: ScoredRows | None = None
    """One of the other shapes, where it is judged by other metrics; None: all are judged alike."""
    has_labels: bool = False
    """Whether its targets are the labels of `task.labels`."""
    generated_metrics: tuple[str, ...] = ()
    """What its answers are judged by, where `evaluation.generation` has it write some."""
    unanswered: tuple[str, ...] = ()
    """The columns whose rows hold no answer that one of the model's could be compared with."""
    settings: str | None = None
    """The attribute of `task` that holds what can be set for it alone: `sequence_regression`."""
    smooths_labels: bool = False
    """Whether `training.labelSmoothing` means anything to it: it chooses among labels or tokens."""
    per_token: bool = False
    """Whether its head answers each token, and not the text as a whole."""
    parts: tuple[str, ...] = ()
    """The columns that are a sequence of their own each, where a row goes through the model as several."""
    learning_rate: float | None = None
    """The highest learning rate where every weight is trained and the manifest does not say; None: the method's."""
    compares_rows: bool = False
    """Whether the loss compares the rows of a micro-batch with each other."""
    output: Literal["Labels", "Vocabulary", "Vector"] = "Labels"
    """What the model's last layer has an output for: each label, each token that the model knows, or the numbers of a
    vector, without a head."""

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        """The columns of each shape that its rows may have."""
        return (self.columns, *self.other_shapes)

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column that it knows what to do with."""
        return tuple(dict.fromkeys([*self.columns, *self.optional_columns, *chain(*self.other_shapes)]))

    compared: Literal["Label", "Labels", "Tags", "Numbers", "Text"] | None = None
    """What a metric of the user's own compares of each row; None: the task has nothing of the kind."""

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """Everything that may be required of it, whatever the shape of its rows."""
        scored = self.scored.metrics if self.scored else ()
        return tuple(dict.fromkeys([*self.metrics, *scored, *self.generated_metrics]))

    def of_rows(self, columns: Any) -> Self:
        """The same for rows with these columns of a dataset."""
        if self.scored is None or getattr(columns, self.scored.column) is None:
            return self
        return replace(self, metrics=self.scored.metrics, headline=self.scored.headline, compares_rows=False)


TASKS: dict[str, TaskRow] = {
    "SequenceClassification": TaskRow(
        does="puts a new softmax head on the model and trains it with cross-entropy on labelled texts",
        noun="a classifier of texts",
        columns=("text", "label"),
        also=("SEQ_CLS", "classification", "text-classification", "sequence_cls"),
        optional_columns=("text_pair",),
        metrics=(
            *(LOSS, "accuracy", "precision_macro", "recall_macro", "f1_macro"),
            *("f1_weighted", "f1_micro", "mcc", "auc", "ece"),
        ),
        headline=("accuracy", "f1_macro", LOSS),
        model="Any",
        max_length=512,
        pipeline=("text-classification", "Text Classification"),
        has_labels=True,
        settings="sequence_classification",
        smooths_labels=True,
        compared="Label",
    ),
    "MultiLabelClassification": TaskRow(
        does="puts a new sigmoid head on the model, which gives a text any number of labels, and trains it with binary"
        " cross-entropy",
        noun="a classifier that gives a text any number of labels",
        columns=("text", "labels"),
        optional_columns=("text_pair",),
        metrics=(LOSS, "f1_micro", "f1_macro", "precision_micro", "recall_micro", "subset_accuracy"),
        headline=("f1_micro", "f1_macro", "subset_accuracy", LOSS),
        model="Any",
        max_length=512,
        pipeline=("text-classification", "Multi-label Text Classification"),
        also=("multi_label", "multilabel", "multi-label-classification", "multi_label_classification"),
        has_labels=True,
        settings="multi_label_classification",
        compared="Labels",
    ),
    "TokenClassification": TaskRow(
        does="puts a new linear layer on the model, which gives each word its tag, and trains it with cross-entropy on"
        " the first token of each word",
        noun="a tagger of words",
        columns=("tokens", "tags"),
        other_shapes=(("text", "spans"),),
        also=("TOKEN_CLS", "token-classification", "ner", "named-entity-recognition"),
        metrics=(LOSS, "accuracy", "entity_precision", "entity_recall", "entity_f1"),
        headline=("entity_f1", "entity_precision", "entity_recall", "accuracy", LOSS),
        model="Any",
        max_length=512,
        pipeline=("token-classification", "Token Classification"),
        has_labels=True,
        smooths_labels=True,
        per_token=True,
        compared="Tags",
    ),
    "SequenceRegression": TaskRow(
        does="puts a new linear head on the model and trains it to tell the number, or the numbers, of a text",
        noun="a model that tells the number of a text",
        columns=("text", "value"),
        optional_columns=("text_pair",),
        metrics=(LOSS, "mse", "rmse", "mae", "r2", "pearson", "spearman"),
        headline=("r2", "rmse", "pearson", LOSS),
        model="Any",
        max_length=512,
        pipeline=("text-classification", "Text Regression"),
        also=("regression", "sequence_regression", "text-regression", "sts"),
        settings="sequence_regression",
        compared="Numbers",
    ),
    "CausalLM": TaskRow(
        does="answers a prompt with its completion, or learns each answer of a conversation, of which the loss counts"
        " what the model is to say only; or goes on with texts, of which the loss counts every token (continued"
        " pretraining)",
        noun="a language model that goes on with what it is given",
        columns=("prompt", "completion"),
        other_shapes=(("messages",), ("text",)),
        unanswered=("text",),
        metrics=(LOSS, "perplexity"),
        generated_metrics=("exact_match", "token_f1", "rouge_l"),
        headline=("perplexity", "rouge_l", LOSS),
        model="Decoder",
        max_length=512,
        pipeline=("text-generation", "Text Generation"),
        smooths_labels=True,
        output="Vocabulary",
        also=(
            "sft",
            "pt",
            "CAUSAL_LM",
            "clm",
            "lm",
            "text-generation",
            "instruction-tuning",
            "completion",
            "pretraining",
        ),
        compared="Text",
    ),
    "Preference": TaskRow(
        does="learns to find the chosen answer to a prompt likelier than the rejected one, measured against the model"
        " as it was (DPO, IPO) or by itself (SimPO, ORPO)",
        noun="a language model that prefers some answers to others",
        columns=("prompt", "chosen", "rejected"),
        metrics=(LOSS, "reward_accuracy", "reward_margin"),
        headline=("reward_accuracy", "reward_margin", LOSS),
        model="Decoder",
        max_length=1024,
        pipeline=("text-generation", "Text Generation"),
        also=("dpo", "preference", "rl", "rlhf"),
        also_losses=("ipo", "simpo", "orpo"),
        settings="preference",
        parts=("chosen", "rejected"),
        learning_rate=1e-6,
        output="Vocabulary",
    ),
    "Seq2Seq": TaskRow(
        does="reads a source with its encoder and writes the target with its decoder: a summary, a translation, an"
        " answer",
        noun="a model that writes a target to a source",
        columns=("source", "target"),
        metrics=(LOSS, "perplexity"),
        generated_metrics=("exact_match", "token_f1", "rouge_1", "rouge_2", "rouge_l", "bleu", "chrf"),
        headline=("perplexity", "rouge_l", "bleu", LOSS),
        model="EncoderDecoder",
        max_length=512,
        pipeline=("text2text-generation", "Text-to-Text Generation"),
        settings="seq2_seq",
        smooths_labels=True,
        output="Vocabulary",
        also=("SEQ_2_SEQ_LM", "seq2seq_lm", "text2text-generation", "summarization", "translation"),
        compared="Text",
    ),
    "Embedding": TaskRow(
        does="gives each text a vector, near those of the texts that belong to it and far from the others of its"
        " micro-batch, or as near to that of another text as a score says",
        noun="a model that gives texts vectors to search by",
        columns=("anchor", "positive"),
        optional_columns=("negative",),
        other_shapes=(("sentence1", "sentence2", "score"),),
        scored=ScoredRows("score", metrics=(LOSS, "pearson", "spearman"), headline=("spearman", "pearson", LOSS)),
        metrics=(LOSS, "recall_at_1", "recall_at_10", "mrr"),
        headline=("recall_at_10", "mrr", LOSS),
        model="Encoder",
        max_length=256,
        pipeline=("sentence-similarity", "Sentence Similarity"),
        also=("embeddings", "sentence-transformers", "sentence-similarity", "FEATURE_EXTRACTION", "retrieval", "MNRL"),
        also_losses=("CosineSimilarityLoss", "cosine_similarity", "MultipleNegativesRankingLoss"),
        settings="embedding",
        parts=("anchor", "positive", "negative", "sentence1", "sentence2"),
        compares_rows=True,
        output="Vector",
    ),
}
"""By the name that `task.type` has."""


def tasks_with_labels() -> list[str]:
    """The names of the tasks whose targets are the labels of `task.labels`."""
    return [name for name, task in TASKS.items() if task.has_labels]
