import random

from powerd.signals.inbox import OTHER_KEYS, Inbox

RATE_PER_S = 20
BURST = 20


def replay(inbox: Inbox[int], offers: list[tuple[float, str]]) -> list[tuple[float, str, int]]:
    """Offer numbered messages at given times; return what passed, when, in order."""
    read: list[tuple[float, str, int]] = []
    for number, (at_s, key) in enumerate([*offers, (float("inf"), "")]):
        while (due_s := inbox.next_due_s) is not None and due_s <= at_s:
            read += [(due_s, *item) for item in inbox.due(due_s)]
        if key and inbox.offer(key, number, at_s):
            read.append((at_s, key, number))
    return read


def test_messages_below_the_rate_pass_at_once() -> None:
    offers = [(number / RATE_PER_S, "a") for number in range(200)]
    inbox = Inbox[int]()
    assert replay(inbox, offers) == [(at_s, "a", number) for number, (at_s, _) in enumerate(offers)]
    assert inbox.dropped == 0


def test_a_burst_after_a_pause_passes_at_once() -> None:
    inbox = Inbox[int]()
    offers = [(100.0, "a")] * BURST + [(200.0, "a")] * BURST
    assert len(replay(inbox, offers)) == 2 * BURST
    assert inbox.dropped == 0


def test_of_a_flood_the_newest_message_always_passes_and_the_rest_is_counted() -> None:
    offers = [(number / 5000, "a") for number in range(5000)]
    inbox = Inbox[int]()
    read = replay(inbox, offers)
    assert read[-1][2] == 4999
    assert len(read) + inbox.dropped == 5000
    assert len(read) <= BURST + RATE_PER_S + 1


def test_a_flood_never_exceeds_the_rate_over_any_window() -> None:
    rng = random.Random(3)
    at_s, offers = 0.0, []
    for _ in range(3000):
        at_s += rng.expovariate(rng.choice([5, 50, 500]))
        offers.append((at_s, "a"))
    times_s = [at_s for at_s, _, _ in replay(Inbox[int](), offers)]
    for first, start_s in enumerate(times_s):
        within = sum(1 for at_s in times_s[first:] if at_s <= start_s + 1.0)
        assert within <= BURST + RATE_PER_S + 1


def test_a_message_is_never_later_than_one_interval_and_never_out_of_order() -> None:
    offers = [(number / 1000, "a") for number in range(1000)]
    read = replay(Inbox[int](), offers)
    numbers = [number for _, _, number in read]
    assert numbers == sorted(numbers)
    last_read_s, _, last = read[-1]
    assert last == 999
    assert last_read_s - offers[-1][0] <= 1 / RATE_PER_S + 1e-9


def test_a_flood_of_one_key_does_not_delay_another() -> None:
    offers = sorted([(number / 1000, "loud") for number in range(2000)] + [(1.0, "quiet"), (1.5, "quiet")])
    read = replay(Inbox[int](), offers)
    assert [at_s for at_s, key, _ in read if key == "quiet"] == [1.0, 1.5]


def test_a_flood_is_reported_once_and_again_only_after_a_pause() -> None:
    inbox = Inbox[int]()
    replay(inbox, [(number / 1000, "a") for number in range(1000)])
    assert inbox.new_floods() == ["a"]
    assert inbox.new_floods() == []
    replay(inbox, [(60 + number / 1000, "a") for number in range(1000)])
    assert inbox.new_floods() == ["a"]


def test_made_up_keys_cannot_fill_the_memory_and_known_ones_are_still_heard() -> None:
    inbox = Inbox[int](max_keys=10)
    assert inbox.offer("budget", 0, 0.0)
    read = [inbox.offer(f"made-up-{number}", number, 0.0) for number in range(1000)]
    assert sum(read) == 9
    assert inbox.dropped == 991
    assert inbox.new_floods() == [OTHER_KEYS]
    assert inbox.offer("budget", 1, 0.001)
    assert inbox.offer("another", 2, 10.0), "keys gone quiet make room"
