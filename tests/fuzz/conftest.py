"""Fuzz tests: options for their duration, and what they ran."""

import pytest
from fuzz.campaign import Campaign

REPORTS = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz-seconds", type=float, default=60, help="shared among the targets")
    group.addoption("--fuzz-seed", type=int, default=0, help="another seed runs other inputs")


@pytest.fixture
def fuzz(request, tmp_path):
    """Runs attempts at mutated inputs for a share of the seconds; see Campaign.run."""
    seconds = request.config.getoption("--fuzz-seconds") / len(request.session.items)
    campaign = Campaign(tmp_path, seconds, request.config.getoption("--fuzz-seed"))
    yield campaign.run
    report = f"{request.node.name.removeprefix('test_')}: {campaign.report()}"
    request.config.stash.setdefault(REPORTS, []).append(report)


def pytest_terminal_summary(terminalreporter, config):
    for report in config.stash.get(REPORTS, []):
        terminalreporter.write_line(report)
