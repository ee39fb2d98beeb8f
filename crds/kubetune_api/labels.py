"""The labels by which a job's objects and pods are found: the operator sets them, the command line asks by them."""

from kubetune_api.base import GROUP

JOB = f"{GROUP}/job"
JOB_UID = f"{GROUP}/job-uid"
ATTEMPT = f"{GROUP}/attempt"
ROLE = f"{GROUP}/role"
"""`head`, `worker` or `submitter`: what a pod is for."""
