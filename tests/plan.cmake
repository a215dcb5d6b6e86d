kage_unit_test(plan kage-core)
kage_unit_test(plan_file kage-core)
kage_unit_test(host kage-core)
