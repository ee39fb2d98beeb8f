"""What is known of a profile as a whole."""

from kubetune_api.profile import FineTuneProfile
from support.observed_jobs import profile


def test_the_default_that_an_earlier_version_wrote_into_a_profile_is_no_change_of_it() -> None:
    silent, written, other = (
        FineTuneProfile.model_validate(profile(**spec)).digest
        for spec in ({}, {"sharedMemorySize": "1Gi"}, {"sharedMemorySize": "2Gi"})
    )
    assert silent == written != other
