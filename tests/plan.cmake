kage_unit_test(plan kage-core)
kage_unit_test(plan_file kage-core)
kage_unit_test(host kage-core)

add_test(NAME golden/plan
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/plan/run $<TARGET_FILE:kage>)
set_tests_properties(golden/plan PROPERTIES LABELS golden TIMEOUT 120)
