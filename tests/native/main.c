/* Runs every test, or those whose names contain the first argument. WSRELAY_EFFORT=1 does less of each. */
#include <openssl/crypto.h>
#include <string.h>

#include "tests.h"

#define OF_KIND(test) {#test, test, NULL}
#define ONCE(test) {#test, NULL, test}

static const struct {
    const char *name;
    void (*of_kind)(struct kind kind);
    void (*once)(void);
} TESTS[] = {
    OF_KIND(small_messages_arrive),
    OF_KIND(megabytes_arrive_both_ways),
    OF_KIND(early_bytes_come_first_and_are_counted),
    OF_KIND(a_stopped_reader_pauses_the_sender),
    OF_KIND(bulk_is_spliced_where_both_are_plain),
    OF_KIND(bytes_that_openssl_holds_raise_no_event_and_arrive),
    ONCE(pipes_come_back_empty_and_not_too_late),
    OF_KIND(an_end_is_passed_on_and_the_other_way_goes_on),
    OF_KIND(an_end_comes_after_bytes_that_wait),
    OF_KIND(ends_seen_before_the_handoff_are_passed_on),
    OF_KIND(a_reset_is_passed_on_in_every_state),
    OF_KIND(what_is_cut_off_is_a_truncation),
    OF_KIND(a_garbage_record_is_a_tls_error),
    OF_KIND(a_stop_ends_every_state),
    OF_KIND(limits_of_time_are_kept),
    OF_KIND(without_memory_only_that_tunnel_ends),
    OF_KIND(without_memory_for_a_record_both_legs_are_closed),
    OF_KIND(without_watches_only_that_tunnel_ends),
    OF_KIND(without_pipes_bulk_is_copied),
    ONCE(without_descriptors_no_pump_begins),
    ONCE(a_copy_of_a_descriptor_wakes_nobody),
    ONCE(an_urgent_byte_is_no_end_and_makes_nothing_spin),
    ONCE(a_pump_is_freed_with_living_tunnels),
    ONCE(ends_not_yet_told_are_freed_with_the_pump),
    ONCE(reused_descriptors_meet_nobody),
    ONCE(tunnels_come_and_go),
    ONCE(handshakes_succeed_and_lose_no_byte_behind_them),
    ONCE(handshakes_that_speak_first_do_so_too),
    ONCE(a_failed_handshake_says_why),
    ONCE(a_failed_handshake_that_spoke_first_says_why),
    ONCE(the_last_of_several_errors_is_told_and_none_is_kept),
    ONCE(a_handshake_that_waits_lets_its_thread_sleep),
    ONCE(an_end_right_behind_a_handshake_is_told),
    ONCE(a_handshake_is_given_up_in_every_state),
    ONCE(handshakes_under_way_are_freed_with_their_threads),
    ONCE(without_memory_no_handshake_begins),
};

static const struct kind KINDS[] = {{{false, false}}, {{true, false}}, {{false, true}}, {{true, true}}};

const char *test_name = "";
int effort = 10;

int main(int count, char **arguments)
{
    int run = 0;
    const char *given = getenv("WSRELAY_EFFORT");
    if (given)
        effort = atoi(given);
    far_prepare();
    for (size_t index = 0; index < sizeof TESTS / sizeof TESTS[0]; index++) {
        test_name = TESTS[index].name;
        if (count > 1 && !strstr(test_name, arguments[1]))
            continue;
        int before = open_descriptors();
        for (size_t kind = 0; TESTS[index].of_kind && kind < sizeof KINDS / sizeof KINDS[0]; kind++, run++)
            TESTS[index].of_kind(KINDS[kind]);
        if (TESTS[index].once) {
            TESTS[index].once();
            run++;
        }
        CHECK(open_descriptors() == before);
    }
    far_clean_up();
    printf("%d tests passed\n", run);
    return run ? 0 : 1;
}
