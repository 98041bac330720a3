from powerd.signals.outbox import Outbox, Outgoing


def state(text: str, topic: str = "state") -> Outgoing:
    return Outgoing(topic, text.encode(), qos=1, retain=True)


def notice(text: str) -> Outgoing:
    return Outgoing("notice", text.encode(), qos=1)


def telemetry(text: str) -> Outgoing:
    return Outgoing("telemetry", text.encode())


def sent(outbox: Outbox) -> list[str]:
    payloads = []
    while message := outbox.head():
        payloads.append(message.payload.decode())
        outbox.done(message)
    return payloads


def test_of_a_retained_topic_only_the_latest_is_kept_while_the_broker_is_away() -> None:
    outbox = Outbox()
    for number in range(100):
        outbox.put(state(f"state {number}"), connected=False)
        outbox.put(state(f"online {number}", "online"), connected=False)
    assert sent(outbox) == ["state 99", "online 99"]
    assert outbox.dropped == 0


def test_telemetry_is_not_kept_for_a_broker_that_is_away() -> None:
    outbox = Outbox()
    outbox.put(telemetry("old"), connected=False)
    outbox.put(telemetry("fresh"), connected=True)
    outbox.disconnected()
    assert sent(outbox) == []
    assert outbox.dropped == 2


def test_notices_are_kept_in_order_and_the_oldest_go_when_there_are_too_many() -> None:
    outbox = Outbox(max_messages=3)
    for number in range(5):
        outbox.put(notice(f"notice {number}"), connected=False)
    assert sent(outbox) == ["notice 2", "notice 3", "notice 4"]
    assert outbox.dropped == 2


def test_states_go_before_notices_and_telemetry_comes_last() -> None:
    outbox = Outbox()
    outbox.put(telemetry("telemetry"), connected=True)
    outbox.put(notice("notice"), connected=True)
    outbox.put(state("state"), connected=True)
    assert sent(outbox) == ["state", "notice", "telemetry"]


def test_a_message_that_was_not_acknowledged_is_sent_again() -> None:
    outbox = Outbox()
    outbox.put(state("state"), connected=True)
    assert outbox.head() == outbox.head()


def test_acknowledging_an_old_state_does_not_lose_the_one_that_replaced_it_meanwhile() -> None:
    outbox = Outbox()
    outbox.put(state("old"), connected=True)
    in_flight = outbox.head()
    assert in_flight
    outbox.put(state("new"), connected=True)
    outbox.done(in_flight)
    assert sent(outbox) == ["new"]


def test_acknowledging_a_notice_that_was_dropped_meanwhile_does_not_lose_the_next() -> None:
    outbox = Outbox(max_messages=2)
    outbox.put(notice("0"), connected=True)
    in_flight = outbox.head()
    assert in_flight
    outbox.put(notice("1"), connected=True)
    outbox.put(notice("2"), connected=True)
    outbox.done(in_flight)
    assert sent(outbox) == ["1", "2"]


def test_memory_is_bounded_whatever_topics_are_used() -> None:
    outbox = Outbox(max_messages=8)
    for number in range(100):
        outbox.put(state(f"{number}", f"topic-{number}"), connected=False)
    assert sent(outbox) == [str(number) for number in range(92, 100)]
    assert outbox.dropped == 92
