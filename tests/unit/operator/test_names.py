import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_operator.jobs import names

UID = "0a1b2c3d-0000-4000-8000-000000000001"
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
JOBS = st.from_regex(r"[a-z]([-a-z0-9]{0,35}[a-z0-9])?", fullmatch=True)


@given(JOBS, st.uuids(), st.integers(1, 10**15))
def test_every_ray_job_has_a_name_that_kuberay_takes(job: str, uid: object, attempt: int) -> None:
    name = names.ray_job(job, str(uid), attempt)
    assert len(name) <= 47
    assert DNS_1035.fullmatch(name)
    assert name.endswith(f"-{str(uid)[:5]}-{attempt}")


@pytest.mark.parametrize(
    ("job", "attempt", "name"),
    [
        ("reviews", 1, "reviews-0a1b2-1"),
        ("a" * 37, 999, "a" * 37 + "-0a1b2-999"),
        ("a" * 37, 99999, "a" * 35 + "-0a1b2-99999"),
        ("a" * 34 + "--b", 99999, "a" * 34 + "-0a1b2-99999"),
        ("reviews", 99999, "reviews-0a1b2-99999"),
    ],
)
def test_the_name_of_a_ray_job(job: str, attempt: int, name: str) -> None:
    assert names.ray_job(job, UID, attempt) == name


@given(JOBS, st.uuids())
def test_no_two_objects_of_a_job_share_a_name(job: str, uid: object) -> None:
    made = [names.reports(job, str(uid)), *(names.ray_job(job, str(uid), number) for number in (1, 10, 1000, 10000))]
    assert len(set(made)) == len(made)
    assert all(len(name) <= 63 and DNS_1035.fullmatch(name) for name in made)


def test_a_job_that_was_deleted_and_created_again_has_other_names() -> None:
    other = "99999999-0000-4000-8000-000000000001"
    assert names.ray_job("reviews", UID, 1) != names.ray_job("reviews", other, 1)
    assert names.reports("reviews", UID) != names.reports("reviews", other)


@given(JOBS, st.uuids())
def test_every_label_is_one_that_kubernetes_takes(job: str, uid: object) -> None:
    for key, value in names.labels_of(job, str(uid)).items():
        assert LABEL.fullmatch(value)
        assert len(key.rpartition("/")[2]) <= 63
