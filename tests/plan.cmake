kage_unit_test(plan kage-core)
kage_unit_test(plan_file kage-core)
kage_unit_test(checkpoint kage-core)
kage_unit_test(host kage-core)
kage_unit_test(capacity kage-core)

add_test(NAME golden/plan
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/plan/run $<TARGET_FILE:kage>)
set_tests_properties(golden/plan PROPERTIES LABELS golden TIMEOUT 120)

if(KAGE_TESTS)
  kage_python_test(e2e/specs e2e/test_specs.py)
  set_tests_properties(e2e/specs PROPERTIES LABELS e2e TIMEOUT 600 RUN_SERIAL TRUE
    ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
endif()
