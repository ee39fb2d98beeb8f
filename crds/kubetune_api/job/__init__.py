"""`FineTuneJob`: one fine-tuning run, from a pretrained model and a dataset to a verified model in object storage."""

from kubetune_api.job.dataset import Cleaning, Columns, Dataset, DataSource
from kubetune_api.job.evaluation import Evaluation, Generation, Requirement, Slice
from kubetune_api.job.job import QUEUE_LABEL, FineTuneJob, ObjectMeta, queue_label_error
from kubetune_api.job.method import Freeze, LoRA, Method, Quantization
from kubetune_api.job.model import Model
from kubetune_api.job.names import MAX_NAME_LENGTH
from kubetune_api.job.output import Output
from kubetune_api.job.resources import NOTHING, Credentials, Offload, ProfileRef, Resources, Retry, Zero
from kubetune_api.job.spec import CHANGEABLE_FIELDS, CLUSTER_FIELDS, FineTuneJobSpec
from kubetune_api.job.task import Task
from kubetune_api.job.task_settings import ClassificationSettings, MultiLabelSettings, RegressionSettings
from kubetune_api.job.training import DEFAULT_MICRO_BATCH_SIZE, Checkpoints, Optimizer, Schedule, Training

__all__ = [
    "CHANGEABLE_FIELDS",
    "CLUSTER_FIELDS",
    "DEFAULT_MICRO_BATCH_SIZE",
    "MAX_NAME_LENGTH",
    "NOTHING",
    "QUEUE_LABEL",
    "Checkpoints",
    "ClassificationSettings",
    "Cleaning",
    "Columns",
    "Credentials",
    "DataSource",
    "Dataset",
    "Evaluation",
    "FineTuneJob",
    "FineTuneJobSpec",
    "Freeze",
    "Generation",
    "LoRA",
    "Method",
    "Model",
    "MultiLabelSettings",
    "ObjectMeta",
    "Offload",
    "Optimizer",
    "Output",
    "ProfileRef",
    "Quantization",
    "RegressionSettings",
    "Requirement",
    "Resources",
    "Retry",
    "Schedule",
    "Slice",
    "Task",
    "Training",
    "Zero",
    "queue_label_error",
]
