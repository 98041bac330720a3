import pytest

from powerd.signals.topics import DEFAULT_PREFIX, RackTopics, Topics


def test_topics_are_those_of_the_contract() -> None:
    topics = Topics(DEFAULT_PREFIX, "hel1", "r17", "r17-n3")
    assert topics.budget == "powerd/v1/hel1/rack/r17/budget"
    assert topics.online == "powerd/v1/hel1/rack/r17/host/r17-n3/online"
    assert topics.state == "powerd/v1/hel1/rack/r17/host/r17-n3/state"
    assert topics.telemetry == "powerd/v1/hel1/rack/r17/host/r17-n3/telemetry"
    assert topics.notice == "powerd/v1/hel1/rack/r17/host/r17-n3/notice"
    assert topics.meter("total") == "powerd/v1/hel1/rack/r17/meter/total"
    assert topics.grid_event("vtn1-8842") == "powerd/v1/hel1/grid/event/vtn1-8842"
    assert topics.bridge_online("openadr") == "powerd/v1/hel1/bridge/openadr/online"
    assert topics.signal("ghg", "fi") == "powerd/v1/hel1/signal/ghg/fi"
    assert topics.states == "powerd/v1/hel1/rack/r17/host/+/state"
    assert topics.state_of("r17-n4") == "powerd/v1/hel1/rack/r17/host/r17-n4/state"
    assert topics.summary == "powerd/v1/hel1/rack/r17/summary"
    assert topics.grid_events == "powerd/v1/hel1/grid/event/+"
    assert topics.meters == "powerd/v1/hel1/rack/r17/meter/+"


@pytest.mark.parametrize("bad", ["", "R17", "r 17", "r/17", "r+", "#", "r.17", "r17\n", "é", "x" * 65])
def test_a_name_that_some_broker_would_refuse_or_split_is_an_error_that_shows_it(bad: str) -> None:
    with pytest.raises(ValueError, match="rack") as caught:
        RackTopics(DEFAULT_PREFIX, "hel1", bad)
    assert bad in str(caught.value)
    with pytest.raises(ValueError, match="site"):
        RackTopics(DEFAULT_PREFIX, bad, "r17")
    with pytest.raises(ValueError, match="host"):
        Topics(DEFAULT_PREFIX, "hel1", "r17", bad)
    with pytest.raises(ValueError, match="feed"):
        RackTopics(DEFAULT_PREFIX, "hel1", "r17").meter(bad)
    with pytest.raises(ValueError, match="host"):
        RackTopics(DEFAULT_PREFIX, "hel1", "r17").state_of(bad)


@pytest.mark.parametrize("bad", ["/powerd", "powerd/", "powerd//v1", "Powerd", ""])
def test_a_prefix_with_an_empty_or_odd_level_is_an_error(bad: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RackTopics(bad, "hel1", "r17")


def test_a_site_may_have_a_prefix_of_its_own() -> None:
    assert RackTopics("dc/power", "hel1", "r17").budget == "dc/power/hel1/rack/r17/budget"
