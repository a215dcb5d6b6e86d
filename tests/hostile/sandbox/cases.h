#pragma once

/* cmocka test functions, named after the numbers of the hostile suite in
 * docs/security.md; without a number: what the contract with vmd promises. */
#define SANDBOX_CASES(X)                                                                           \
    X(h14_default_as_user)                                                                         \
    X(h14_default_as_root)                                                                         \
    X(h14_strict_as_user)                                                                          \
    X(h14_strict_as_root)                                                                          \
    X(h14_arguments_decide)                                                                        \
    X(h15_foreign_abi)                                                                             \
    X(h16_no_new_namespaces)                                                                       \
    X(h17_no_typing_into_terminals)                                                                \
    X(h18_setuid_gains_nothing)                                                                    \
    X(h18_capabilities)                                                                            \
    X(h19_three_descriptors)                                                                       \
    X(h20_private_network)                                                                         \
    X(h22_no_devices)                                                                              \
    X(h22_kernel_files)                                                                            \
    X(h23_other_processes)                                                                         \
    X(h26_daemon_ends)                                                                             \
    X(h26_breeders_end)                                                                            \
    X(h26_vmd_gone)                                                                                \
    X(h26_helper_killed)                                                                           \
    X(h27_ids)                                                                                     \
    X(h29_each_step_failing)                                                                       \
    X(h29_wrong_descriptors)                                                                       \
    X(h29_not_root)                                                                                \
    X(life_exit_codes)                                                                             \
    X(life_signals)                                                                                \
    X(life_stop_and_continue)                                                                      \
    X(life_orphans)                                                                                \
    X(life_end_of_output)                                                                          \
    X(life_surroundings)                                                                           \
    X(life_terminal)                                                                               \
    X(life_helper_as_command)                                                                      \
    X(life_profile_none)                                                                           \
    X(life_cgroup)                                                                                 \
    X(life_by_hand)

#define SANDBOX_DECLARE(name) void name(void **state);
SANDBOX_CASES(SANDBOX_DECLARE)
