/* The tests, in the order in which main.c runs them. Those of a kind run for each combination of plain and TLS. */
#ifndef WSRELAY_TESTS_TESTS_H
#define WSRELAY_TESTS_TESTS_H

#include "rig.h"

/* How much is done of what can be done more or less of: 1 under valgrind, which is slow. */
extern int effort;

/* test_bytes.c */
void small_messages_arrive(struct kind kind);
void megabytes_arrive_both_ways(struct kind kind);
void early_bytes_come_first_and_are_counted(struct kind kind);
void a_stopped_reader_pauses_the_sender(struct kind kind);
void bulk_is_spliced_where_both_are_plain(struct kind kind);
void bytes_that_openssl_holds_raise_no_event_and_arrive(struct kind kind);
void pipes_come_back_empty_and_not_too_late(void);

/* test_ends.c */
void an_end_is_passed_on_and_the_other_way_goes_on(struct kind kind);
void an_end_comes_after_bytes_that_wait(struct kind kind);
void ends_seen_before_the_handoff_are_passed_on(struct kind kind);
void a_reset_is_passed_on_in_every_state(struct kind kind);
void what_is_cut_off_is_a_truncation(struct kind kind);
void a_garbage_record_is_a_tls_error(struct kind kind);
void a_stop_ends_every_state(struct kind kind);
void limits_of_time_are_kept(struct kind kind);

/* test_faults.c */
void without_memory_only_that_tunnel_ends(struct kind kind);
void without_memory_for_a_record_both_legs_are_closed(struct kind kind);
void without_watches_only_that_tunnel_ends(struct kind kind);
void without_pipes_bulk_is_copied(struct kind kind);
void without_descriptors_no_pump_begins(void);
void a_copy_of_a_descriptor_wakes_nobody(void);
void an_urgent_byte_is_no_end_and_makes_nothing_spin(void);

/* test_many.c */
void a_pump_is_freed_with_living_tunnels(void);
void ends_not_yet_told_are_freed_with_the_pump(void);
void reused_descriptors_meet_nobody(void);
void tunnels_come_and_go(void);

/* test_handshakes.c */
void handshakes_succeed_and_lose_no_byte_behind_them(void);
void handshakes_that_speak_first_do_so_too(void);
void a_failed_handshake_says_why(void);
void a_failed_handshake_that_spoke_first_says_why(void);
void the_last_of_several_errors_is_told_and_none_is_kept(void);
void a_handshake_that_waits_lets_its_thread_sleep(void);
void an_end_right_behind_a_handshake_is_told(void);
void a_handshake_is_given_up_in_every_state(void);
void handshakes_under_way_are_freed_with_their_threads(void);
void without_memory_no_handshake_begins(void);

#endif
