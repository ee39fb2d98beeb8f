from dataclasses import fields
from typing import Any

import pytest

from kubetune_operator.settings import Settings, settings_from, variable


def test_without_a_word_the_defaults_count() -> None:
    assert settings_from([], {}) == Settings()


@pytest.mark.parametrize(
    ("arguments", "environment", "field", "value"),
    [
        pytest.param([], {"KUBETUNE_TRAINER_IMAGE": "trainer:2"}, "trainer_image", "trainer:2", id="a text"),
        pytest.param([], {"KUBETUNE_RECONCILE_WORKERS": "4"}, "reconcile_workers", 4, id="a whole number"),
        pytest.param([], {"KUBETUNE_RESYNC_SECONDS": "0.5"}, "resync_seconds", 0.5, id="a number"),
        pytest.param([], {"KUBETUNE_LEADER_ELECTION": "False"}, "leader_election", False, id="a truth in any case"),
        pytest.param([], {"KUBETUNE_DNS_PORTS": "[53, 5353]"}, "dns_ports", (53, 5353), id="a list"),
        pytest.param(["--stuck-seconds", "60"], {}, "stuck_seconds", 60.0, id="a flag"),
        pytest.param(
            ["--log-level=DEBUG"], {"KUBETUNE_LOG_LEVEL": "ERROR"}, "log_level", "DEBUG", id="a flag before a variable"
        ),
        pytest.param([], {"KUBETUNE_OTHER": "1", "PATH": "/bin"}, "log_level", "INFO", id="variables of others"),
    ],
)
def test_a_flag_counts_before_a_variable_and_that_before_a_default(
    arguments: list[str], environment: dict[str, str], field: str, value: Any
) -> None:
    assert getattr(settings_from(arguments, environment), field) == value


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({"KUBETUNE_METRICS_PORT": "http"}, "KUBETUNE_METRICS_PORT is 'http'; give a whole number"),
        pytest.param({"KUBETUNE_LEASE_SECONDS": "long"}, "KUBETUNE_LEASE_SECONDS is 'long'; give a number"),
        pytest.param({"KUBETUNE_LEADER_ELECTION": "yes"}, "KUBETUNE_LEADER_ELECTION is 'yes'; give true or false"),
        pytest.param({"KUBETUNE_RENEW_SECONDS": "8"}, "less than KUBETUNE_LEASE_SECONDS (8) by more than 2"),
        pytest.param({"KUBETUNE_RENEW_SECONDS": "6"}, "a write may take 2 seconds to find a connection"),
        pytest.param({"KUBETUNE_LEASE_SECONDS": "7"}, "KUBETUNE_RENEW_SECONDS is 5; give"),
        pytest.param({"KUBETUNE_RENEW_SECONDS": "0"}, "KUBETUNE_RENEW_SECONDS is 0; give more than 0"),
        pytest.param({"KUBETUNE_RENEW_SECONDS": "nan"}, "KUBETUNE_RENEW_SECONDS is nan"),
        pytest.param({"KUBETUNE_LOG_LEVEL": "TRACE"}, "give DEBUG, INFO, WARNING or ERROR"),
        pytest.param({"KUBETUNE_LOG_FORMAT": "xml"}, "give json or text"),
    ],
)
def test_a_value_that_makes_no_sense_ends_the_process_with_its_name_and_a_remedy(
    environment: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_from([], environment)
    assert ended.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_help_names_every_variable_and_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings_from(["--help"], {})
    shown = "".join(capsys.readouterr().out.split())
    for setting in fields(Settings):
        assert variable(setting.name) in shown
        assert "".join(setting.metadata["help"].split()) in shown
