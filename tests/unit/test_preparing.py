"""The rule that a server is given is the one that is set."""

from service.preparing import policy_of
from service.settings import Limits, Routing, Settings
from tests.builders import FAMILY


def test_the_rule_is_as_it_is_set() -> None:
    """In its own units."""
    limits = Limits(patience_ms=0)
    routing = Routing(utilisation=0.8, arrival_reserve=2, terminate_runs=False, insure_under_load=False)
    rule = policy_of(Settings(limits=limits, routing=routing), FAMILY)
    assert rule.patience_s == 0.0
    assert (rule.utilisation, rule.arrival_reserve, rule.terminates, rule.insures) == (0.8, 2, False, False)


def test_what_is_not_set_is_as_the_rule_has_it() -> None:
    """One default for the server and the simulator."""
    rule = policy_of(Settings(), FAMILY)
    assert rule == type(rule)(rule.catalogue)
