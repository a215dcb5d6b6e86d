kage_unit_test(seccomp_filter sandbox-policy)
kage_unit_test(sandbox_options sandbox-core)
