"""The kinds beyond Kubernetes' own that a FineTuneJob has to do with."""

from kubetune_api.base import API_VERSION
from kubetune_operator.machinery.kinds import Kind

FINE_TUNE_JOB = Kind(API_VERSION, "FineTuneJob", "finetunejobs")
FINE_TUNE_PROFILE = Kind(API_VERSION, "FineTuneProfile", "finetuneprofiles", namespaced=False)
RAY_JOB = Kind("ray.io/v1", "RayJob", "rayjobs")
RAY_CLUSTER = Kind("ray.io/v1", "RayCluster", "rayclusters")
