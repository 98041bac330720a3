"""Which budget was in force when."""

import math

from powerd.demo.budget_record import BudgetRecord


def test_the_failsafe_holds_before_the_first_budget_and_after_the_last_lease() -> None:
    record = BudgetRecord(500)
    record.publish(10, 1000, 5)
    record.publish(12, 1000, 5)
    assert [record.at(boot_s) for boot_s in (9.9, 10, 16.9, 17)] == [500, 1000, 1000, 500]


def test_a_new_budget_replaces_the_old_one_although_its_lease_goes_on() -> None:
    record = BudgetRecord(500)
    record.publish(10, 1000, 300)
    record.publish(12, 700, 5)
    assert [record.at(boot_s) for boot_s in (11, 12, 18)] == [1000, 700, 500]


def test_only_what_lowers_is_a_cut() -> None:
    record = BudgetRecord(500)
    assert [record.publish(*said, 5) for said in ((10, 1000), (12, 1000), (13, 700), (14, 800))] == [
        False,
        False,
        True,
        False,
    ]


def test_a_cut_is_the_lower_message_or_the_end_of_the_lease() -> None:
    record = BudgetRecord(500)
    record.publish(10, 1000, 5)
    assert record.since_cut_s(11) == math.inf
    record.publish(12, 700, 5)
    assert record.since_cut_s(12.5) == 0.5
    assert record.since_cut_s(18) == 1


def test_extremes_are_of_budgets_that_were_in_force() -> None:
    record = BudgetRecord(500)
    assert record.extremes_watts(5) == (500, 500)
    record.publish(10, 1000, 5)
    record.publish(12, 700, 5)
    assert record.extremes_watts(16) == (700, 1000)
    assert record.extremes_watts(18) == (500, 1000)
    record.publish(20, 900, 300)
    assert record.extremes_watts(21) == (500, 1000)
