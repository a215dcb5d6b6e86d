kage_unit_test(plan kage-core)
kage_unit_test(plan_file kage-core)
kage_unit_test(host kage-core)

add_test(NAME golden/plan
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/plan/run $<TARGET_FILE:kage>)
set_tests_properties(golden/plan PROPERTIES LABELS golden TIMEOUT 120)

find_program(KAGE_TEST_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(KAGE_TESTS AND KAGE_TEST_PYTHON)
  add_test(NAME e2e/specs
    COMMAND ${KAGE_TEST_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_specs.py)
  set_tests_properties(e2e/specs PROPERTIES LABELS e2e TIMEOUT 600 RUN_SERIAL TRUE
    ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
endif()
