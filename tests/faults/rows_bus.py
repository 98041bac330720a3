"""Faults of whatever reaches a host from outside: broker, network, senders, clocks, meters, other hosts."""

# Names of tests are as long as what they claim.
# ruff: noqa: E501

from tests.faults.fault import Fault

ROWS: tuple[Fault, ...] = (
    Fault(
        "Broker down at start",
        "nothing listens where the daemon connects to",
        "refused connections",
        "Failsafe first, verified by read-back, and ready with it. Attempts go on for ever, 1 to 4 s apart "
        "at random. The first budget that comes is obeyed.",
        (
            "tests/daemon/test_broker.py::test_without_a_broker_the_failsafe_holds_and_a_broker_that_appears_is_used",
            "tests/signals/test_bus.py::test_waits_between_attempts_grow_within_their_bounds_and_differ",
            "tests/signals/test_bus.py::test_forty_attempts_at_a_broker_that_never_answers_leave_nothing_behind",
        ),
    ),
    Fault(
        "Broker down while controlled",
        "SIGKILL of Mosquitto",
        "the end of the lease, on the boot clock; the lost connection is told of and decides nothing",
        "The budget holds until its lease ends, then the failsafe. Hosts of a rack deal with each other until their "
        "leases end, then each has what is its own. The broker's return raises nothing; a new budget does.",
        (
            "tests/daemon/test_broker.py::test_a_killed_broker_costs_nothing_before_the_lease_ends_and_its_return_raises_nothing",
            "tests/daemon/test_rack_bad_days.py::test_without_a_broker_leases_end_then_budgets_and_all_comes_back_with_it",
        ),
    ),
    Fault(
        "Broker restart, retained budget lost",
        "Mosquitto restarted within the lease, its store deleted",
        "a new connection, on which no budget comes",
        "No message is no statement: the budget holds to the end of its lease, then the failsafe.",
        (
            "tests/faults/test_bus_broker.py::test_a_broker_that_has_lost_its_store_takes_no_budget_away_and_gives_none",
            "tests/signals/test_bus.py::test_a_stored_budget_comes_again_after_a_restart_with_the_store",
        ),
    ),
    Fault(
        "Broker restart, stale retained budget",
        "Mosquitto started with a copy of its store that was made before the last budget",
        "a number that is not newer than the last one of that sender; powerd remembers it over restarts of its own",
        "Refused as `old_seq`, also by a daemon that starts meanwhile, although its lease has minutes to go.",
        (
            "tests/faults/test_bus_broker.py::test_a_store_that_is_older_than_the_last_budget_raises_nothing",
            "tests/test_scenarios.py::test_scenario[old_retained_budget_at_boot]",
            "tests/test_scenarios.py::test_scenario[retained_budget_after_reconnect]",
        ),
    ),
    Fault(
        "Half-open connection",
        "nft drops all packets between broker and host, in both directions; SIGSTOP of Mosquitto",
        "no budget within the lease; an acknowledgement that does not come within 2.5 s, of a message or of a probe",
        "Failsafe at the end of the lease, whatever the socket says. The connection is given up and made anew, within "
        "half a second at first: it may be the connection that is broken, not the broker.",
        (
            "tests/faults/test_bus_network.py::test_lost_packets_are_a_lost_controller_whichever_way_they_went",
            "tests/daemon/test_broker.py::test_a_broker_that_stalls_without_closing_is_failsafe_after_one_lease",
            "tests/signals/test_bus.py::test_a_stalled_broker_is_noticed_by_the_missing_answer_and_taken_up_when_it_goes_on",
            "tests/signals/test_bus.py::test_a_connection_on_which_nothing_is_published_is_tried_now_and_then",
            "tests/signals/test_bus.py::test_a_connection_that_leads_nowhere_is_given_up_and_made_anew_at_once",
        ),
    ),
    Fault(
        "Loss in one direction",
        "nft drops what arrives at the host, or what arrives at the broker, and nothing else",
        "the same: a host that is not heard gets no acknowledgements, one that does not hear gets nothing",
        "The same. Hosts beside the broker go on under the budget, and take nothing of what the others may draw.",
        (
            "tests/faults/test_bus_network.py::test_lost_packets_are_a_lost_controller_whichever_way_they_went",
            "tests/signals/test_bus.py::test_what_was_not_acknowledged_is_published_again",
        ),
    ),
    Fault(
        "Packets lost at random",
        "nft drops every tenth packet between broker and hosts, at random, in both directions",
        "messages that are late; a lease that arrives when it is over",
        "Budgets are obeyed and watts passed on, later. What comes too late is not used.",
        (
            "tests/faults/test_bus_network.py::test_a_network_that_loses_every_tenth_packet_delays_budgets_and_leases_and_nothing_else",
            "tests/cluster/test_sequences_words.py::test_12_end_counted_from_receipt",
        ),
    ),
    Fault(
        "One host cut off",
        "the host in a network namespace of its own, its cable cut by nft, while the rack's budget falls",
        "its peers miss its states; it misses budgets and states",
        "The host: its leases end, then its budget, then it is at its failsafe. Its peers make up for what it may "
        "still draw, then keep its failsafe for it, and deal with each other only. All comes back with the cable.",
        (
            "tests/faults/test_bus_network.py::test_what_a_host_that_is_cut_off_may_draw_is_kept_for_it_while_the_budget_falls",
            "tests/cluster/test_hostile.py::test_no_rack_is_ever_above_its_bound",
            "tests/cluster/test_sequences_budget.py::test_22_the_last_words_of_a_silent_host",
        ),
    ),
    Fault(
        "Reconnect storm",
        "SIGKILL of a Mosquitto that 500 clients are connected to, which say all that hosts say; one is a host",
        "every client by its own broken connection",
        "Waits are random, 1 to 4 s, so that all are back soon and not at once; where thousands share a broker they "
        "may be let grow with the outage. Being connected decides nothing, so no limit moves.",
        (
            "tests/brokers/test_fan_in.py::test_when_the_broker_is_back_everybody_comes_back_and_not_at_once",
            "tests/signals/test_backoff.py::test_by_default_a_broker_is_found_within_four_seconds_however_long_it_was_away",
            "tests/signals/test_backoff.py::test_five_hundred_clients_do_not_come_at_once",
            "tests/signals/test_backoff.py::test_a_broker_that_is_back_is_found_soon_and_the_sooner_the_shorter_it_was_away",
            "tests/signals/test_bus.py::test_a_broker_that_accepts_and_hangs_up_is_never_taken_for_connected",
            "tests/signals/test_bus.py::test_two_hosts_with_one_client_id_do_not_hammer_the_broker",
        ),
    ),
    Fault(
        "A node of a broker cluster dead",
        "SIGKILL of one of three NATS servers with JetStream, also of the one that leads; addresses that drop packets",
        "the broken connection; an attempt that is not answered in 2 s; `mqtt_subscription_refused`",
        "The host goes to another node, long before its lease ends. One that elects its leaders may refuse a "
        "subscription: it is asked again, after 1 to 4 s and then less and less often.",
        (
            "tests/brokers/test_nats_cluster.py::test_a_host_goes_to_another_node_when_its_own_dies_and_never_to_failsafe",
            "tests/brokers/test_nats_cluster.py::test_the_node_that_leads_the_messages_may_die",
            "tests/signals/test_bus_refused.py::test_a_subscription_that_is_refused_for_a_while_is_had_in_the_end",
            "tests/brokers/test_addresses.py::test_a_node_that_is_down_and_one_that_drops_packets_are_passed_over",
        ),
    ),
    Fault(
        "A bridge between brokers cut",
        "the connection between two bridged Mosquittos cut, with messages waiting in it",
        "no budget within the lease",
        "As without a broker. What waited meanwhile raises nothing.",
        (
            "tests/brokers/test_bridge.py::test_a_bridge_that_is_cut_costs_nothing_before_the_lease_ends_and_heals_by_itself",
        ),
    ),
    Fault(
        "Duplicate message",
        "the same budget published twice",
        "its number is that of the last one, its content too",
        "Ignored, counted as `duplicate`; it extends no lease. With other content: refused, and an alarm.",
        (
            "tests/daemon/test_messages.py::test_the_same_budget_again_is_ignored_in_silence_and_extends_nothing",
            "tests/daemon/test_messages.py::test_two_budgets_under_one_number_are_an_alarm",
            "tests/test_scenarios.py::test_scenario[replays]",
        ),
    ),
    Fault(
        "Message out of order",
        "budgets of an older number, of an earlier start of their sender, of a start that is dated back",
        "epoch and number of the sender",
        "Refused as `old_seq`, `old_epoch`, `backdated_epoch`; told of once a minute at most.",
        (
            "tests/daemon/test_messages.py::test_a_budget_out_of_order_is_a_replay",
            "tests/daemon/test_messages.py::test_a_budget_of_an_earlier_run_of_its_sender_is_a_replay",
            "tests/daemon/test_messages.py::test_a_new_epoch_that_was_issued_long_before_is_a_replay",
            "tests/daemon/test_grid_events.py::test_a_cancellation_that_is_older_than_the_event_is_refused",
        ),
    ),
    Fault(
        "Late message",
        "nft holds up a budget on its way, so that TCP delivers it when it is over",
        "`valid_until` is past when it arrives",
        "It may lower, and raises nothing. The same budget said in time is obeyed.",
        (
            "tests/faults/test_bus_network.py::test_a_budget_that_the_network_held_up_until_it_was_over_raises_nothing",
            "tests/daemon/test_messages.py::test_a_budget_that_had_expired_raises_nothing",
            "tests/daemon/test_messages.py::test_a_doubtful_budget_may_still_lower",
        ),
    ),
    Fault(
        "Garbage",
        "48 kinds of malformed budgets by a real broker: bad JSON and UTF-8, NaN, 1e999, negative, kilowatts and "
        "milliwatts, 50 MB, 30,000 levels, no version; a million more made by a fuzzer",
        "strict parsing, ranges, plausibility against the hard limit, 64 KiB",
        "Refused, counted and told of; the budget before it holds to the end of its lease. Never 0 W, never "
        "no limit, never a crash.",
        (
            "tests/daemon/test_messages.py::test_a_malformed_budget_changes_nothing",
            "tests/daemon/test_messages.py::test_ten_times_the_hard_limit_means_the_hard_limit",
            "tests/test_scenarios.py::test_scenario[kilowatts_in_a_watts_field]",
            "tests/signals/test_host_state.py::test_no_bytes_whatever_become_anything_but_a_refusal",
            "tests/signals/test_bus.py::test_what_is_too_large_to_be_read_stays_at_the_broker",
            "tests/signals/test_bus.py::test_a_reader_that_fails_is_reported_and_the_next_message_is_still_read",
            "tests/fuzz/test_corpus.py::test_no_input_of_the_corpus_violates_its_oracle",
        ),
    ),
    Fault(
        "Forged message",
        "an attacker on a broker without an access list: budgets, events and states that are unsigned, altered, "
        "recorded, with a wrong key, in the name of another host; strangers at brokers that have one",
        "signature, source, topic, the broker's access list",
        "Refused, counted and told of. Where signatures are asked for, what has none may only lower.",
        (
            "tests/security/test_rack_under_attack.py::test_no_message_raises_a_limit_and_control_is_back_when_they_end",
            "tests/security/test_rack_under_attack.py::test_a_host_that_has_lost_its_memory_takes_no_recording_for_news",
            "tests/security/test_forgeries.py::test_a_forged_budget_is_refused",
            "tests/security/test_forgeries.py::test_unsigned_in_the_name_of_who_has_a_key_is_never_more_than_lower_only",
            "tests/security/test_forgeries.py::test_a_forged_state_is_refused",
            "tests/brokers/test_access.py::test_who_is_on_the_list_can_publish_what_is_theirs_and_nothing_else",
            "tests/brokers/test_access.py::test_nobody_gets_in_without_a_certificate_of_the_site",
            "tests/daemon/test_dsx.py::test_what_is_forged_changes_nothing_and_is_counted_and_told",
            "tests/daemon/test_messages.py::test_budgets_on_another_topic_are_not_heard",
            "tests/daemon/test_rack_bad_days.py::test_a_host_that_lies_about_its_want_wastes_spare_watts_and_never_an_entitlement",
        ),
    ),
    Fault(
        "Two controllers",
        "two facilities of equal priority on one topic, one of them up and down all the time",
        "two sources with a lease",
        "The lowest holds, with an alarm; the other's ups and downs cause not one write. A lower priority number "
        "governs alone. When one falls silent its last word holds until the other says something new.",
        (
            "tests/faults/test_bus_senders.py::test_of_two_controllers_the_lower_budget_holds_and_limits_do_not_swing_between_them",
            "tests/test_scenarios.py::test_scenario[two_controllers]",
            "tests/test_scenarios.py::test_scenario[standby_controller]",
            "tests/test_scenarios.py::test_scenario[silent_standby]",
            "tests/daemon/test_rack_bad_days.py::test_a_host_that_follows_another_source_deals_only_while_both_caps_are_equal",
        ),
    ),
    Fault(
        "Flapping budget",
        "a budget that changes between two values as fast as it is obeyed",
        "-",
        "Followed down at once, up at the pace of the ramp. A flood of budgets ends with the last one obeyed.",
        (
            "tests/faults/test_bus_senders.py::test_a_budget_that_flaps_is_followed_down_at_once_and_up_at_the_pace_of_the_ramp",
            "tests/daemon/test_messages.py::test_a_flood_of_budgets_ends_with_the_last_one_obeyed",
            "tests/test_scenarios.py::test_scenario[flapping_budget]",
        ),
    ),
    Fault(
        "Budget below the floors",
        "budgets of 0 W and of less than the lowest limits need",
        "the sum of the floors",
        "All GPUs at their lowest limits; `infeasible_watts` says what is missing, `compliant` is false.",
        (
            "tests/daemon/test_messages.py::test_zero_watts_are_not_no_limit",
            "tests/daemon/test_messages.py::test_a_budget_below_the_floors_is_obeyed_as_far_as_limits_go",
            "tests/test_scenarios.py::test_scenario[zero_watts]",
        ),
    ),
    Fault(
        "Wall clock jump",
        "a preloaded library moves the wall clock of a running daemon, or of a running controller, by an hour",
        "nothing but stamps: leases are counted on the boot clock. Stamps that are off by more than 30 s, "
        "where the kernel says that the clock is kept",
        "Leases end when they would have. A budget with stamps that do not fit may only lower, so a host or a "
        "controller whose clock is wrong is a lost controller until it is right. Unsynchronised: stamps count for "
        "nothing.",
        (
            "tests/faults/test_bus_senders.py::test_a_host_whose_clock_jumps_keeps_its_lease_to_the_second_and_lowers_only",
            "tests/faults/test_bus_senders.py::test_a_controller_whose_clock_jumps_is_a_lost_one_until_it_is_right_again",
            "tests/daemon/test_rack_bad_days.py::test_wall_clocks_that_jump_end_no_lease_and_a_start_with_an_older_epoch_is_made_good",
            "tests/daemon/test_grid_events.py::test_a_clock_that_is_set_moves_events_and_no_lease",
            "tests/daemon/test_grid_events.py::test_while_nobody_keeps_the_clock_events_start_early_and_end_late",
            "tests/test_scenarios.py::test_scenario[clock_not_synchronised]",
            "tests/test_scenarios.py::test_scenario[host_clock_two_minutes_ahead]",
        ),
    ),
    Fault(
        "Rack meter stale, jumping or negative",
        "meters on a real broker that fall silent, go bad, show less than nothing, or kilowatts",
        "age, quality and plausibility of each feed; one that is not known makes the rack's draw unknown",
        "No raise of the rack's cap until all feeds are known; cuts as ever. A jump is smoothed over 30 s and never "
        "counts in favour of the rack.",
        (
            "tests/daemon/test_meters.py::test_a_feed_that_falls_silent_is_named_and_holds_up_every_raise_and_no_cut",
            "tests/daemon/test_meters.py::test_a_reading_that_is_none_makes_its_feed_unknown_at_once",
            "tests/daemon/test_meters.py::test_kilowatts_where_watts_belong_are_refused_and_the_reading_before_counts_on",
            "tests/core/test_meter.py::test_a_load_that_swings_under_a_meter_that_lags_is_not_taken_for_an_excess",
            "tests/meters/test_bad_days.py::test_an_old_reading_from_the_store_of_the_broker_is_no_reading",
        ),
    ),
    Fault(
        "Meter above the budget although limits fit",
        "meters on a real broker that show more than the hosts say they draw",
        "the mean difference between the meter and the hosts",
        "It is taken off the budget, up to 20 % of the hard limit; a load target that is passed nevertheless is told "
        "to the grid as a breach, and escalated while it lasts.",
        (
            "tests/daemon/test_meters.py::test_what_the_meter_shows_beyond_what_is_accounted_for_is_taken_off_the_budget",
            "tests/daemon/test_meters.py::test_a_draw_above_a_load_target_is_a_breach_although_every_limit_is_obeyed",
            "tests/core/test_meter.py::test_the_trim_is_limited_to_a_share_of_the_hard_limit",
        ),
    ),
    Fault(
        "Half of a rack's daemons dead",
        "SIGKILL of two daemons of four, which lend to the others",
        "their states stop; their guards miss the next plan",
        "Their guards fall back. The others keep what is theirs, and use nothing of the dead hosts' share.",
        (
            "tests/daemon/test_rack_bad_days.py::test_when_half_of_the_daemons_die_the_others_go_on_with_what_is_theirs",
            "tests/daemon/test_leases.py::test_when_a_donor_is_killed_the_borrower_steps_down_by_itself",
            "tests/daemon/test_leases.py::test_what_a_killed_borrower_had_comes_back_to_its_owners",
        ),
    ),
    Fault(
        "Server certificate expired",
        "Mosquitto started with a certificate that has ended",
        "the handshake; for the host's own files and the broker's last certificate, days before, a metric",
        "A lost broker, with the reason in status: failsafe at the end of the lease. With a good certificate powerd "
        "is back by itself.",
        (
            "tests/faults/test_bus_tls.py::test_a_broker_whose_certificate_has_expired_is_a_lost_broker_until_it_has_a_good_one",
            "tests/signals/test_tls.py::test_a_broker_that_cannot_prove_who_it_is_gets_no_connection",
            "tests/monitoring/test_certificates.py::test_the_end_of_the_brokers_certificate_is_known_and_still_when_it_is_gone",
            "tests/ctl/test_doctor.py::test_certificates_that_end_are_told_with_the_day",
        ),
    ),
    Fault(
        "Authority rotated",
        "Mosquitto started with a certificate of a new authority, whose file the host gets later",
        "the handshake",
        "Refused until the host has the new file; SIGHUP connects at once, and not one limit is written meanwhile.",
        (
            "tests/faults/test_bus_tls.py::test_an_authority_that_is_new_is_trusted_after_a_reload_and_no_cap_is_dropped_meanwhile",
            "tests/monitoring/test_certificates.py::test_a_renewed_certificate_is_seen_without_a_restart",
        ),
    ),
    Fault(
        "Password changed",
        "another password at Mosquitto, then in the host's file",
        "the broker's refusal, in its own words",
        "The same as for a new authority.",
        (
            "tests/daemon/test_reload.py::test_a_password_that_was_changed_is_used_after_a_reload_and_no_cap_is_dropped_meanwhile",
            "tests/signals/test_bus_renewed.py::test_a_password_that_is_refused_is_replaced_without_waiting_for_the_next_attempt",
            "tests/signals/test_bus_refused.py::test_refused_credentials_are_told_by_the_brokers_own_words",
        ),
    ),
    Fault(
        "Mixed versions",
        "budgets of a later major version, and of a later minor one with more fields; a host that says what powerd "
        "said before leases; an upgrade in place",
        "`v` of the message, fields that are missing",
        "An unknown major version is refused on its topic: the budget before it holds to the end of its lease. More "
        "fields do no harm. A host that says too little counts as silent: what is its own stays reserved.",
        (
            "tests/faults/test_bus_senders.py::test_a_budget_of_a_later_version_counts_for_nothing_and_a_field_more_does_no_harm",
            "tests/daemon/test_rack_bad_days.py::test_a_host_of_an_old_version_counts_as_silent",
            "tests/test_runtime_file.py::test_a_file_of_a_newer_powerd_is_not_guessed_at",
            "tests/daemon/test_renewal.py::test_an_upgrade_changes_no_limit",
        ),
    ),
)
