"""Faults of the host itself: GPUs, driver, processes, memory, disk."""

# Names of tests are as long as what they claim.
# ruff: noqa: E501

from tests.faults.fault import Fault

ROWS: tuple[Fault, ...] = (
    Fault(
        "Suspend or pause",
        "SIGSTOP of the daemon, of the guard, and of both for longer than lease and hold; the GPUs lose their limits "
        "meanwhile",
        "the boot clock, which counts suspend time: guard log *the plan has ended*, `powerd_guard_fallbacks_total`, "
        "then `failsafe_entered`",
        "The guard's first act is the fallback. A daemon that wakes within its lease goes on with what is left of it; "
        "after it: failsafe until a newer budget. A lease is not ended early because a few periods were missed: it "
        "is counted on a clock that cannot miss any.",
        (
            "tests/faults/test_host_gpus.py::test_a_host_that_was_suspended_raises_nothing_until_it_has_heard_a_budget_again",
            "tests/daemon/test_processes.py::test_a_daemon_that_hangs_leaves_the_fallback_and_goes_on_when_it_wakes",
            "tests/daemon/test_processes.py::test_a_daemon_that_wakes_after_its_lease_raises_nothing",
            "tests/daemon/test_processes.py::test_a_guard_that_hangs_stops_neither_the_answers_nor_what_comes_after",
            "tests/daemon/test_leases.py::test_a_borrower_that_stands_still_is_brought_down_by_its_guard_and_borrows_again",
            "tests/core/test_decide.py::test_a_loop_that_was_away_past_the_lease_finds_itself_in_failsafe_whatever_it_hears_first",
        ),
    ),
    Fault(
        "GPU lost",
        "NVML error 15 (*GPU is lost*) from one GPU, from all, and while GPUs are listed at the start",
        '`gpu_lost` with what it counts at, `powerd_gpu_state{state="lost"}`',
        "It counts at its last limit, without one at the most that it could have; the others make room. Back on the "
        "bus it is limited again within a period. Only one that was off when the guard opened the driver stays "
        "*unidentified*: `systemctl reload powerd-guard` takes it in and changes no other limit. powerd does not "
        "open the driver again by itself for one GPU, since all others would be out of control meanwhile. If none "
        "answers, it does.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_lost_gpu_counts_with_its_last_limit_and_the_others_obey",
            "tests/daemon/test_bad_gpus.py::test_when_all_gpus_are_lost_powerd_stays_up_and_goes_on_when_they_are_back",
            "tests/daemon/test_bad_gpus.py::test_a_daemon_that_dies_while_a_gpu_is_lost_still_leaves_the_fallback",
            "tests/faults/test_host_gpus.py::test_a_gpu_that_falls_off_while_gpus_are_listed_is_counted_and_controlled_once_it_is_back",
            "tests/faults/test_host_gpus.py::test_when_all_gpus_are_off_at_the_start_powerd_waits_and_takes_them_when_they_come",
            "tests/guard/test_driver_loss.py::test_a_gpu_that_the_driver_no_longer_lists_is_lost_not_forgotten",
        ),
    ),
    Fault(
        "GPU reset or added again",
        "a GPU comes back at its default limit with its counters at zero, after a loss and so fast that none is seen",
        "its energy counter went back; guard log *put the limit of GPU-… back*",
        "Its last limit is written before it is read for anything else, and its watts were never given away: they "
        "are still counted as its own. Between the reset and the next sample, one period, the GPU has its default.",
        (
            "tests/faults/test_host_gpus.py::test_a_gpu_that_was_reset_is_back_at_its_limit_before_its_watts_are_shared_out",
            "tests/guard/test_driver_loss.py::test_a_gpu_that_comes_back_with_a_higher_limit_is_lowered_before_anything_else",
            "tests/guard/test_driver_loss.py::test_a_silent_reload_shows_in_the_energy_counter_and_limits_are_put_back",
            "tests/daemon/test_orders.py::test_a_driver_is_exchanged_while_it_is_given_up",
        ),
    ),
    Fault(
        "NVML hangs",
        "driver calls that do not return: writes of one GPU, reads of one GPU, every call of all of them",
        'a call older than `guard.call_deadline_s`: `gpu_hung`, `powerd_gpu_state{state="hung"}`, `powerd_compliant` 0 '
        "if the budget does not fit any more",
        "The GPU counts at the most it may have, the others pay; its one thread is left in the call and no other is "
        "made for it. Guard and daemon go on, watchdogs are fed. It is taken back when the call returns; if that "
        "does not come, reboot. `readyz` stays 200 while a budget holds: one bad GPU makes no host unready.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_gpu_whose_writes_hang_delays_no_other_and_is_paid_for",
            "tests/daemon/test_bad_gpus.py::test_a_gpu_whose_reads_hang_delays_no_cut_of_the_others",
            "tests/faults/test_host_gpus.py::test_when_every_call_of_every_gpu_hangs_both_processes_live_and_go_on_when_they_return",
            "tests/guard/test_client.py::test_the_switch_fires_while_a_driver_call_hangs",
            "tests/guard/test_process.py::test_a_raise_that_lands_after_its_plan_is_taken_back",
            "tests/guard/test_process.py::test_the_watchdog_is_fed_while_opening_the_driver_takes_its_time",
            "tests/test_scenarios.py::test_scenario[gpu_hangs]",
        ),
    ),
    Fault(
        "Limit refused",
        "NVML errors 4 (no permission) and 999 from writes of one GPU, and of all",
        "`limit_write_failed`, then `gpu_refuses_limit`, or `gpu_not_settable` where a right is missing; "
        '`powerd_limit_writes_total{result="failed"}`',
        "It counts at the limit that it has, and the others are lowered by its watts in the same iteration. Tried "
        "again after 1 s, then at most every 60 s; a missing right only by the next guard. If the rest cannot make up "
        "for it: `powerd_compliant` 0. `readyz` stays 200 while a budget holds.",
        (
            "tests/daemon/test_bad_gpus.py::test_the_watts_of_a_gpu_that_refuses_are_taken_from_the_others_at_once",
            "tests/daemon/test_bad_gpus.py::test_when_no_gpu_obeys_powerd_stays_up_and_says_so",
            "tests/core/test_decide_gpus.py::test_a_gpu_that_refused_is_tried_again_and_its_watts_come_back",
            "tests/contract/test_nvml.py::test_every_return_code_has_a_meaning",
            "tests/test_scenarios.py::test_scenario[gpu_refuses_its_limit]",
        ),
    ),
    Fault(
        "Limit accepted, not in effect",
        "writes that return success and change nothing",
        "read-back after every write: `limit_write_failed`, `powerd_limit_readback_mismatch_total`",
        "As a refusal: counted at what it has, paid for at once, tried again. A limit that reads back right and is "
        "not held by the board shows in `powerd_budget_exceeded_seconds_total`, and is taken off the budget where the "
        "rack has a meter; no GPU is judged by its draw alone.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_limit_that_is_accepted_and_not_in_effect_is_found_by_reading_back",
            "tests/guard/test_plans.py::test_a_cut_that_the_driver_accepts_and_ignores_is_a_failure",
            "tests/contract/test_driver_contract.py::test_a_write_without_effect_succeeds_and_only_the_read_back_tells",
            "tests/web/test_metrics.py::test_seconds_above_the_budget_count_only_while_the_loop_watches",
        ),
    ),
    Fault(
        "Other writer",
        "another process sets a limit: higher, higher again and again, lower",
        "a request that powerd did not make: `other_writer` with both values, `powerd_writer_conflict_total`",
        "Higher: set back within a period, every time; the log says so once. Lower: respected as a ceiling for "
        "`control.other_writer_hold_s` (10 min), its watts used elsewhere.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_limit_that_someone_raises_is_set_back_within_a_period",
            "tests/daemon/test_bad_gpus.py::test_a_rival_that_does_not_give_up_is_set_back_every_time",
            "tests/daemon/test_bad_gpus.py::test_a_limit_that_someone_lowers_is_respected_and_its_watts_are_used_elsewhere",
            "tests/guard/test_deadman.py::test_a_rival_that_raised_since_the_last_reading_is_lowered_too",
            "tests/test_scenarios.py::test_scenario[somebody_runs_nvidia_smi]",
        ),
    ),
    Fault(
        "Out-of-band cap",
        "a limiter beside NVML: less is in effect than was asked for",
        "enforced below requested: `out_of_band_limit`",
        "Left alone. After 30 s the GPU's own limit is lowered to it, and only then the difference is used elsewhere: "
        "should the other limiter let go, the sum still fits.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_board_that_limits_on_its_own_is_told_of_and_left_alone",
            "tests/core/test_decide_gpus.py::test_an_out_of_band_limit_gives_its_watts_away_after_half_a_minute",
            "tests/core/test_observed.py::test_a_short_out_of_band_limit_gives_nothing_away",
            "tests/test_scenarios.py::test_scenario[bmc_limits_a_gpu]",
        ),
    ),
    Fault(
        "Driver unloaded or upgraded",
        "NVML error 9, the driver away for a while, exchanged in between, exchanged for a newer one (error 18)",
        "`guard_unusable` with the driver's words, `gpu_lost` for each; guard log *the driver was upgraded*",
        "GPUs count at what they may have when it is back. Looked for every 1 to 10 s; then the last limits are put "
        "back before anything is read, or the fallback if the plan has ended. After an upgrade the guard ends and is "
        "started anew. Until then nothing is limited: `powerctl detach` first.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_driver_reload_is_undone_before_anything_else",
            "tests/daemon/test_bad_gpus.py::test_a_driver_that_is_away_for_a_while_is_attached_again",
            "tests/daemon/test_bad_gpus.py::test_a_daemon_that_dies_while_the_driver_is_away_leaves_the_fallback_for_its_return",
            "tests/faults/test_host_gpus.py::test_a_driver_that_was_upgraded_under_the_guard_costs_one_restart_of_it",
            "tests/guard/test_process.py::test_a_driver_reload_is_survived_with_the_limits_put_back",
            "tests/daemon/test_orders.py::test_a_driver_is_exchanged_while_it_is_given_up",
        ),
    ),
    Fault(
        "Daemon killed",
        "SIGKILL at random moments of an iteration; an exception in deciding, in reading, in telling",
        "systemd starts it again; `powerd_guard_fallbacks_total`, `PowerdGuardFellBack`; of a bug the traceback in the "
        "log",
        "The stop action has the guard lower to the fallback at once, else it does so `control.hold_s` after the last "
        "plan. An error anywhere in the loop ends the process: it never lives on without control. The next run takes "
        "the budget up again if its lease is not over, and raises only on what it hears.",
        (
            "tests/chaos/test_chaos.py::test_no_kill_lets_the_rack_draw_more_than_its_budget",
            "tests/daemon/test_processes.py::test_a_daemon_that_is_killed_leaves_the_fallback_within_its_hold",
            "tests/daemon/test_processes.py::test_killing_everything_again_and_again_never_raises_a_limit",
            "tests/daemon/test_processes.py::test_a_restart_raises_nothing_on_a_budget_that_it_only_remembers",
            "tests/daemon/test_processes.py::test_a_restart_after_the_lease_starts_in_failsafe",
            "tests/faults/test_host_processes.py::test_a_bug_anywhere_in_an_iteration_ends_the_daemon_and_not_just_its_control",
            "tests/systemd/test_apply_fallback.py::test_after_the_daemon_has_ended_the_running_guard_lowers_the_limits",
        ),
    ),
    Fault(
        "Crash loop",
        "a configuration that cannot be loaded, the unit's stop action after each attempt; a file that is no TOML, for "
        "the guard too",
        "`PowerdDown`; the log names file, line and key each time; exit code 2",
        "Tried for ever, once a second. Limits are at the fallback, never above, whichever of the two cannot start: "
        "the stop action goes on without a configuration. A reload refuses such a file and keeps the one in force. "
        "**After a boot no fallback is known yet**: until the daemon has started once GPUs are at their defaults.",
        (
            "tests/faults/test_host_processes.py::test_a_configuration_that_cannot_be_loaded_keeps_the_fallback_however_often_it_is_tried",
            "tests/faults/test_host_configuration.py::test_a_guard_that_is_restarted_with_a_file_that_is_no_configuration_leaves_the_fallback",
            "tests/daemon/test_renewal.py::test_new_code_that_does_not_come_up_leaves_the_fallback_to_the_end_of_the_plan",
            "tests/systemd/test_units.py::test_each_unit_never_gives_up_and_lowers_the_limits_when_it_ends",
        ),
    ),
    Fault(
        "Out of memory",
        "a daemon that leaks within a memory limit of the kernel's (a control group)",
        "the kernel's own line in the journal, systemd: *oom-kill*",
        "A crash like any other: the fallback, a new start, the budget again. The units have `MemoryMax` several times "
        "above what they use, and are the last to go when the host runs out (`OOMScoreAdjust=-900`).",
        (
            "tests/faults/test_host_processes.py::test_a_daemon_that_leaks_is_killed_by_the_kernel_and_that_is_a_crash_like_any_other",
            "tests/guard/test_process.py::test_it_fits_in_twenty_mebibytes",
            "tests/test_history.py::test_its_memory_is_bounded_and_does_not_grow",
        ),
    ),
    Fault(
        "Event loop stalled",
        "the main thread turns in a circle while the process and its other threads live",
        "no `WATCHDOG=1`, which only finished iterations send; `PowerdLoopStalled`, `healthz` 503 or silent",
        "The guard lowers to the fallback `control.hold_s` after the last plan. systemd ends the daemon with SIGABRT "
        "after 20 s and starts it again.",
        (
            "tests/faults/test_host_processes.py::test_a_loop_that_stands_still_is_lowered_by_the_guard_and_ended_by_the_watchdog",
            "tests/web/test_server.py::test_health_follows_the_loop_and_nothing_else",
            "tests/systemd/test_apply_fallback.py::test_a_guard_that_hangs_falls_silent_and_its_stop_action_lowers_the_limits",
        ),
    ),
    Fault(
        "Disk full, read-only or corrupt",
        "a tmpfs as state directory of daemon and guard that is full, or mounted read-only; every file zeroed, cut "
        "short, noise; a lock on the ledger",
        "one line each, with the file's name: `runtime_file_not_written`, `events_file_not_written`, "
        "`orders_file_not_written`, `ledger_not_written`, and `…_unusable` or `ledger_set_aside` at a start",
        "Control goes on from memory; the host neither lends nor borrows. What cannot be read counts as never written: "
        "failsafe, no raise until a budget is heard. A file is only ever replaced by a whole one. Tried again every "
        "5 s; a ledger that is damaged is moved aside and kept.",
        (
            "tests/faults/test_host_disk.py::test_a_disk_that_takes_nothing_stops_no_cut_and_a_start_with_what_is_on_it_raises_nothing",
            "tests/faults/test_host_disk.py::test_files_that_are_damaged_are_named_once_each_and_a_start_without_them_raises_nothing",
            "tests/faults/test_host_disk.py::test_half_a_plan_never_takes_the_place_of_a_whole_one",
            "tests/test_ledger.py::test_a_full_disk_costs_entries_that_are_counted_and_heals_by_itself",
            "tests/daemon/test_ledger.py::test_a_ledger_that_is_stuck_holds_up_no_cut_and_says_so",
            "tests/daemon/test_rack_bad_days.py::test_memory_that_is_lost_costs_the_host_its_watts_for_a_while_and_nobody_else",
            "tests/daemon/test_rack_bad_days.py::test_a_guard_that_cannot_write_down_its_plan_keeps_its_host_out_of_all_dealings",
            "tests/test_runtime_file.py::test_a_file_that_was_cut_short_anywhere_is_an_error",
        ),
    ),
    Fault(
        "Descriptors exhausted, slow HTTP clients",
        "1,000 connections that never finish asking, on TCP and the Unix socket, for a daemon with 512 descriptors; "
        "daemon and guard without a single free descriptor",
        "*Too many open files* in the log, `runtime_file_not_written`, `PowerdDown` while nothing can be asked",
        "Each door has its own bound; where it is reached, the oldest connection on which nothing is asked makes room. "
        "Cuts are obeyed, the connections to guard and broker stay. The guard tries to accept whoever "
        "waits once a second. With no descriptor left a watchdog is not fed either: systemd starts the daemon again "
        "after 20 s.",
        (
            "tests/faults/test_host_processes.py::test_a_thousand_slow_clients_neither_delay_a_cut_nor_cost_the_guard",
            "tests/faults/test_host_processes.py::test_without_a_free_descriptor_a_cut_is_obeyed_and_all_is_well_once_there_are_some",
            "tests/web/test_server.py::test_connections_on_which_nothing_is_asked_keep_nobody_out",
            "tests/web/test_server.py::test_a_listener_that_does_not_read_is_cut_off_and_the_others_are_not",
            "tests/guard/test_socket.py::test_without_a_free_descriptor_the_guard_serves_those_it_has_and_does_not_spin",
            "tests/guard/test_socket.py::test_idle_connections_cannot_lock_the_daemon_out",
        ),
    ),
    Fault(
        "Host rebooted",
        "both processes killed, GPUs at their defaults, runtime directory empty, another boot id under /proc; boot "
        "clock near zero in the simulated racks",
        "peers: `peer_silent`; the host itself: `lease_memory_lost`",
        "Nobody uses its watts: its whole share stays its own, what it had lent ends with the leases. It begins at its "
        "floor, for as long as something that it lent could be in use; then it needs a new budget, since the one that "
        "the broker kept may be a replay. **Until the daemon has decided once its GPUs have their defaults**, which no "
        "peer makes up for: jobs start after powerd, and a cap out of band is the backstop.",
        (
            "tests/faults/test_host_reboot.py::test_nobody_uses_the_watts_of_a_host_that_rebooted_and_it_begins_at_its_floor",
            "tests/cluster/test_hostile.py::test_no_rack_is_ever_above_its_bound",
            "tests/guard/test_deadman.py::test_a_plan_of_another_boot_is_not_armed",
            "tests/test_runtime_file.py::test_after_a_reboot_keys_the_cap_the_epoch_and_the_roster_come_back",
            "tests/systemd/test_units.py::test_limits_are_in_force_before_a_job_can_start",
            "tests/test_scenarios.py::test_scenario[old_retained_budget_at_boot]",
        ),
    ),
    Fault(
        "Reload that is invalid or removes a GPU",
        "SIGHUP with an unknown key, a floor that GPUs cannot have, an override of a GPU that comes and goes",
        "`config_not_reloaded` with file and line, `powerd_config_last_reload_successful` 0; `config_needs_restart`",
        "Nothing changes, as a whole; the configuration in force holds on. No configuration takes a GPU out of "
        "powerd's hands: without its override it has its share like any other. Let go of limits only by "
        "`powerctl release`.",
        (
            "tests/daemon/test_reload.py::test_a_configuration_that_cannot_be_used_changes_nothing_and_is_told_of_until_one_can",
            "tests/daemon/test_reload.py::test_a_sender_that_is_not_listened_to_any_more_has_said_nothing",
            "tests/daemon/test_reload.py::test_a_lower_limit_is_read_back_at_once_and_falls_back_lower_too",
            "tests/daemon/test_orders.py::test_release_puts_back_what_was_found_and_stops_writing",
        ),
    ),
    Fault(
        "Hardware power brake",
        "the event bit of one GPU",
        '`power_brake`, `powerd_failsafe_active{cause="power_brake"}`, `PowerdPowerBrake`',
        "Failsafe on this host within a period, the notice on the bus, no dealings with other hosts; no raise before "
        "`control.brake_hold_s` (5 min) after it is over.",
        (
            "tests/daemon/test_bad_gpus.py::test_a_hardware_power_brake_is_failsafe_on_this_host",
            "tests/core/test_decide_gpus.py::test_a_hardware_power_brake_is_failsafe_for_five_minutes_on_this_host",
            "tests/contract/test_driver_contract.py::test_a_power_brake_shows_in_the_event_reasons",
            "tests/test_scenarios.py::test_scenario[hardware_power_brake]",
        ),
    ),
)
